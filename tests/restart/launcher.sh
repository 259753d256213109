#!/usr/bin/env bash
# mpirun killed, and mpirun that hangs. launcher.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/launcher.py" "$1"

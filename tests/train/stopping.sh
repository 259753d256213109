#!/usr/bin/env bash
# Signals, and going on afterwards. stopping.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/stopping.py" "$1"

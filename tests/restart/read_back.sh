#!/usr/bin/env bash
# A save that does not read back. read_back.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/read_back.py" "$1"

#!/usr/bin/env bash
# The same bits for any number of ranks and threads. reproducible.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/reproducible.py" "$1"

#!/usr/bin/env bash
# The losses of a run do not depend on the number of ranks. ranks.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/ranks.py" "$1"

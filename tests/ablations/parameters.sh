#!/usr/bin/env bash
# Parameters as protalbert_bench counts them. parameters.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/parameters.py" "$1"

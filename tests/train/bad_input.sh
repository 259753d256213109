#!/usr/bin/env bash
# Bad input of protalbert_pretrain. bad_input.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/bad_input.py" "$1"

#!/usr/bin/env bash
# Training and embedding killed again and again. torture.sh BUILD_FOLDER [--kills N] [--seed N], in a folder of its own,
# which it empties; for the long version, from an empty folder: .../tests/restart/torture.sh BUILD_FOLDER --kills 500
exec python3 "$(dirname "${BASH_SOURCE[0]}")/torture.py" "$@"

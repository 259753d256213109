#!/usr/bin/env bash
# What each iteration changes, against transformers, where tests/parity/huggingface.sh has made its environment; elsewhere
# skipped (exit code 77). transformers.sh BUILD_FOLDER, in a folder of its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
place=${PROTALBERT_CACHE:-$HOME/.cache/protalbert}/huggingface
if [ ! -x "$place/bin/python" ]; then
    echo "skipped: there is no $place; any call of tests/parity/huggingface.sh makes it (5 GB)"
    exit 77
fi
PYTHONPATH=$here/../train exec "$here/../parity/huggingface.sh" "$here/compare_stability.py" "$1"

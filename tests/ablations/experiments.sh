#!/usr/bin/env bash
# ALBERT's experiments from corpus to report, tiny; skipped (exit code 77) without matplotlib. experiments.sh BUILD_FOLDER,
# in a folder of its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=python3
"$python" -c 'import matplotlib' 2>/dev/null || python=/usr/bin/python3
"$python" -c 'import matplotlib' 2>/dev/null || { echo "skipped: there is no matplotlib; jobscripts/setup.sh --demo installs it"; exit 77; }
PYTHONPATH=$here/../train exec "$python" "$here/experiments.py" "$1"

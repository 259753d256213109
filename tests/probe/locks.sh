#!/usr/bin/env bash
# One call of protalbert_probe at a time at an output. locks.sh BUILD_FOLDER, in a folder of its own.
python=python3
[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import h5py' 2>/dev/null && python=/usr/bin/python3
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/locks.py" "$1"

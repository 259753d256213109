#!/usr/bin/env bash
# protalbert_probe where vectors are missing or no numbers. vectors.sh BUILD_FOLDER, in a folder of its own.
python=python3
[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import h5py' 2>/dev/null && python=/usr/bin/python3
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/vectors.py" "$1"

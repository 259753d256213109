#!/usr/bin/env bash
# What programs find around them: places that cannot be written, users without a home, wishes for threads, file names.
# surroundings.sh BUILD_FOLDER, in a folder of its own.
python=python3
[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import h5py' 2>/dev/null && python=/usr/bin/python3
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/surroundings.py" "$1"

#!/usr/bin/env bash
# Jobs that live, however they look, are left alone by the guard of mpirun. healthy_jobs.sh BUILD_FOLDER, in a folder of
# its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/healthy_jobs.py" "$1"

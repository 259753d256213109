#!/usr/bin/env bash
# The Slurm job scripts under a Slurm of the test's own. jobs.sh BUILD_FOLDER, in a folder of its own.
here=$(dirname "${BASH_SOURCE[0]}")
# Outside of whatever job this test itself may run in.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH|SRUN|PMIX)'); do unset "$name"; done
PYTHONPATH=$here/../train${PYTHONPATH:+:$PYTHONPATH} exec python3 "$here/jobs.py" "$1"

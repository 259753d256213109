#!/usr/bin/env bash
# Training and embedding killed again and again. torture.sh BUILD_FOLDER [--kills N] [--seed N], in a folder of its own,
# which it empties; for the long version, from an empty folder: .../tests/restart/torture.sh BUILD_FOLDER --kills 500
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
exec python3 "$(dirname "${BASH_SOURCE[0]}")/torture.py" "$@"

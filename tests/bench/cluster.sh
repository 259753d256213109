#!/usr/bin/env bash
# protalbert_bench's subcommands for clusters. cluster.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/cluster.py" "$1"

#!/usr/bin/env bash
# --timeline: see timeline.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/timeline.py" "$1"

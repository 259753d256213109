#!/usr/bin/env bash
# What a deck may change when a run goes on. decks.sh BUILD_FOLDER, in a folder of its own.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/decks.py" "$1"

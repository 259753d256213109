#!/usr/bin/env bash
# Both directions against Hugging Face's transformers itself, and tokenisation against its slow tokenizer, where
# tests/parity/huggingface.sh has made their environments; elsewhere skipped (exit code 77). transformers.sh BUILD_FOLDER,
# in a folder of its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PROTALBERT_CACHE:-$HOME/.cache/protalbert}
build=$1
data=$here/../../../shared/data
source "$here/../own_folder.sh"
ran=''
if [ -x "$cache/huggingface/bin/python" ]; then
    "$here/../parity/huggingface.sh" "$here/compare_transformers.py" --build "$build"
    ran=yes
else
    echo "skipped: transformers. There is no $cache/huggingface; any call of tests/parity/huggingface.sh makes it (5 GB)"
fi
if [ ! -x "$cache/huggingface-slow/bin/python" ]; then
    echo "skipped: the slow tokenizer. There is no $cache/huggingface-slow; any call of" \
         "tests/parity/huggingface.sh --slow-tokenizer makes it (150 MB)"
elif [ ! -d "$data" ]; then
    echo "skipped: the slow tokenizer. There are no proteins in $data"
else
    "$here/../parity/huggingface.sh" --slow-tokenizer "$here/compare_tokenizer.py" --build "$build" --data "$data"
    ran=yes
fi
[ -n "$ran" ] || exit 77

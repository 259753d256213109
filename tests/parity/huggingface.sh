#!/bin/bash
# Runs a Python script beside Hugging Face's transformers, which live in a virtual environment of their own:
#   tests/parity/huggingface.sh compare_training.py --bench build/protalbert_bench --fasta proteins.fasta
# The environment is made once, in ${PROTALBERT_CACHE:-$HOME/.cache/protalbert}/huggingface (about 5 GB with PyTorch).
# With --slow-tokenizer first, another one is used, huggingface-slow beside it (150 MB): the last major version of
# transformers that has the tokenizers which SentencePiece itself runs, without PyTorch.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
environment=${PROTALBERT_CACHE:-$HOME/.cache/protalbert}/huggingface
modules="torch, transformers, numpy, h5py"
packages=(torch transformers numpy h5py)
if [ "${1:-}" = --slow-tokenizer ]; then
    environment+=-slow
    modules="transformers, sentencepiece, numpy, h5py"
    packages=('transformers==4.46.3' 'sentencepiece==0.2.*' protobuf numpy h5py)
    shift
fi

[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
script=$1
shift
[ -e "$script" ] || script=$here/$script
[ -e "$script" ] || { echo "error: no script $script here or in $here" >&2; exit 2; }

if ! "$environment/bin/python" -c "import $modules" 2>/dev/null; then
    echo "making $environment with $modules" >&2
    python=$(command -v python3 || true)
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    [ -n "$python" ] || { echo "error: no python3; install it (Debian: python3 python3-venv)" >&2; exit 2; }
    "$python" -m venv "$environment" || {
        echo "error: python3 cannot make a virtual environment; install python3-venv" >&2
        exit 2
    }
    "$environment/bin/pip" install --quiet "${packages[@]}" || {
        echo "error: pip could not install $modules; check the network or the package index" >&2
        exit 1
    }
fi
# Nothing is downloaded from model hubs: all models here have random weights.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$environment/bin/python" "$script" "$@"

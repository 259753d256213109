#!/usr/bin/env bash
# What tests/gpu_device.sh works on: make_data.sh PROGRAMS FOLDER [FASTA] writes FOLDER/proteins.fasta, the first 2,000
# proteins of the FASTA file (default: of Debian's mmseqs2-examples), and FOLDER/checkpoint.h5, a small model of two steps.
set -euo pipefail
programs=$(realpath "$1") folder=$(realpath -m "$2") proteins=${3:+$(realpath "$3")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -z "$proteins" ]; then
    proteins=$(source jobscripts/local.sh && example_proteins && echo "$examples/DB.fasta.gz")
fi
deck=$PWD/input/demo.toml
mkdir -p "$folder"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
zcat -f "$proteins" | awk '/^>/ { ++count } count <= 2000' >proteins.fasta
cp proteins.fasta "$folder/proteins.fasta"
run() { "$programs/$1" "${@:2}" >>log 2>&1 || { cat log >&2; exit 1; }; }
run protalbert_prepare "$folder/proteins.fasta" --output corpus.h5 --holdout 0.1 --invalid unknown
run protalbert_pretrain "$deck" --device cpu --set train.steps=2 --set train.warmup=1 --set data.corpus=corpus.h5 \
    --set data.validation=corpus.validation.h5 --set run.validation_sequences=8 --set checkpoint.directory=run
cp run/step_00000002.h5 "$folder/checkpoint.h5"

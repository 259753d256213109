#!/usr/bin/env bash
# The main job, small: proteins become a corpus, a language model is pretrained on it in two phases, proteins are embedded.
# Called again it goes on where it was; what is finished is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source jobscripts/local.sh

usage() {
    cat <<'TEXT'
usage: jobscripts/demo.sh [FASTA] [--output FOLDER] [--ranks N] [--help]

Sets up what is missing, builds, and runs the main job on two cores in about ten minutes, most of it building:
corpus, pretraining in two phases under mpirun, embeddings, a summary and a plot.

  FASTA            your proteins, plain or gzip; without it 20,000 UniProt proteins of Debian's mmseqs2-examples
  --output FOLDER  where everything goes; runs/demo, or runs/demo-NAME for a FASTA of your own
  --ranks N        MPI ranks; one a core, at most 8
TEXT
}
say() { printf '\n[demo] %s\n' "$*"; }

fasta='' output='' ranks=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --output) output=$(absolute "${2:?--output needs a FOLDER}"); shift ;;
        --ranks) ranks=${2:?--ranks needs a number}; shift ;;
        -*) usage >&2; fail 2 "demo.sh does not know $1" ;;
        *) [ -z "$fasta" ] || fail 2 "one FASTA file at most; put several into one: cat A.fasta B.fasta > all.fasta"
           fasta=$(absolute "$1") ;;
    esac
    shift
done
if [ -n "$fasta" ]; then
    [ -r "$fasta" ] || fail 2 "$fasta cannot be read"
    name=$(basename "$fasta" .gz)
    : "${output:=$PWD/runs/demo-${name%.*}}"
fi
: "${output:=$PWD/runs/demo}"
[[ ${ranks:-1} =~ ^[1-9][0-9]*$ ]] || fail 2 "--ranks $ranks is no number of ranks"

# 1. Everything that is needed.
say "1/6 set-up"
jobscripts/setup.sh --demo

# 2. The proteins, and how to run.
[ -n "$fasta" ] || example_proteins
corpus_input=${fasta:-$examples/DB.fasta.gz}
embed_input=${fasta:-$examples/QUERY.fasta.gz}
choose_ranks
mkdir -p "$output"
identity="$(realpath "$corpus_input") $(stat -Lc '%s %Y' "$corpus_input")"
if [ -f "$output/input.txt" ] && [ "$(cat "$output/input.txt")" != "$identity" ]; then
    fail 2 "$output holds a run on other proteins ($(cut -d' ' -f1 "$output/input.txt"), or an older version of them);" \
           "name another folder with --output, or delete that one"
fi

# 3. The main job.
say "2/6 corpus: the proteins of $corpus_input in random order, one in fifty kept for validation"
if [ -f "$output/corpus.h5" ] && [ -f "$output/input.txt" ]; then
    echo "$output/corpus.h5 is there already"
else
    run build/protalbert_prepare "$corpus_input" --output "$output/corpus.h5" --holdout 0.02 --invalid unknown
    printf '%s\n' "$identity" >"$output/input.txt"
fi
data=(--set "data.corpus=$output/corpus.h5" --set "data.validation=$output/corpus.validation.h5")
place() { printf '%s\n' --set "checkpoint.directory=$output/$1" --set "run.metrics=$output/$1/metrics.jsonl"; }

say "3/6 pretraining, phase 1: proteins up to 254 residues or pieces of that length"
mapfile -t folder < <(place phase1)
run build/protalbert_pretrain input/demo.toml "${data[@]}" "${folder[@]}"

say "4/6 pretraining, phase 2: from the weights of phase 1, with pieces four times as long"
mapfile -t folder < <(place phase2)
run build/protalbert_pretrain input/demo_phase2.toml "${data[@]}" "${folder[@]}" --init "$output/phase1"

say "5/6 embedding the proteins of $embed_input"
run build/protalbert_embed --checkpoint "$output/phase2" "$embed_input" --output "$output/embeddings.h5" \
    --invalid unknown --too-long skip --residues float16 --overwrite

say "6/6 plot and summary"
# Debian's modules belong to Debian's Python, which another one may hide in PATH.
python=python3
"$python" -c 'import h5py, matplotlib' 2>/dev/null || python=/usr/bin/python3
"$python" jobscripts/plot_metrics.py "$output/phase1/metrics.jsonl" "$output/phase2/metrics.jsonl" \
    --corpus "$output/corpus.h5" --output "$output/loss.png"
# Two proteins make no map.
"$python" jobscripts/plot_map.py "$output/embeddings.h5" --output "$output/map.png" || true
"$python" jobscripts/demo_summary.py "$output"

#!/usr/bin/env bash
# ALBERT's experiments on proteins: trains the models that the paper's tables compare, measures them, and writes one
# report beside the paper's numbers. Called again it goes on where it was; what is finished is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source jobscripts/local.sh

usage() {
    cat <<'TEXT'
usage: jobscripts/ablations.sh [FASTA] [--quick | --full] [--output FOLDER] [--ranks N] [--seeds N] [--only REGEX]
                               [--prepare] [--list] [--help]

Sets up what is missing, builds, trains, and writes report.md and its plots: in 100 minutes on two cores.

  FASTA            your proteins, plain or gzip; without it 20,000 UniProt proteins of Debian's mmseqs2-examples
  --quick          tiny models for a few minutes: shows that everything works, and nothing about ALBERT
  --full           ALBERT base's own sizes, for a cluster: jobscripts/ablations.slurm
  --output FOLDER  where everything goes; runs/ablations, runs/ablations-quick or runs/ablations-full
  --ranks N        MPI ranks; one a core, at most 8
  --seeds N        how often each model is trained, with other weights and another order; 4, quick and full 2
  --only REGEX     only the runs whose name matches; --list shows the names
  --prepare        only the corpus
Settings: BUILD, the folder of the programs (then nothing is set up or built); MPIRUN, what starts ranks (mpirun -n);
PROTALBERT_OPTIONS, keys for all runs, such as --set data.max_length=512; PRETRAIN_OPTIONS, options of
protalbert_pretrain alone, such as --device cuda.
TEXT
}
say() { printf '\n[ablations] %s\n' "$*"; }

size=small fasta='' output='' ranks='' seeds='' only='' prepare='' list=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --quick | --full) size=${1#--} ;;
        --output) output=$(absolute "${2:?--output needs a FOLDER}"); shift ;;
        --ranks) ranks=${2:?--ranks needs a number}; shift ;;
        --seeds) seeds=${2:?--seeds needs a number}; shift ;;
        --only) only=${2:?--only needs a REGEX}; shift ;;
        --prepare) prepare=yes ;;
        --list) list=yes ;;
        -*) usage >&2; fail 2 "ablations.sh does not know $1" ;;
        *) [ -z "$fasta" ] || fail 2 "one FASTA file at most; put several into one: cat A.fasta B.fasta > all.fasta"
           fasta=$(absolute "$1") ;;
    esac
    shift
done
[ -z "$fasta" ] || [ -r "$fasta" ] || fail 2 "$fasta cannot be read"

# The paper's embedding sizes are 64, 128, 256 and H = 768; the smaller models keep their ratios to H.
case $size in
    quick) E=(8 16 32 64) minutes=0.2 twice=(128 512 4) default_seeds=2 suffix=-quick ;;
    small) E=(16 32 64 128) minutes=1.5 twice=(256 1024 8) default_seeds=4 suffix='' ;;
    full) E=(64 128 256 768) minutes=720 twice=(1536 6144 24) default_seeds=2 suffix=-full ;;
esac
wide="model.hidden=${twice[0]} model.intermediate=${twice[1]} model.heads=${twice[2]}"
# Twice the width at the deck's rate and weights stays for 200 steps where residues are guessed by their frequency.
[ "$size" != small ] || wide+=" model.initializer_range=0.03 train.learning_rate=0.0003"
deck=input/ablations/$size.toml
: "${output:=$PWD/runs/ablations$suffix}" "${seeds:=$default_seeds}"
[[ $seeds =~ ^[1-9]$ ]] || fail 2 "--seeds $seeds is no number from 1 to 9"

# The runs, one a line: a name, and the keys in which it differs from the deck. The deck itself is all_E${E[1]}.
runs=()
for size_of_embedding in "${E[@]}"; do     # tables 3 and 4
    for sharing in all none; do
        runs+=("${sharing}_E$size_of_embedding model.sharing=$sharing model.embedding=$size_of_embedding")
    done
done
for size_of_embedding in "${E[1]}" "${E[3]}"; do    # table 4
    for sharing in attention ffn; do
        runs+=("${sharing}_E$size_of_embedding model.sharing=$sharing model.embedding=$size_of_embedding")
    done
done
runs+=(
    "task_none data.objective=none"        # table 5
    "task_nsp data.objective=nsp"
    "time_bert model.sharing=none model.embedding=${E[3]}"    # table 6: as many steps as take $minutes minutes
    "time_albert model.sharing=all"
    "time_wide model.sharing=all $wide"
)
chosen=()
for line in "${runs[@]}"; do
    if [ -z "$only" ] || [[ ${line%% *} =~ $only ]]; then chosen+=("$line"); fi
done
[ ${#chosen[@]} -gt 0 ] || fail 2 "--only $only matches no run; --list shows them"
if [ -n "$list" ]; then printf '%s\n' "${chosen[@]%% *}"; exit 0; fi

# 1. Everything that is needed.
if [ -z "${BUILD:-}" ]; then
    jobscripts/setup.sh --demo
    BUILD=$PWD/build
fi
choose_ranks
read -r -a options <<<"${PROTALBERT_OPTIONS:-}"
read -r -a pretrain_options <<<"${PRETRAIN_OPTIONS:-}"
# Debian's modules belong to Debian's Python, which another one may hide in PATH.
python=python3
"$python" -c 'import matplotlib' 2>/dev/null || python=/usr/bin/python3

# 2. The corpus. One protein in ten is held out: accuracies of 2000 proteins are good to one in a hundred.
mkdir -p "$output"
if [ ! -f "$output/corpus.h5" ]; then
    [ -n "$fasta" ] || example_proteins
    say "corpus"
    run "$BUILD/protalbert_prepare" "${fasta:-$examples/DB.fasta.gz}" --output "$output/corpus.h5" --holdout 0.1 \
        --invalid unknown
fi
held_out=$output/corpus.validation.h5
[ -z "$prepare" ] || exit 0

# 3. The runs. Each has a folder for each seed, with its metrics.jsonl and, as JSON, what was measured besides.

# measure FILE COMMAND ...: protalbert_bench COMMAND into FILE, unless it is there.
measure() {
    local file=$1
    shift
    [ -s "$file" ] || run "$BUILD/protalbert_bench" "$@" --json "$file"
}

# steps_of_minutes FOLDER SETTING ...: how many steps take $minutes minutes, by the median of a short trial.
steps_of_minutes() {
    local folder=$1
    shift
    run "$BUILD/protalbert_pretrain" "$deck" "${pretrain_options[@]}" "$@" \
        --set "checkpoint.directory=$folder/trial" --set train.steps=30 --set run.validation_sequences=1 \
        --set run.validate_every=0 --resume never >"$folder/trial.log"
    "$python" - "$folder/trial/metrics.jsonl" "$minutes" >"$folder/steps" <<'CODE'
import json, statistics, sys
seconds = [json.loads(line)["seconds"] for line in open(sys.argv[1]) if '"seconds"' in line]
print(max(20, round(60 * float(sys.argv[2]) / statistics.median(seconds[5:]))))  # the first steps compile the products
CODE
    rm -rf "$folder/trial"
}

# train_and_measure NAME SEED KEY=VALUE ...
train_and_measure() {
    local name=$1 seed=$2 folder=$output/$1/seed$2 settings=() key steps
    shift 2
    mkdir -p "$folder"
    for key in "data.corpus=$output/corpus.h5" "data.validation=$held_out" "data.seed=$seed" "$@"; do
        settings+=(--set "$key")
    done
    if [[ $name = time_* ]]; then
        [ -s "$folder/steps" ] || steps_of_minutes "$folder" "${settings[@]}" "${options[@]}"
        steps=$(cat "$folder/steps")
        settings+=(--set "train.steps=$steps" --set "train.warmup=$((steps / 10))")
    fi
    settings+=("${options[@]}") # they have the last word
    [ -s "$folder/parameters.json" ] ||
        "$BUILD/protalbert_bench" parameters --deck "$deck" "${settings[@]}" --json "$folder/parameters.json" \
            >"$folder/parameters.txt"
    if [ ! -e "$folder/finished" ]; then
        run "$BUILD/protalbert_pretrain" "$deck" "${pretrain_options[@]}" "${settings[@]}" \
            --set "checkpoint.directory=$folder" --set "run.metrics=$folder/metrics.jsonl"
        touch "$folder/finished"
    fi

    local checkpoint=(--checkpoint "$folder") length
    length=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["max_length"])' "$folder/parameters.json")
    case $name in
        all_E"${E[1]}" | none_E"${E[1]}")
            measure "$folder/stability.json" stability "${checkpoint[@]}" --corpus "$held_out" ;;
    esac
    case $name in
        all_E"${E[1]}" | task_*)
            measure "$folder/sentence.json" sentence "${checkpoint[@]}" --corpus "$held_out" --length "$length" ;;
        time_*)
            measure "$folder/inference.json" embed "${checkpoint[@]}" --longest $((length - 2)) --proteins 400 \
                --without-product ;;
    esac
}

for ((seed = 1; seed <= seeds; ++seed)); do
    for line in "${chosen[@]}"; do
        say "seed $seed: $line"
        # shellcheck disable=SC2086
        train_and_measure ${line%% *} $seed ${line#* }
    done
done

# 4. The report, from the metrics alone: jobscripts/ablations_report.py makes it again.
say "report"
"$BUILD/protalbert_bench" parameters --json "$output/parameters.json" >"$output/parameters.txt"
"$python" jobscripts/ablations_report.py "$output" --size "$size"

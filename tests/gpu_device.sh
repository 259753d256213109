#!/usr/bin/env bash
# What only a GPU can show, in minutes and without a compiler: from an unpacked bundle (tests/gpu_bundle.sh), or from a
# build folder. Nothing is fatal: each step has its time limit, and its result is written as soon as it is there.
set -uo pipefail
export LC_ALL=C  # decimal points in JSON

usage() {
    cat <<'TEXT'
usage: gpu_device.sh [--stage 1|2] [--results FOLDER] [--programs FOLDER] [--data FOLDER] [--seconds N] [--only REGEX]
                     [--help]

  --stage 1   kernels, training beside the CPU, speed of everything, PyTorch and transformers beside it: 6 minutes
  --stage 2   compute-sanitizer's memcheck and racecheck, ncu on attention and layer norm: 5 minutes
  --results   where results.jsonl (a line each), log.txt, clocks.csv and table.md go (default: results)
  --programs  the folder with the programs (default: beside this script)
  --data      the folder with proteins.fasta and checkpoint.h5 (default: data, beside this script)
  --seconds   time for all steps together (default: 360 or 300); what does not fit is left out, and said
  --only      only steps whose name matches

Exit code: 0 when every step passed, or was skipped for want of a GPU or of another tool; 1 when one failed or was left out; 2
for bad arguments; 130 when interrupted, with the results so far in their place.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stage=1 results=results programs=$here data=$here/data budget='' only=.
while [ $# -gt 0 ]; do
    case $1 in
        --stage | --results | --programs | --data | --seconds | --only)
            [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 2; } ;;&
        --stage) stage=$2; shift ;;
        --results) results=$2; shift ;;
        --programs) programs=$(realpath "$2"); shift ;;
        --data) data=$(realpath "$2"); shift ;;
        --seconds) budget=$2; shift ;;
        --only) only=$2; shift ;;
        --help) usage; exit 0 ;;
        *) echo "error: gpu_device.sh does not know $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
[[ $stage =~ ^[12]$ ]] || { echo "error: --stage is 1 or 2" >&2; exit 2; }
: "${budget:=$((stage == 1 ? 360 : 300))}"
[[ $budget =~ ^[1-9][0-9]*$ ]] || { echo "error: --seconds $budget is no number of seconds" >&2; exit 2; }
[[ x =~ $only ]]; [ $? -lt 2 ] || { echo "error: --only $only is no regular expression" >&2; exit 2; }
mkdir -p "$results" && results=$(realpath "$results") || exit 2
[ ! -e "$results/results.jsonl" ] || { echo "error: $results holds results already; name another folder" >&2; exit 2; }
work=$(mktemp -d)
began=$(date +%s.%N)

# In a build folder tests have a folder of their own; decks, proteins and scripts lie where the repository has them.
tests=$programs
[ ! -d "$programs/tests" ] || tests=$programs/tests
scripts=$here/gpu parity=$here/parity input=$here/input
[ -d "$input" ] || input=$here/../input
[ -r "$data/proteins.fasta" ] || { echo "error: $data/proteins.fasta cannot be read; name its folder with --data" >&2; exit 2; }
: >"$results/results.jsonl" || exit 2

# The GPU that all of it uses, and whether several programs may use it at a time.
export CUDA_DEVICE_ORDER=PCI_BUS_ID  # as nvidia-smi counts
gpu=${CUDA_VISIBLE_DEVICES:-0}
gpu=${gpu%%,*} gpu_listed='' one_at_a_time=''
gpus=$(nvidia-smi -L 2>/dev/null || true)
if [[ $gpus == *GPU* ]]; then
    gpu_listed=yes
    [ "$(nvidia-smi -i "$gpu" --query-gpu=compute_mode --format=csv,noheader)" = Default ] || one_at_a_time=yes
fi

seconds_since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f", b - a }'; }
left() { awk -v a="$began" -v b="$(date +%s.%N)" -v n="$budget" 'BEGIN { printf "%d", n - (b - a) }'; }

# status_of CODE LIMIT SECONDS LOG
status_of() {
    # Said by our programs and by PyTorch's, whether they count it as a failure or as tests that are skipped.
    if grep -q 'no usable GPU' "$4"; then
        if [ -n "$gpu_listed" ]; then echo FAILED; else echo 'no GPU'; fi
    # Nothing was looked at, or nobody may look.
    elif grep -qE '^\[=+\] 0 tests from|No kernels were profiled' "$4"; then
        echo FAILED
    elif grep -q ERR_NVGPUCTRPERM "$4"; then
        echo skipped
    elif [ "$1" = 0 ]; then
        echo passed
    elif [ "$1" = 77 ]; then
        echo skipped
    # 137 is also what a program ends with that the system kills for its memory.
    elif [ "$1" = 124 ] || { [ "$1" = 137 ] && [ "${3%.*}" -ge "$2" ]; }; then
        echo 'timed out'
    else
        echo FAILED
    fi
}

# step NAME SECONDS COMMAND...: JSON lines that the command prints, and the file $work/NAME.json, become results.
step() {
    local name=$1 limit=$2 log=$work/$1.log code=0 start status rest child
    shift 2
    [[ $name =~ $only ]] || return 0
    rest=$(left)
    if [ "$rest" -lt 5 ]; then
        printf '{"step": "%s", "status": "left out"}\n' "$name" >>"$results/results.jsonl"
        printf '%-34s left out, no time left\n' "$name"
        return 0
    fi
    start=$(date +%s.%N)
    rest=$((limit < rest ? limit : rest))
    # Behind the shell, which hears signals meanwhile and passes them on.
    timeout -k 5 "$rest" "$@" >"$log" 2>&1 </dev/null &
    child=$!
    [ "$BASHPID" = $$ ] || trap 'kill "$child" 2>/dev/null; wait "$child"; exit 143' TERM
    wait "$child" || code=$?
    status=$(status_of "$code" "$rest" "$(seconds_since "$start")" "$log")
    {
        printf '{"step": "%s", "status": "%s", "code": %d, "seconds": %s}\n' "$name" "$status" "$code" "$(seconds_since "$start")"
        if [ -s "$work/$name.json" ]; then printf '{"step": "%s", "report": %s}\n' "$name" "$(tr -d '\n' <"$work/$name.json")"; fi
        grep -a '^{.*}$' "$log" | while IFS= read -r line; do printf '{"step": "%s", "result": %s}\n' "$name" "$line"; done
    } >"$work/$name.lines"
    cat "$work/$name.lines" >>"$results/results.jsonl"
    { printf '\n===== %s: %s (code %d)\n+ %s\n' "$name" "$status" "$code" "$*"; cat "$log"; } >"$work/$name.all"
    cat "$work/$name.all" >>"$results/log.txt"
    printf '%-34s %-9s %6.1f s   [%s s in all]\n' "$name" "$status" "$(seconds_since "$start")" "$(seconds_since "$began")"
    if [ "$status" = FAILED ] || [ "$status" = 'timed out' ]; then tail -n 15 "$log" | sed 's/^/    | /'; fi
}

# bench NAME SECONDS ARGUMENT...: a step of protalbert_bench in bfloat16 on the GPU, with its report.
bench() {
    local name=$1 limit=$2
    shift 2
    step "$name" "$limit" "$programs/protalbert_bench" --json "$work/$name.json" "$@" --device cuda --precision bfloat16
}

machine() {
    nvidia-smi -L
    nvidia-smi -i "$gpu" --query-gpu=name,driver_version,compute_cap,memory.total,power.limit,clocks.max.sm,clocks.max.mem,temperature.gpu \
        --format=csv
    grep -m 1 'model name' /proc/cpuinfo
    nproc
    [ ! -f "$here/VERSION" ] || cat "$here/VERSION"
    command -v nvcc compute-sanitizer ncu python3
    # What these tools call their options differs from version to version.
    ! command -v compute-sanitizer || compute-sanitizer --help | grep -iE -A 6 'kernel|launch-count|target-processes'
    ! command -v ncu || ncu --version
    return 0
}

# Real programs one after the other, as a user calls them: run_programs DEVICE PRECISION.
run_programs() {
    local place=$work/programs-$1
    mkdir -p "$place" && cd "$place" || return 1
    set -e
    "$programs/protalbert_prepare" "$data/proteins.fasta" --output corpus.h5 --holdout 0.1 --invalid unknown
    local settings=(--set data.corpus=corpus.h5 --set data.validation=corpus.validation.h5 --set checkpoint.directory=run
        --set run.validate_every=0 --set "train.precision=$2" --device "$1")
    "$programs/protalbert_pretrain" "$input/demo.toml" "${settings[@]}" --set train.steps=20 --set train.warmup=2
    "$programs/protalbert_pretrain" "$input/demo.toml" "${settings[@]}" --set train.steps=24 --set train.warmup=2
    awk '/^>/ { ++count } count <= 200' "$data/proteins.fasta" >some.fasta
    local choices=(some.fasta --invalid unknown --too-long skip --precision "$2" --device "$1")
    "$programs/protalbert_embed" --checkpoint run "${choices[@]}" --output embeddings.h5
    # Weights that both devices have, for the comparison.
    "$programs/protalbert_embed" --checkpoint "$data/checkpoint.h5" "${choices[@]}" --output same_weights.h5 --residues float32
}

# beside NAME SECONDS COMMAND...: a step that runs beside the next ones; its process joins `running`.
beside() {
    step "$@" &
    running+=($!)
    [ -z "$one_at_a_time" ] || wait "${running[@]}"
}

tests_of() { # tests_of PRECISION SHIFT: all kernel tests
    local filter='*'
    # Attention copies rows 16 bytes at a time and says so in its contract.
    [ "$2" = 0 ] || filter='-Attention.*'
    PROTALBERT_TEST_DEVICE=cuda PROTALBERT_TEST_PRECISION=$1 PROTALBERT_TEST_SHIFT=$2 "$tests/test_kernels_gpu" \
        --gtest_brief=1 --gtest_filter="$filter"
}

# with_modules "MODULE..." SCRIPT ARGUMENT...: a script of Python, or 77 where it cannot run.
with_modules() {
    python3 -c "import ${1// /, }" || { echo "skipped: python3 with $1 is not here"; exit 77; }
    python3 "${@:2}"
}

# with_tool TOOL ARGUMENT...: a tool of CUDA's, or 77 where it is not.
with_tool() {
    command -v "$1" >/dev/null || { echo "skipped: $1 is not in PATH"; exit 77; }
    "$@"
}

# sanitize_tests NAME PRECISION FILTER: kernel tests under the tool that NAME begins with.
sanitize_tests() {
    step "$1" 60 env PROTALBERT_TEST_DEVICE=cuda PROTALBERT_TEST_PRECISION="$2" bash -c 'with_tool "$@"' - \
        compute-sanitizer --tool "${1%%-*}" --kernel-name kernel_substring=protalbert --error-exitcode 9 \
        "$tests/test_kernels_gpu" --gtest_brief=1 --gtest_filter="$3"
}

export -f run_programs tests_of machine with_modules with_tool
export programs tests work data input here gpu OMP_WAIT_POLICY=passive OMP_PROC_BIND=false

stage_1() {
    step machine 20 bash -c machine
    # Whether anything runs at all, before what takes longer.
    step smoke 30 "$programs/protalbert_bench" kernels --hidden 64 --intermediate 128 --heads 2 --embedding 16 --layers 1 \
        --tokens 64 --length 32 --seconds 0.01 --device cuda --precision bfloat16
    # Side by side, where the GPU lets several in: most of their time is the reference's, on the CPU.
    local running=()
    export OMP_NUM_THREADS=$((($(nproc) + 3) / 4))
    beside kernels-float32 100 bash -c 'tests_of float32 0'
    beside kernels-bfloat16 100 bash -c 'tests_of bfloat16 0'
    beside kernels-shifted 100 bash -c 'tests_of bfloat16 1'
    beside parity 60 env PROTALBERT_TEST_STEPS=20 "$tests/test_cuda_parity" --gtest_brief=1 --gtest_filter='-CudaMemory.*'
    beside programs-cpu 60 bash -c 'run_programs cpu float32'
    wait "${running[@]}"
    unset OMP_NUM_THREADS
    # Alone on the GPU: they compare the memory that is free there.
    step memory 30 "$tests/test_cuda_parity" --gtest_brief=1 --gtest_filter='CudaMemory.*'
    bench kernels-512 40 kernels --tokens 8192 --length 512 --seconds 0.1
    bench train-512 60 train --fasta "$data/proteins.fasta" --length 512 --batch 256 --batch-tokens 8192 --steps 3 --breakdown
    bench kernels-2048 40 kernels --tokens 8192 --length 2048 --seconds 0.1
    bench train-2048 60 train --fasta "$data/proteins.fasta" --length 2048 --batch 128 --batch-tokens 8192 --steps 3 --breakdown
    for section in a b c d; do step "probe-$section" 30 "$tests/probe_products" "$section"; done
    # Where the toolkit knows FP8's scales, from CUDA 12.9 on.
    [ ! -x "$tests/probe_float8" ] || for section in a b c; do step "float8-$section" 30 "$tests/probe_float8" "$section"; done
    for residues in none float16 float32; do
        bench "embed-$residues" 40 embed --fasta "$data/proteins.fasta" --proteins 2000 --longest 2046 \
            --batch-tokens 32768 --residues "$residues" --without-product
    done
    step programs-cuda 40 bash -c 'run_programs cuda bfloat16'
    step programs-compared 20 bash -c 'with_modules "$@"' - 'h5py numpy' "$scripts/compare_devices.py" \
        "$work/programs-cpu/same_weights.h5" "$work/programs-cuda/same_weights.h5"
    step pytorch 50 bash -c 'with_modules "$@"' - torch "$scripts/pytorch_speed.py"
    step transformers 60 bash -c 'with_modules "$@"' - 'torch transformers' "$parity/compare_embedding.py" \
        --bench "$programs/protalbert_bench" --fasta "$data/proteins.fasta" --proteins 120 --rounds 1 --device cuda
}

stage_2() {
    step machine 20 bash -c machine
    local tiny=(kernels --hidden 128 --intermediate 256 --heads 2 --embedding 64 --layers 1 --tokens 199 --length 70
        --seconds 0.001 --without-limits --device cuda --precision bfloat16)
    # Our own kernels alone: checking cuBLAS' takes minutes, and tells nothing about ours.
    local ours=(--kernel-name kernel_substring=protalbert --error-exitcode 9) tool
    local others='Classify.*:CrossEntropy.*:Pooling.*:Elements.*:Rows.*:Products.*:WindowSum.*:ReluDropout.*:Optimizers.Against*:FixedPoint.*'
    for tool in memcheck racecheck; do
        # cuBLASLt's kernels for Hopper fail under racecheck, whether they are watched or not (CUDA 13.0, H200).
        [ $tool = memcheck ] || export PROTALBERT_PRODUCTS=simple
        step "$tool-every-operation" 60 bash -c 'with_tool "$@"' - compute-sanitizer --tool "$tool" "${ours[@]}" \
            "$programs/protalbert_bench" "${tiny[@]}"
        sanitize_tests "$tool-attention" bfloat16 'Attention.Forward:Attention.Backward'
        sanitize_tests "$tool-attention-float32" float32 'Attention.Forward:Attention.Backward'
        sanitize_tests "$tool-rows" bfloat16 'LayerNorm.Forward:LayerNorm.Backward:Embedding.Forward:Embedding.Backward'
        sanitize_tests "$tool-others" bfloat16 "$others"
        PROTALBERT_TEST_SHIFT=1 sanitize_tests "$tool-shifted" bfloat16 "LayerNorm.*:Embedding.Forward:$others"
    done
    PROTALBERT_PRODUCTS=simple sanitize_tests memcheck-simple bfloat16 'Products.*'
    unset PROTALBERT_PRODUCTS
    local kernel
    for kernel in attention_forward_kernel attention_backward_kv_kernel attention_backward_q_kernel \
        layer_norm_backward_kernel residual_layer_norm_kernel gelu_backward_kernel column_sums_kernel; do
        # The first launch of each alone: each group of counters runs the kernel again.
        step "ncu-$kernel" 40 bash -c 'with_tool "$@"' - ncu --clock-control none --kernel-name "regex:$kernel" --launch-count 1 \
            --section SpeedOfLight --section Occupancy --section LaunchStats --section WarpStateStats \
            --section MemoryWorkloadAnalysis --section SchedulerStats \
            "$programs/protalbert_bench" kernels --tokens 8192 --length 512 --seconds 0.001 --device cuda --precision bfloat16
    done
}

# The table, and one line of what became of the steps; its status is the script's.
finish() {
    local passed skipped failed left_out
    passed=$(grep -c '"status": "passed"' "$results/results.jsonl")
    skipped=$(grep -cE '"status": "(skipped|no GPU)"' "$results/results.jsonl")
    failed=$(grep -cE '"status": "(FAILED|timed out)"' "$results/results.jsonl")
    left_out=$(grep -c '"status": "left out"' "$results/results.jsonl")
    if [ $((passed + skipped + failed + left_out)) = 0 ]; then
        echo "error: no step of stage $stage matches --only $only" >&2
        return 2
    fi
    if command -v python3 >/dev/null; then
        python3 "$scripts/table.py" "$results/results.jsonl" | tee "$results/table.md"
    else
        echo "there is no python3 here: the results stay in $results/results.jsonl without a table"
    fi
    echo "stage $stage: $passed steps passed, $skipped skipped or without a GPU, $failed failed, $left_out left out; $results/log.txt"
    [ "$failed" = 0 ] && [ "$left_out" = 0 ]
}

interrupted() {
    trap '' INT TERM HUP
    local process log
    for process in $(jobs -p); do kill "$process" 2>/dev/null; done
    wait
    for log in "$work"/*.log; do
        [ ! -e "$log" ] || [ -e "${log%.log}.lines" ] || { printf '\n===== %s: interrupted\n' "$(basename "$log" .log)"; cat "$log"; } >>"$results/log.txt"
    done
    finish
    exit 130
}

trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
trap interrupted INT TERM HUP
if [ -n "$gpu_listed" ]; then
    nvidia-smi -i "$gpu" --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used --format=csv -lms 500 \
        >"$results/clocks.csv" 2>/dev/null &
fi
"stage_$stage"
finish

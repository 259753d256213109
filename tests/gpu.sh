#!/usr/bin/env bash
# Everything that only a GPU can show, on a machine with one: kernels, memory and races, training beside the CPU, speed.
# It was written without a GPU at hand and has not run on one yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: tests/gpu.sh [--fasta FILE] [--skip-speed] [--help]

Builds with CUDA in build-gpu/ and runs, on the first GPU, where not said otherwise:
  1. the kernel tests, in float32, in bfloat16 and with arrays that are not aligned
  2. the same under compute-sanitizer: memcheck, racecheck
  3. training beside the CPU backend: gradients, losses and 20 steps; where there are several GPUs, again as two ranks
     of one each, whose gradients NCCL sums
  4. speed at ProtAlbert's full size: every kernel beside the GPU's measured limits, training at lengths 512 and 2048
     with the time of each operation, embedding; and how far they are from what is expected of an H200

  --fasta FILE  real proteins for the speed (random ones of one length otherwise)
  --skip-speed  the first three alone
TEXT
}

fasta='' speed=yes
while [ $# -gt 0 ]; do
    case $1 in
        --fasta) fasta=$(realpath "${2:?--fasta needs a FILE}"); shift ;;
        --skip-speed) speed='' ;;
        --help) usage; exit 0 ;;
        *) echo "error: gpu.sh does not know $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

say() { printf '[gpu] %s\n' "$*"; }
problems=()

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L | grep -q GPU; then
    echo "error: there is no GPU here (nvidia-smi -L lists none)" >&2
    exit 2
fi
if ! command -v nvcc >/dev/null; then
    echo "error: nvcc is not in PATH; load the module of CUDA's toolkit" >&2
    exit 2
fi
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader

# The GPU's own compute capability: "9.0" -> 90.
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '.')
say "building for compute capability $capability"
cmake -S . -B build-gpu -DPROTALBERT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$capability-real" >build-gpu.log
cmake --build build-gpu --parallel "$(nproc)" >>build-gpu.log || { tail -n 40 build-gpu.log; exit 1; }

say "1. kernels on the GPU"
ctest --test-dir build-gpu --output-on-failure --no-tests=error -R '^kernels\..*\.cuda\.' || problems+=("kernel tests")

say "2. memory and races"
if command -v compute-sanitizer >/dev/null; then
    # sanitize NAME PRECISION
    sanitize() {
        for tool in memcheck racecheck; do
            log=build-gpu/$tool-$1-$2.txt
            PROTALBERT_TEST_DEVICE=cuda PROTALBERT_TEST_PRECISION=$2 \
                compute-sanitizer --tool "$tool" --error-exitcode 9 "build-gpu/tests/test_kernel_$1" >"$log" 2>&1 ||
                { problems+=("$tool of $1 in $2 ($log)"); tail -n 20 "$log"; }
        done
    }
    # One precision: the kernels of both are the same templates, but for attention's.
    for name in products attention layer_norm embedding elementwise losses convolution fixed_point optimizers; do
        sanitize "$name" bfloat16
    done
    sanitize attention float32
else
    problems+=("compute-sanitizer is missing: neither memory nor races were checked")
fi

say "3. 20 steps beside the CPU"
PROTALBERT_TEST_STEPS=20 ctest --test-dir build-gpu --output-on-failure --no-tests=error -R '^train\.cuda_parity' ||
    problems+=("parity with the CPU")
gpus=$(nvidia-smi -L | grep -c '^GPU')
if [ "$gpus" -lt 2 ] || ! command -v mpirun >/dev/null; then
    say "two ranks: left out, they take two GPUs and mpirun"
else
    say "3. two ranks, each on a GPU of its own"
    # A container's root may run Open MPI too; other launchers ignore it.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    PROTALBERT_TEST_STEPS=20 mpirun -n 2 build-gpu/tests/test_cuda_parity ||
        problems+=("parity of two ranks with the CPU")
    # Two micro-batches a rank and step: sums go on beside the backward pass.
    mpirun -n 2 build-gpu/protalbert_bench train --device cuda --precision bfloat16 --length 512 --batch 64 \
        --batch-tokens 8192 --steps 3 2>&1 | tee build-gpu/train-2-ranks.txt ||
        problems+=("training by two ranks")
    grep -q 'by NCCL' build-gpu/train-2-ranks.txt || problems+=("NCCL did not sum the gradients of two ranks")
fi

# figure FILE KEY: a number of a --json report.
figure() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
# expect NAME VALUE LEAST: says how a figure compares; a lower one is a finding, not an error.
expect() {
    python3 -c 'import sys
name, value, least = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
print(f"[gpu] {name}: {value:.4g}, expected of an H200 at least {least:.4g}: " + ("reached" if value >= least else "NOT reached"))' "$@"
}

if [ -n "$speed" ]; then
    bench=build-gpu/protalbert_bench
    device=(--device cuda --precision bfloat16)
    say "4. speed: kernels of one iteration"
    "$bench" --json build-gpu/kernels.json kernels "${device[@]}" --tokens 8192 --length 512
    "$bench" --json build-gpu/kernels-2048.json kernels "${device[@]}" --tokens 8192 --length 2048 --seconds 0.2
    for length in 512 2048; do
        say "4. speed: training at length $length"
        # A micro-batch of 8192 tokens fits 80 GB with all activations and runs the products at their full rate.
        "$bench" --json "build-gpu/train-$length.json" train "${device[@]}" ${fasta:+--fasta "$fasta"} \
            --length "$length" --batch $((65536 / length)) --batch-tokens 8192 --steps 5 --breakdown
    done
    say "4. speed: embedding"
    "$bench" --json build-gpu/embed.json embed "${device[@]}" ${fasta:+--fasta "$fasta"} --proteins 4000 \
        --batch-tokens 32768 --residues none
    expect "training at 512, TFLOP/s" "$(python3 -c "print(1e-12 * $(figure build-gpu/train-512.json model_flops_per_second))")" 600
    expect "training at 2048, TFLOP/s" "$(python3 -c "print(1e-12 * $(figure build-gpu/train-2048.json model_flops_per_second))")" 550
    expect "embedding, residues/s" "$(figure build-gpu/embed.json residues_per_second)" 120000
    if [ -n "$fasta" ] && python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
        say "4. speed: embedding beside transformers"
        python3 tests/parity/compare_embedding.py --bench "$bench" --fasta "$fasta" --proteins 1000 --device cuda \
            --least 1.5 | tee build-gpu/transformers.txt || problems+=("embedding beside transformers")
    else
        say "embedding beside transformers: left out, it takes --fasta and a python3 with transformers and PyTorch for CUDA"
    fi
fi

if [ ${#problems[@]} -gt 0 ]; then
    printf '[gpu] FAILED: %s\n' "${problems[@]}"
    exit 1
fi
say "passed"

#!/usr/bin/env bash
# Everything that only a GPU can show, on a machine with one and with what a build needs: builds, then runs the list of
# tests/gpu_device.sh. A machine that cannot build takes a bundle instead (tests/gpu_bundle.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source jobscripts/local.sh

usage() {
    cat <<'TEXT'
usage: tests/gpu.sh [--fasta FILE] [--stage 1|2] [--help]

Builds with CUDA in build-gpu/ and runs, on the first GPU, the two stages of tests/gpu_device.sh (its --help says what they
are); where there are several GPUs, also training as two ranks of one each, whose gradients NCCL sums. Results: the tables
build-gpu/results-STAGE-TIME/table.md, and what each step printed beside them.

  --fasta FILE  real proteins (default: Debian's mmseqs2-examples)
  --stage N     one of the two stages alone
TEXT
}

fasta='' stages='1 2'
while [ $# -gt 0 ]; do
    case $1 in
        --fasta) fasta=$(absolute "${2:?--fasta needs a FILE}"); shift ;;
        --stage) stages=${2:?--stage needs 1 or 2}; shift ;;
        --help) usage; exit 0 ;;
        *) echo "error: gpu.sh does not know $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

[[ $stages =~ ^(1|2|1\ 2)$ ]] || { echo "error: --stage is 1 or 2" >&2; exit 2; }
[ -z "$fasta" ] || [ -r "$fasta" ] || { echo "error: $fasta cannot be read" >&2; exit 2; }

say() { printf '[gpu] %s\n' "$*"; }
problems=()

gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
if [ "$gpus" = 0 ]; then
    echo "error: there is no GPU here (nvidia-smi -L lists none)" >&2
    exit 2
fi
if ! command -v nvcc >/dev/null; then
    echo "error: nvcc is not in PATH; load the module of CUDA's toolkit" >&2
    exit 2
fi

# The GPU's own compute capability: "9.0" -> 90.
export CUDA_DEVICE_ORDER=PCI_BUS_ID  # as nvidia-smi counts
gpu=${CUDA_VISIBLE_DEVICES:-0}
capability=$(nvidia-smi -i "${gpu%%,*}" --query-gpu=compute_cap --format=csv,noheader | tr -d '.')
say "building for compute capability $capability"
cmake -S . -B build-gpu -DPROTALBERT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$capability-real" >build-gpu.log
cmake --build build-gpu --parallel "$(nproc)" >>build-gpu.log || { tail -n 40 build-gpu.log; exit 1; }
tests/gpu/make_data.sh build-gpu build-gpu/gpu-data ${fasta:+"$fasta"}

for stage in $stages; do
    say "stage $stage"
    results=build-gpu/results-$stage-$(date +%Y%m%d-%H%M%S)
    # No minutes are counted here: the steps' own limits are enough.
    tests/gpu_device.sh --stage "$stage" --programs build-gpu --data build-gpu/gpu-data --seconds 7200 \
        --results "$results" || problems+=("stage $stage ($results/log.txt)")
done

if [ "$gpus" -lt 2 ] || ! command -v mpirun >/dev/null; then
    say "two ranks: left out, they take two GPUs and mpirun"
else
    say "two ranks, each on a GPU of its own"
    # A container's root may run Open MPI too; other launchers ignore it.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    PROTALBERT_TEST_STEPS=20 timeout 300 mpirun -n 2 build-gpu/tests/test_cuda_parity ||
        problems+=("parity of two ranks with the CPU")
    # Two micro-batches a rank and step: sums go on beside the backward pass.
    timeout 300 mpirun -n 2 build-gpu/protalbert_bench train --device cuda --precision bfloat16 --length 512 --batch 64 \
        --batch-tokens 8192 --steps 3 2>&1 | tee build-gpu/train-2-ranks.txt ||
        problems+=("training by two ranks")
    if grep -q '^-- NCCL: ' build-gpu.log; then
        grep -q 'by NCCL' build-gpu/train-2-ranks.txt || problems+=("NCCL did not sum the gradients of two ranks")
    else
        say "this build has no NCCL: MPI summed the gradients"
    fi
fi

if [ ${#problems[@]} -gt 0 ]; then
    printf '[gpu] FAILED: %s\n' "${problems[@]}"
    exit 1
fi
say "passed"

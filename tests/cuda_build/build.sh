#!/usr/bin/env bash
# Builds the programs with the CUDA backend: build.sh BUILD_FOLDER. Fails on a warning, on a spill in attention, when a hot
# loop's machine code leaves its bounds, and when the program does not run on a machine without a GPU. Skipped (77) where
# there is no nvcc.
set -euo pipefail
build=$1
here=$(dirname "${BASH_SOURCE[0]}")

if ! cmake --build "$build" --target help | grep -q 'with_cuda'; then
    echo "skipped: there is no nvcc here"
    exit 77
fi

# From scratch: ptxas speaks only when it compiles.
find "$build/tests/cuda_build" -name '*.cu.o' -delete
log=$PWD/build.log
cmake --build "$build" --target with_cuda --parallel "$(nproc)" >"$log" 2>&1 || { tail -n 60 "$log"; exit 1; }
if grep -in 'warning' "$log"; then
    echo "failed: nvcc or ptxas warns, above"
    exit 1
fi
python3 "$here/resources.py" "$log"
# 77: there is no disassembler, which it says. The rest can be tested all the same.
python3 "$here/machine_code.py" "$build" || [ $? = 77 ]

program=$build/with_cuda/protalbert_bench
tiny=(kernels --hidden 64 --intermediate 128 --heads 2 --embedding 16 --layers 1 --tokens 64 --length 32 --seconds 0.01)
if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "there is a GPU here: tests/gpu.sh does the rest"
    exit 0
fi

echo "without a GPU: auto is the CPU"
"$program" "${tiny[@]}" --device auto >auto.txt 2>&1 || { cat auto.txt; exit 1; }
grep -q 'device auto is the CPU: no usable GPU' auto.txt || { cat auto.txt; exit 1; }
echo "without a GPU: cuda refuses"
code=0
"$program" "${tiny[@]}" --device cuda >cuda.txt 2>&1 || code=$?
if [ "$code" != 2 ] || ! grep -q 'error: device cuda: no usable GPU' cuda.txt; then
    echo "failed: exit code $code"
    cat cuda.txt
    exit 1
fi
echo passed

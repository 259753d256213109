#!/usr/bin/env bash
# Packs the programs with all that they need, for a machine with a GPU that has neither MPI nor HDF5 or Kokkos.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source jobscripts/local.sh

usage() {
    cat <<'TEXT'
usage: tests/gpu_bundle.sh [--without-nccl] [--built FOLDER] [--proteins FASTA] OUTPUT.tar.zst

Builds in build/ with CUDA for compute capabilities 8.0 and 9.0 and packs the programs, the tests that a GPU runs,
their libraries, Open MPI's plugins, 2,000 proteins and a small checkpoint. Afterwards, where the GPU is:

  tar --zstd -xf OUTPUT.tar.zst && cd protalbert-bundle
  ./gpu_device.sh --stage 1 --results results                # the checks of a first contact
  ./protalbert_embed --checkpoint MODEL proteins.fasta --output embeddings.h5 --device cuda

That machine must have an x86-64 processor, a driver for this machine's CUDA, glibc and libstdc++ as new as this machine's, and
cuBLASLt of the same major version from CUDA's toolkit or from PyTorch. Programs run there as one process on one GPU.

  --without-nccl    leaves NCCL out, which that machine must have otherwise; one GPU needs none
  --built FOLDER    packs what this build folder's target with_cuda has made, and builds nothing
  --proteins FASTA  takes the 2,000 proteins from this file (default: Debian's mmseqs2-examples)
TEXT
}

build=build packs_alone='' nccl='' proteins='' output=''
while [ $# -gt 0 ]; do
    case $1 in
        --without-nccl) nccl=OFF ;;
        --built) build=$(absolute "${2:?--built needs a FOLDER}") packs_alone=yes; shift ;;
        --proteins) proteins=$(absolute "${2:?--proteins needs a FASTA}"); shift ;;
        --help) usage; exit 0 ;;
        -*) echo "error: gpu_bundle.sh does not know $1" >&2; usage >&2; exit 2 ;;
        *) [ -z "$output" ] || { echo "error: one OUTPUT at most" >&2; exit 2; }
           output=$(absolute "$1") ;;
    esac
    shift
done
[ -n "$output" ] || { usage >&2; exit 2; }
if [ -n "$nccl" ] && [ -n "$packs_alone" ]; then
    echo "error: --without-nccl belongs to the build; with --built it comes too late" >&2
    exit 2
fi
if [ -n "$packs_alone" ] && [ ! -x "$build/with_cuda/protalbert_bench" ]; then
    echo "error: $build/with_cuda has no programs; build the target with_cuda first: cmake --build $build --target with_cuda" >&2
    exit 2
fi
[ -z "$proteins" ] || [ -r "$proteins" ] || { echo "error: $proteins cannot be read" >&2; exit 2; }
tools=(zstd strip ldd ompi_info)
[ -n "$packs_alone" ] || tools+=(nvcc cmake)
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not in PATH" >&2; exit 2; }
done

say() { printf '[bundle] %s\n' "$*"; }
programs=(protalbert_prepare protalbert_pretrain protalbert_embed protalbert_bench test_kernels_gpu test_cuda_parity
    probe_products)

if [ -n "$packs_alone" ]; then
    say "1/4 taking what is built in $build/with_cuda/"
else
    say "1/4 building for compute capabilities 8.0 and 9.0 in $build/with_cuda/"
    jobscripts/setup.sh --tests
    log=$build/with_cuda.log
    if ! { cmake -S . -B "$build" ${nccl:+"-DPROTALBERT_NCCL=$nccl"} &&
        cmake --build "$build" --parallel "$(nproc)" --target with_cuda; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "error: the build failed; its whole log is $log" >&2
        exit 1
    fi
fi

place=$(mktemp -d)
trap 'rm -rf "$place" "$output.part"' EXIT
bundle=$place/protalbert-bundle
mkdir -p "$bundle"/{bin,lib,data,openmpi/share}

say "2/4 programs and libraries"
# From CUDA 12.9 on.
[ ! -x "$build/with_cuda/probe_float8" ] || programs+=(probe_float8)
for name in "${programs[@]}"; do strip -o "$bundle/bin/$name" "$build/with_cuda/$name"; done
# Open MPI knows where its own files are.
plugins=$(ompi_info --path pkglibdir --parsable | cut -d: -f3)
messages=$(ompi_info --path pkgdatadir --parsable | cut -d: -f3)
if [ ! -d "$plugins" ] || [ ! -d "$messages" ]; then
    echo "error: Open MPI's plugins were not found in $plugins; a bundle takes an Open MPI 4" >&2
    exit 1
fi
kept=$bundle/openmpi/lib/$(basename "$plugins")
mkdir -p "$kept"
cp "$plugins"/*.so "$kept"
cp -rL "$messages" "$bundle/openmpi/share/openmpi"
# The C and C++ runtimes are the machine's own, which are newer or the programs do not start; its driver and cuBLASLt
# (half a gigabyte) belong together, as do NCCL and its network.
left_out='ld-linux-x86-64|libc|libm|libpthread|libdl|librt|libresolv|libstdc\+\+|libgcc_s|libcuda|libcublasLt|libcublas|libnccl'
if ldd "$bundle"/bin/* | grep 'not found'; then
    echo "error: libraries that the programs need are not here, above; load the modules that they were built with" >&2
    exit 1
fi
needed() { ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u; }
needed "$bundle"/bin/* "$kept"/*.so | grep -Ev "/($left_out)\.so" |
    xargs -I{} cp -L {} "$bundle/lib"
strip --strip-unneeded "$bundle"/lib/*.so* "$kept"/*.so
needed "$bundle"/bin/* | sed 's|.*/||' | grep -E '^(libcublasLt|libnccl)\.so' >"$bundle/lib/of_the_machine.txt"

say "3/4 proteins and a small checkpoint"
cp tests/gpu_device.sh tests/gpu/launch.sh "$bundle"
for name in "${programs[@]}"; do ln -s launch.sh "$bundle/$name"; done
cp -r input "$bundle/input"
mkdir -p "$bundle/gpu" "$bundle/parity"
cp tests/gpu/*.py "$bundle/gpu"
cp tests/parity/common.py tests/parity/compare_embedding.py "$bundle/parity"
# cuBLASLt is in this machine's toolkit: the programs start here as they will there.
tests/gpu/make_data.sh "$bundle" "$bundle/data" ${proteins:+"$proteins"}
git describe --always --dirty >"$bundle/VERSION" 2>/dev/null || echo unknown >"$bundle/VERSION"

say "4/4 packing"
mkdir -p "$(dirname "$output")"
tar -C "$place" -cf - protalbert-bundle | zstd -q -19 --long=27 -T0 -f -o "$output.part"
size=$(stat -c %s "$output.part")
# What still travels easily.
if [ "$size" -gt 40000000 ]; then
    echo "error: the bundle has $((size / 1000000)) MB, more than 40: some library in it belongs to the machine that it is for" \
        "(left_out in tests/gpu_bundle.sh)" >&2
    exit 1
fi
mv "$output.part" "$output"
say "$output: $((size / 1000000)) MB"

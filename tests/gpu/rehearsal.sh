#!/usr/bin/env bash
# The day of a GPU, without one: rehearsal.sh BUILD_FOLDER packs the bundle and runs both stages of gpu_device.sh in a new
# Debian 13, a machine of another age that has CUDA's libraries and Python, and nothing else of what a build needs. What
# needs no GPU must pass there, everything else must say that there is none. Skipped (77) where that machine cannot be had.
set -euo pipefail
build=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
skip() { echo "skipped: $*"; exit 77; }
[ -x "$build/with_cuda/protalbert_bench" ] || skip "there are no programs with CUDA in $build/with_cuda (test cuda_build.build)"
[ "$(id -u)" = 0 ] || skip "a chroot takes root"
for tool in debootstrap zstd; do command -v $tool >/dev/null || skip "$tool is not installed"; done

# Mounts of its own: however this ends, the kernel takes them back, and nothing reaches this machine's folders through them.
if [ -z "${in_namespace:-}" ]; then
    unshare --mount --propagation private --pid --fork true 2>/dev/null || skip "mounting is not allowed here"
    exec env in_namespace=yes unshare --mount --propagation private --pid --fork --kill-child "$BASH" "$0" "$@"
fi

# 1. The other machine: made once, then unpacked from the cache.
suite=trixie
base=${PROTALBERT_CACHE:-$HOME/.cache/protalbert}/debian-$suite-python3.tar
machine=$(mktemp -d)
chmod 755 "$machine"
leave() {
    for folder in usr/local/cuda/lib64 dev proc; do
        ! mountpoint -q "$machine/$folder" || umount -l "$machine/$folder"
    done
    rm -rf --one-file-system "$machine"
}
trap leave EXIT
if [ ! -s "$base" ]; then
    mkdir -p "$(dirname "$base")"
    debootstrap --variant=minbase --include=python3 "$suite" "$machine" >debootstrap.log 2>&1 ||
        skip "debootstrap could not make a Debian 13: $(tail -n 1 debootstrap.log)"
    tar -C "$machine" -cf "$base.$$" . && mv "$base.$$" "$base"
else
    tar -C "$machine" -xf "$base"
fi
mkdir -p "$machine/usr/local/cuda/lib64" "$machine/work"
mount -t proc proc "$machine/proc"
mount --bind /dev "$machine/dev"
mount -o remount,ro,bind "$machine/dev"
# In place of CUDA's tools, which want a GPU themselves: they know the options that the real ones have, and start the program.
for tool in compute-sanitizer ncu; do install -D -m 755 "$here/tool_without_gpu.sh" "$machine/usr/local/bin/$tool"; done
inside() { chroot "$machine" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "cd /work/protalbert-bundle && $1"; }

# 2. The bundle.
"$here/../gpu_bundle.sh" --built "$build" bundle.tar.zst
zstd -dc bundle.tar.zst | tar -C "$machine/work" -xf -

echo "without CUDA's libraries the launcher says what is missing"
code=0
inside "./protalbert_bench --version" >no_library.txt 2>&1 || code=$?
if [ $code != 127 ] || ! grep -q 'error: libcublasLt.so.* was not found: it comes with' no_library.txt; then
    echo "failed: exit code $code"
    cat no_library.txt
    exit 1
fi

# 3. Both stages, with the libraries of CUDA's toolkit.
library=$(ldd "$build/with_cuda/protalbert_bench" | awk '$1 ~ /^libcublasLt/ { print $3 }')
mount --bind -o ro "$(dirname "$(realpath "$library")")" "$machine/usr/local/cuda/lib64"
for stage in 1 2; do
    code=0
    inside "./gpu_device.sh --stage $stage --results results-$stage" >stage_$stage.txt 2>&1 || code=$?
    cat stage_$stage.txt
    [ $code = 0 ] || { echo "failed: stage $stage ended with $code"; cat "$machine/work/protalbert-bundle/results-$stage/log.txt"; exit 1; }
done
echo "a selection that matches nothing, a wrong one, and a want of time are no success"
for arguments in '--only nothing' '--only [' '--seconds 1'; do
    if inside "./gpu_device.sh --stage 2 $arguments --results other" >no_success.txt 2>&1; then
        echo "failed: $arguments ended with 0"
        cat no_success.txt
        exit 1
    fi
    rm -rf "$machine/work/protalbert-bundle/other"
done

echo "an interrupted run keeps its results, and leaves no program behind"
code=0
inside "timeout -s TERM 4 ./gpu_device.sh --stage 1 --only '^(machine|programs-cpu)' --results cut" >cut.txt 2>&1 || code=$?
if [ $code != 124 ] || ! grep -q '"step": "machine"' "$machine/work/protalbert-bundle/cut/results.jsonl" ||
    ! grep -q 'programs-cpu: interrupted' "$machine/work/protalbert-bundle/cut/log.txt" || readlink /proc/[0-9]*/root | grep -qx "$machine"; then
    echo "failed: exit code $code"
    cat cut.txt "$machine/work/protalbert-bundle/cut/log.txt"
    for root in /proc/[0-9]*/root; do [ "$(readlink "$root")" != "$machine" ] || tr '\0' ' ' <"${root%root}cmdline"; done
    exit 1
fi

echo "the comparison of two devices sees a difference"
python=python3
"$python" -c 'import h5py, numpy' 2>/dev/null || python=/usr/bin/python3
if "$python" -c 'import h5py, numpy' 2>/dev/null; then
    data=$machine/work/protalbert-bundle/data
    awk '/^>/ { ++count } count <= 20' "$data/proteins.fasta" >some.fasta
    "$build/protalbert_embed" --checkpoint "$data/checkpoint.h5" some.fasta --output one.h5 --invalid unknown --too-long skip \
        --residues float32 --device cpu --overwrite >embed.txt 2>&1 || { cat embed.txt; exit 1; }
    cp one.h5 other.h5
    "$python" "$here/compare_devices.py" one.h5 other.h5
    "$python" -c 'import h5py; h5py.File("other.h5", "r+")["mean"][3] *= 1.02'
    if "$python" "$here/compare_devices.py" one.h5 other.h5 2>difference.txt; then
        echo "failed: a mean that differs by 2 % passed"
        exit 1
    fi
    grep -q 'a mean differs by 2' difference.txt
else
    echo "not tried: no python3 here has h5py"
fi

echo "results are never written over"
code=0
inside "./gpu_device.sh --stage 1 --results results-1" >again.txt 2>&1 || code=$?
if [ $code != 2 ] || ! grep -q 'holds results already' again.txt; then
    echo "failed: exit code $code"
    cat again.txt
    exit 1
fi

python3 "$here/check_rehearsal.py" "$machine/work/protalbert-bundle"/results-[12]/results.jsonl

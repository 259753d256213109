#!/usr/bin/env bash
# Gets what protalbert needs and builds it into build/. A second run finds everything there and needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: jobscripts/setup.sh [--tests] [--demo] [--sanitize] [--help]

Installs missing Debian packages (as root or with sudo; elsewhere it lists what is missing and where a cluster gets it),
builds Kokkos where the site has none, then configures and builds protalbert into build/.

  --tests     also what the tests need, and the tests themselves; warnings are errors
  --demo      also the demo's proteins and what draws its plots
  --sanitize  builds into build-sanitize/ with the address and undefined behaviour sanitizers

Environment: PROTALBERT_CACHE, where Kokkos and what the tests download are kept (default ~/.cache/protalbert).
Machine settings: Makefile.inc.
TEXT
}

tests='' demo='' sanitize=''
for option in "$@"; do
    case $option in
        --tests) tests=yes ;;
        --demo) demo=yes ;;
        --sanitize) sanitize=yes ;;
        --help) usage; exit 0 ;;
        *) echo "error: setup.sh does not know $option" >&2; usage >&2; exit 2 ;;
    esac
done

folder=build
[ -z "$sanitize" ] || folder=build-sanitize

say() { printf '[setup] %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Value of a key of Makefile.inc, with $(NAME) replaced from the environment.
machine_value() {
    local value name
    value=$(sed -n -E "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" Makefile.inc | sed -E 's/[[:space:]]*(#.*)?$//' | tail -n 1)
    while [[ $value =~ \$\(([A-Za-z0-9_]+)\) ]]; do
        name=${BASH_REMATCH[1]}
        value=${value//"\$($name)"/${!name:-}}
    done
    printf '%s' "$value"
}

# Debian's package, and what a cluster calls it.
base_packages='
g++                  a C++20 compiler: module gcc/11 or newer, or spack install gcc
cmake                module cmake, or spack install cmake (3.22 or newer)
ninja-build          optional elsewhere: make does as well
pkg-config           spack install pkgconf
git                  module git
ca-certificates      part of every cluster
openmpi-bin          the MPI module (openmpi, cray-mpich)
libopenmpi-dev       the MPI module (openmpi, cray-mpich)
libhdf5-openmpi-dev  HDF5 with MPI: module hdf5-parallel, phdf5 or cray-hdf5-parallel, or spack install hdf5+mpi
libcli11-dev         spack install cli11
libspdlog-dev        spack install spdlog
libtomlplusplus-dev  spack install tomlplusplus
nlohmann-json3-dev   spack install nlohmann-json
libsentencepiece-dev spack install sentencepiece
libxxhash-dev        spack install xxhash
zlib1g-dev           spack install zlib
python3              module python
python3-pip          module python
'
test_packages='
libgtest-dev         spack install googletest
libgmock-dev         spack install googletest
clang-format         spack install llvm
clang                only the fuzzers need it, and are skipped without: spack install llvm
libclang-rt-dev      the sanitizers and libFuzzer of clang, part of llvm elsewhere
python3-numpy        pip install numpy
python3-h5py         pip install h5py
python3-matplotlib   pip install matplotlib
slurm-wlm            only the test of the job scripts needs it, and is skipped without
munge                only the test of the job scripts needs it, and is skipped without
zstd                 only the bundle for a machine with a GPU and its rehearsal need it
debootstrap          only the rehearsal of that bundle needs it, and is skipped without
'
demo_packages='
mmseqs2-examples     only the demo without a FASTA file of your own needs it
python3-numpy        pip install numpy
python3-h5py         pip install h5py
python3-matplotlib   pip install matplotlib
'

install_packages() {
    local wanted missing privilege='' package
    wanted=$base_packages${tests:+$test_packages}${demo:+$demo_packages}
    if ! command -v dpkg-query >/dev/null; then
        say "1/4 packages: this is no Debian, nothing is installed; step 3 says what is missing"
        return
    fi
    missing=$(awk 'NF { print $1 }' <<<"$wanted" | sort -u | comm -23 - \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | awk '$1 == "installed" { print $2 }' | sort -u))
    if [ -z "$missing" ]; then
        say "1/4 packages: all there"
        return
    fi
    missing=${missing//$'\n'/ }
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 1 ]; }; }; then
            privilege='sudo'
        else
            say "1/4 packages: this account may install none (it is not root, and sudo is missing or wants a password)"
            echo "  Missing here. Ask an administrator for: apt install $missing"
            echo "  or get them as on a cluster, and name their folders in Makefile.inc:"
            for package in $missing; do awk -v p="$package" '$1 == p { print "    " $0; exit }' <<<"$wanted"; done
            return
        fi
    fi
    say "1/4 packages: installing $missing"
    # A machine behind a proxy may have the proxy's certificate in a bundle that no package owns. The package
    # ca-certificates (pip needs it) writes that bundle anew: hand it the old one first, as its manual says.
    local bundle=/etc/ssl/certs/ca-certificates.crt kept=/usr/local/share/ca-certificates/from-before-the-package.crt
    if [[ " $missing " == *" ca-certificates "* && -s $bundle ]]; then
        $privilege install -D -m 644 "$bundle" "$kept"
        say "  the certificates of this machine are kept in $kept"
    fi
    local log
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { $privilege apt-get -q -o DPkg::Lock::Timeout=300 update &&
           $privilege env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y \
               --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "apt-get could not install the packages above (its whole log: $log). Is there a network, and has" \
             "/etc/apt a Debian 12 or newer source?"
    fi
    rm -f "$log"
}

check_tools() {
    local tool missing=''
    for tool in cmake c++ pkg-config; do
        [ "$tool" = c++ ] && [ -n "$(machine_value CXX)" ] && continue
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ -z "$missing" ] || fail "not found in PATH:$missing. Load their modules (or spack load them), then call this again."
    # For new build folders; one that exists keeps its generator.
    ! command -v ninja >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
}

cache=$(realpath -m "${PROTALBERT_CACHE:-${HOME:-$PWD}/.cache/protalbert}")
kokkos=$cache/kokkos-4.7.0
# Kokkos' source is not packaged by itself; this source distribution carries a whole 4.7.0 in tpls/kokkos.
carrier=pygenten-0.1.5.tar.gz
carrier_sha256=e620f05c742905e2db705d875f1cac92ef0ed453f9e6734e9beda26cc0f9cce7

site_has_kokkos() {
    local probe=$1/probe
    mkdir -p "$probe"
    cat >"$probe/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(probe CXX)
foreach(version 4.3 5)
  find_package(Kokkos ${version} QUIET)
  if(Kokkos_FOUND AND Kokkos_ENABLE_OPENMP AND NOT Kokkos_ENABLE_CUDA AND NOT Kokkos_ENABLE_HIP AND NOT Kokkos_ENABLE_SYCL)
    return()
  endif()
endforeach()
message(FATAL_ERROR "none")
CMAKE
    cmake -S "$probe" -B "$probe/build" "${compiler[@]}" >/dev/null 2>&1
}

build_kokkos() {
    if [ -n "$(machine_value KOKKOS_ROOT)" ]; then
        say "2/4 Kokkos: the one that Makefile.inc names"
        return
    elif [ -d "$kokkos" ]; then
        say "2/4 Kokkos: $kokkos"
        return
    fi
    mkdir -p "$cache"
    local work compiler=() cxx
    work=$(mktemp -d "$cache/kokkos-building.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    cxx=$(machine_value CXX)
    [ -z "$cxx" ] || compiler=("-DCMAKE_CXX_COMPILER=$cxx")
    if site_has_kokkos "$work"; then
        say "2/4 Kokkos: the site's"
        return
    fi
    say "2/4 Kokkos: the site has none >= 4.3 with OpenMP, building 4.7.0 into $kokkos (a minute)"
    if [ -f "$cache/$carrier" ]; then
        echo "$carrier_sha256  $cache/$carrier" | sha256sum --check --quiet ||
            fail "$cache/$carrier is damaged or another version: delete it and call this again."
        cp "$cache/$carrier" "$work"
    else
        echo "pygenten==0.1.5 --hash=sha256:$carrier_sha256" >"$work/requirements.txt"
        python3 -m pip download --quiet --no-deps --no-binary pygenten --require-hashes -r "$work/requirements.txt" \
            -d "$work" >"$work/log" 2>&1 || {
            tail -n 20 "$work/log" >&2
            fail "could not download $carrier from PyPI. Without a network: put that file into $cache yourself, or name" \
                 "a Kokkos in Makefile.inc (KOKKOS_ROOT)."
        }
    fi
    tar -xzf "$work/$carrier" -C "$work" --wildcards '*/tpls/kokkos/*'
    { cmake -S "$work"/*/tpls/kokkos -B "$work/build" "${compiler[@]}" -DCMAKE_BUILD_TYPE=Release \
          -DCMAKE_INSTALL_PREFIX="$kokkos" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_CXX_STANDARD=20 \
          -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DKokkos_ENABLE_OPENMP=ON -DKokkos_ENABLE_SERIAL=ON &&
      cmake --build "$work/build" --parallel "$(nproc)" &&
      DESTDIR=$work/installed cmake --install "$work/build"; } >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        fail "Kokkos did not build with ${cxx:-$(command -v c++)}; the last lines are above."
    }
    # One rename makes it visible, so that an interrupted build leaves nothing half and of two builds at once one wins.
    mv -T "$work/installed$kokkos" "$kokkos" 2>/dev/null || [ -d "$kokkos" ] || fail "could not write $kokkos."
}

# CUDA's disassembler, with which tests/cuda_build reads the kernels' machine code, where an nvcc came without it. In a
# subshell, for its own clearing up.
fetch_disassembler() (
    local nvcc=/usr/local/cuda/bin/nvcc place=$cache/cuda-disassembler-13.2.51 work wheel
    nvcc=$(command -v nvcc || { [ -x "$nvcc" ] && echo "$nvcc"; }) || return 0
    nvcc=$(realpath "$nvcc")
    PATH=${nvcc%/*}:$PATH
    if { command -v cuobjdump && command -v nvdisasm; } >/dev/null || [ -d "$place" ]; then return; fi
    say "  CUDA's disassembler (5 MB, for the tests): $place"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/disassembler-loading.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    # Each for x86_64 and for aarch64.
    cat >"$work/requirements.txt" <<'TEXT'
nvidia-cuda-cuobjdump==13.2.51 \
    --hash=sha256:95c69d3ddf0c2c1f535ec44c3433a66aeee19f588d9d22f73356e20b25f12b50 \
    --hash=sha256:f2f3bc433a91f4ff910841f2de8bc9e7ce92556602d6e363054fe2bb62a587c4
nvidia-cuda-nvdisasm==13.2.51 \
    --hash=sha256:5a7acf77c55d6d2911ed6155d4d5bc156ffadf9df7a68a89b0c1155f4b13688c \
    --hash=sha256:483c8f652c1ca006135584b4faf7ea1d2bafe4c40ec1c9ef57a04c6acfbdd57f
TEXT
    python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes -r "$work/requirements.txt" \
        -d "$work" >"$work/log" 2>&1 || {
        tail -n 5 "$work/log" >&2
        say "  it could not be downloaded from PyPI: the tests will not check the kernels' machine code"
        return
    }
    for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/unpacked"; done
    chmod +x "$work"/unpacked/nvidia/*/bin/*
    mv -T "$work/unpacked" "$place" 2>/dev/null || [ -d "$place" ] || fail "could not write $place."
)

configure_and_build() {
    local options=()
    [ -z "$tests" ] || options+=(-DPROTALBERT_TESTS=ON -DPROTALBERT_WERROR=ON)
    # Without optimisation the sanitized tests of the model would take too long.
    [ -z "$sanitize" ] || options+=(-DPROTALBERT_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo)
    if [ ! -f "$folder/CMakeCache.txt" ]; then
        ! command -v ccache >/dev/null || options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
        # The programs alone, unless the tests are asked for.
        [ -n "$tests" ] || options+=(-DPROTALBERT_TESTS=OFF)
    fi
    mkdir -p "$folder"
    say "3/4 configuring $folder/"
    cmake -S . -B "$folder" "${options[@]}" >"$folder/configure.log" 2>&1 || {
        cat "$folder/configure.log" >&2
        fail "CMake could not configure; what to do is said above."
    }
    say "4/4 building $folder/ (the first time takes minutes)"
    cmake --build "$folder" --parallel "$(nproc)" || fail "the build failed; the compiler's message is above."
}

install_packages
check_tools
build_kokkos
[ -z "$tests" ] || fetch_disassembler
configure_and_build
say "done: protalbert_prepare, protalbert_pretrain, protalbert_embed, protalbert_probe, protalbert_convert and protalbert_bench are in $folder/"

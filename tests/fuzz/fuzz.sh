#!/usr/bin/env bash
# Fuzzes what reads foreign bytes, by clang's libFuzzer under the address and undefined behaviour sanitizers.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: fuzz.sh BUILD build                     builds the fuzzers in BUILD/fuzz/
       fuzz.sh BUILD short FUZZER              its seeds, then some seconds of what comes from them
       fuzz.sh BUILD long [EXECUTIONS]         all fuzzers, EXECUTIONS in all (10000000), two at a time; a call that was
                                               interrupted goes on. Ends with a table, and with 1 when there were faults.
       fuzz.sh BUILD list                      names of the fuzzers

What ended a fuzzer is kept in BUILD/fuzz/faults/. To look into it: BUILD/fuzz/fuzz_NAME FILE; once mended, it becomes a seed,
tests/fuzz/seeds/NAME/fault_WHAT. Without a clang that has libFuzzer it is said, and the exit code is 77.
TEXT
}

[ $# -ge 2 ] || { usage >&2; exit 2; }
build=$(realpath -m "$1") what=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=$build/fuzz

# Faults and limits: ten seconds and 2 GiB are a hundred times what any input here needs. What libraries keep until the
# process ends is looked at by the sanitized tests. HDF5 asks for more memory than there is and copes without; this project's
# own code ends the fuzzer when it does.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0
export UBSAN_OPTIONS=print_stacktrace=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
limits=(-timeout=10 -rss_limit_mb=2048 -max_len=4096 -detect_leaks=0 -print_final_stats=1)
short_seconds=5

names() { find "$here" -name 'fuzz_*.cpp' -printf '%f\n' | sed -E 's/^fuzz_(.*)\.cpp$/\1/' | sort; }

# Thousands of ten million executions, by speed and by how much there is to find.
share_of() {
    case $1 in
        hdf5) echo 100 ;;  # makes a file of HDF5's for each
        seal) echo 400 ;;  # reads one
        config) echo 700 ;;
        sequences) echo 1800 ;;
        pickle) echo 1200 ;;
        footer | pytorch | safetensors) echo 600 ;;
        *) echo 1000 ;;
    esac
}

find_clang() {
    local candidate probe
    probe=$(mktemp -d)
    echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' >"$probe/probe.cpp"
    for candidate in clang++ clang++-{20..14}; do
        if "$candidate" -std=c++20 -fsanitize=fuzzer,address,undefined "$probe/probe.cpp" -o "$probe/probe" 2>/dev/null; then
            rm -rf "$probe"
            echo "$candidate"
            return
        fi
    done
    rm -rf "$probe"
    return 1
}

build_fuzzers() {
    local compiler options=() key value
    compiler=$(find_clang) || { echo "skipped: there is no clang++ with libFuzzer here (Debian: clang, libclang-rt-dev)"; exit 77; }
    ! command -v ccache >/dev/null || options=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    ! command -v ninja >/dev/null || [ -f "$programs/CMakeCache.txt" ] || options+=(-G Ninja)
    # Libraries where the build found them.
    for key in MPI_CXX_COMPILER HDF5_ROOT; do
        value=$(sed -n -E "s/^$key:[A-Z]+=//p" "$build/CMakeCache.txt" 2>/dev/null || true)
        [ -z "$value" ] || options+=("-D$key=$value")
    done
    cmake -S "$here" -B "$programs" "-DCMAKE_C_COMPILER=${compiler/clang++/clang}" "-DCMAKE_CXX_COMPILER=$compiler" \
        "${options[@]}" >"$programs.log" 2>&1 &&
        cmake --build "$programs" --parallel "$(nproc)" >>"$programs.log" 2>&1 || { tail -n 40 "$programs.log"; exit 1; }
    echo "built by $compiler: $(names | wc -l) fuzzers"
}

need() {
    [ -x "$programs/fuzz_$1" ] || { echo "skipped: fuzz_$1 was not built (no clang++ with libFuzzer here)"; exit 77; }
}

dictionary() { [ ! -f "$here/$1.dict" ] || echo "-dict=$here/$1.dict"; }

number_of() { sed -n -E "s/^stat::$1: +([0-9]+)$/\1/p" "$2" | tail -n 1; }

short() {
    local name=$1 place
    need "$name"
    place=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$place'" EXIT
    mkdir -p "$programs/faults/$name" "$place/corpus"
    # The seeds by themselves first: a fault that was mended must stay so.
    find "$here/seeds/$name" -type f -print0 |
        xargs -0 "$programs/fuzz_$name" "${limits[@]}" "-artifact_prefix=$programs/faults/$name/" >"$place/log" 2>&1 ||
        { tail -n 60 "$place/log"; echo "failed: a seed of $name"; exit 1; }
    # shellcheck disable=SC2046
    "$programs/fuzz_$name" "${limits[@]}" -seed=1 -max_total_time=$short_seconds $(dictionary "$name") \
        "-artifact_prefix=$programs/faults/$name/" "$place/corpus" "$here/seeds/$name" >"$place/log" 2>&1 ||
        { tail -n 60 "$place/log"; echo "failed: $name; its input is in $programs/faults/$name/"; exit 1; }
    echo "$name: $(find "$here/seeds/$name" -type f | wc -l) seeds, $(number_of number_of_executed_units "$place/log") executions"
}

# One fuzzer of a long call, in pieces, each recorded when it is done: "executions seconds faults".
long_one() {
    local name=$1 wanted=$2 record=$3/$1 piece=0 runs=0 seconds=0 faults=0 log=$3/$1.log left start code count fuzzer
    need "$name"
    mkdir -p "$programs/faults/$name" "$programs/corpus/$name"
    if [ -f "$record" ]; then read -r runs seconds faults piece <"$record"; fi
    while [ "$runs" -lt "$wanted" ] && [ "$faults" -lt 10 ]; do
        left=$((wanted - runs))
        [ "$left" -le $((wanted / 10 + 1)) ] || left=$((wanted / 10 + 1))
        piece=$((piece + 1)) start=$SECONDS code=0
        # shellcheck disable=SC2046
        "$programs/fuzz_$name" "${limits[@]}" -seed=$piece -runs="$left" $(dictionary "$name") \
            "-artifact_prefix=$programs/faults/$name/" "$programs/corpus/$name" "$here/seeds/$name" >"$log" 2>&1 &
        fuzzer=$!
        # shellcheck disable=SC2064
        trap "kill $fuzzer" TERM
        wait $fuzzer || code=$?
        # Ended from outside (libFuzzer's 72, or a signal): this piece does not count, and is no fault.
        [ $code -lt 128 ] && [ $code != 72 ] || return 1
        count=$(number_of number_of_executed_units "$log")
        runs=$((runs + ${count:-0})) seconds=$((seconds + SECONDS - start))
        if [ $code != 0 ]; then
            faults=$((faults + 1))
            cp "$log" "$programs/faults/$name/log.$piece"
        fi
        echo "$runs $seconds $faults $piece" >"$record.new"
        mv "$record.new" "$record"
        echo "$name: $runs of $wanted executions, $seconds s, $faults faults"
    done
}

long() {
    local executions=${1:-10000000} state=$programs/long.${1:-10000000} total=0 name wanted running=0
    local all_runs=0 all_seconds=0 all_faults=0 runs seconds faults piece
    [[ $executions =~ ^[1-9][0-9]*$ ]] || { echo "error: '$executions' is no number of executions" >&2; exit 2; }
    for name in $(names); do need "$name"; done
    # Of the same programs and seeds: with others it starts anew.
    local now
    now=$(cd "$here" && find . -type f -print0 | sort -z | xargs -0 cat "$programs"/fuzz_[a-z]*[a-z0-9] | sha256sum)
    [ -f "$state/of" ] && [ "$(cat "$state/of")" = "$now" ] || { rm -rf "$state"; mkdir -p "$state"; echo "$now" >"$state/of"; }
    for name in $(names); do total=$((total + $(share_of "$name"))); done
    # Whoever ends this call ends the fuzzers.
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
    trap 'exit 143' TERM INT
    # The slow ones first, so that no core waits at the end.
    for name in hdf5 seal sequences hugging_face $(names | grep -vx -e hdf5 -e seal -e sequences -e hugging_face); do
        wanted=$(((executions * $(share_of "$name") + total - 1) / total))
        [ $running -lt 2 ] || { wait -n || true; running=$((running - 1)); }
        long_one "$name" $wanted "$state" &
        running=$((running + 1))
    done
    while [ $running -gt 0 ]; do wait -n || true; running=$((running - 1)); done
    printf '%-14s %12s %9s %8s\n' fuzzer executions seconds faults
    for name in $(names); do
        runs=0 seconds=0 faults=0
        if [ -f "$state/$name" ]; then read -r runs seconds faults piece <"$state/$name"; fi
        printf '%-14s %12d %9d %8d\n' "$name" "$runs" "$seconds" "$faults"
        all_runs=$((all_runs + runs)) all_seconds=$((all_seconds + seconds)) all_faults=$((all_faults + faults))
    done
    printf '%-14s %12d %9d %8d\n' all $all_runs $all_seconds $all_faults
    [ $all_faults = 0 ] || { echo "failed: the inputs are in $programs/faults/"; exit 1; }
    [ $all_runs -ge "$executions" ] || { echo "failed: it was interrupted; the same command goes on"; exit 1; }
}

case $what in
    build) build_fuzzers ;;
    short) short "${1:?short needs a FUZZER}" ;;
    long) long "$@" ;;
    list) names ;;
    *) usage >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Sets up what is missing, builds, and runs all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--sanitize] [--tidy] [--only REGEX] [--help]
       tests/run.sh --long [--executions N]

  --sanitize    the tests under the address and undefined behaviour sanitizers, in build-sanitize/
  --tidy        also clang-tidy over the C++ files that differ from the last commit's parent
  --only REGEX  only the tests whose name matches (ctest -R)
  --long        instead of the tests the fuzzers, for an hour or less on two cores: what reads files is given N inputs in
                all (10000000), under both sanitizers. A call that was interrupted goes on. Ends with a table.
TEXT
}

sanitize='' tidy='' only='' long='' executions=10000000
while [ $# -gt 0 ]; do
    case $1 in
        --sanitize) sanitize=yes ;;
        --tidy) tidy=yes ;;
        --long) long=yes ;;
        --executions) executions=${2:?--executions needs a number}; shift ;;
        --only) only=${2:?--only needs a REGEX}; shift ;;
        --help) usage; exit 0 ;;
        *) echo "error: run.sh does not know $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

say() { printf '[tests] %s\n' "$*"; }
problems=()

jobscripts/setup.sh --tests ${sanitize:+--sanitize}
folder=build
[ -z "$sanitize" ] || folder=build-sanitize

if [ -n "$long" ]; then
    say "fuzzers: $executions executions"
    bash tests/fuzz/fuzz.sh "$folder" build
    exec bash tests/fuzz/fuzz.sh "$folder" long "$executions"
fi

mapfile -t sources < <(git ls-files '*.cpp' '*.hpp' '*.cu' '*.cuh')
# Other versions format otherwise, which is no fault.
format=$(command -v clang-format-14 || command -v clang-format || true)
if [ -n "$format" ] && [[ $("$format" --version) == *" version 14."* ]]; then
    say "format of ${#sources[@]} C++ files"
    "$format" --dry-run -Werror "${sources[@]}" || problems+=("formatting (clang-format -i FILE mends it)")
else
    say "format: not checked, which takes clang-format 14"
fi

if [ -n "$tidy" ]; then
    mapfile -t changed < <(git diff --name-only --diff-filter=d HEAD~1 -- 'src/*.cpp' 'kernels/*.cpp')
    say "clang-tidy over ${#changed[@]} changed files"
    [ ${#changed[@]} = 0 ] || clang-tidy -p "$folder" --quiet --warnings-as-errors='*' "${changed[@]}" ||
        problems+=("clang-tidy")
fi

# ctest knows how many cores each test uses, so that tests run side by side only where there is room.
say "tests, on $(nproc) cores"
results=$folder/test-results.txt
ctest --test-dir "$folder" --output-on-failure --no-tests=error --parallel "$(nproc)" ${only:+-R "$only"} |
    tee "$results" || problems+=("tests (their output is above and in $results)")

summary=$(grep 'tests passed' "$results" || true)
if [ ${#problems[@]} -gt 0 ]; then
    printf -v list '%s, ' "${problems[@]}"
    say "FAILED: ${list%, }. ${summary:-no test ran}"
    exit 1
fi
say "passed: $summary"

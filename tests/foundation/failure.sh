#!/usr/bin/env bash
# A failure on any rank ends all ranks within seconds, with its message printed once and its exit code.
# failure.sh BUILD_FOLDER, in a folder of its own.
set -u
program=$1/tests/failing_program
read -ra mpirun <<<"${MPIRUN:-mpirun -n}"
together=4  # cases that run at a time: they mostly wait
around=()   # a command that changes where or as whom the next ones run
number=0

# expect RANKS EXIT_CODE SECONDS MESSAGES PATTERN ARGUMENT...: so many lines with "error:" (MESSAGES), one with PATTERN
# (none asked for when it is empty). One rank runs without mpirun.
expect() {
    number=$((number + 1))
    rm -rf "case_$number" && mkdir "case_$number"
    (cd "case_$number" && check "$@" >report.txt 2>&1) &
    [ $((number % together)) != 0 ] || wait
}

check() {
    local out=output.txt ranks=$1 expected=$2 limit=$3 messages=$4 pattern=$5 start code seconds
    shift 5
    local call=("$program" "$@")
    [ "$ranks" = 1 ] || call=("${mpirun[@]}" "$ranks" "${call[@]}")
    start=$(date +%s%N)
    timeout -k 5 60 "${around[@]}" "${call[@]}" >"$out" 2>"$out.err"
    code=$?
    seconds=$(( ($(date +%s%N) - start) / 1000000000 ))
    cat "$out.err" >>"$out"
    local complaint=""
    [ "$code" = "$expected" ] || complaint="exit code $code instead of $expected"
    [ "$seconds" -le "$limit" ] || complaint="$complaint; took $seconds s, more than $limit s"
    [ "$(grep -c 'error:' "$out")" = "$messages" ] || complaint="$complaint; not $messages line(s) with error:"
    [ -z "$pattern" ] || [ "$(grep -c -- "$pattern" "$out")" = 1 ] || complaint="$complaint; not one line with '$pattern'"
    if [ -n "$complaint" ]; then
        echo "FAILED with $ranks ranks: $*: $complaint"
        sed 's/^/    /' "$out"
    else
        echo "passed with $ranks ranks in $seconds s: $*"
    fi
}

empty="error: record 7 of proteins.fasta is empty; remove it"
one="error: rank 1: record 7 of proteins.fasta is empty; remove it"
for ranks in 1 3; do
    expect $ranks 0 5 0 "^finished" finished
    expect $ranks 75 5 0 "" stopped
    expect $ranks 0 5 0 "how to end" --help
    expect $ranks 0 5 0 "^protalbert " --version
    expect $ranks 2 5 1 "error: .*--nonsense.*run failing_program --help" finished --nonsense
    expect $ranks 2 5 1 "error: .*required.*run failing_program --help"
    expect $ranks 2 5 1 "error: .*--number.*run failing_program --help" finished --number x
    expect $ranks 2 5 1 "^$empty" all
    expect $ranks 1 5 1 "^error: broken" all_internal
    expect $ranks 2 5 1 "^$empty" on_root
    expect $ranks 2 5 1 "^$empty" all_with_open_file
done
expect 3 0 5 0 "" one_late
expect 3 2 5 3 "^error: rank 2: file 2.fasta is empty" all_differently
expect 3 2 5 1 "^$empty" all_but_late
expect 3 2 5 1 "^$empty" all_or_none
expect 2 2 5 1 "^$one" one_in_collective
expect 3 2 6 1 "^error: rank 2: record 7" one_in_collective
expect 3 2 5 1 "^error: rank 0: record 7" first_in_collective
expect 3 2 5 1 "^error: rank 0: record 7" some_in_collective
expect 3 2 5 1 "^$one" one_others_compute
expect 3 2 5 1 "^$one" one_others_done
expect 3 2 5 1 "^$one" one_with_threads
expect 3 2 5 1 "^$one" one_in_reduction
expect 3 2 5 1 "^$one" one_with_open_file
expect 3 1 5 1 "^error: rank 1: out of memory" out_of_memory
expect 3 2 9 1 "^$empty" all_but_one_in_reduction
expect 3 2 9 1 "^$empty" all_then_stuck

# Processes of srun whose MPI library does not find the others must not each do all the work; the first of them speaks.
# What a task starts itself, such as a shell or mpirun, is not a task; nor is a batch script's program.
cat >as_task.sh <<'END'
export SLURM_TASK_PID=$$ && exec "$@"
END
alone="^error: srun has started 4 processes, but the MPI library of each finds no other; .*MPI_TYPE.*srun --mpi=list"
for task in 0 3; do
    around=(env SLURM_STEP_NUM_TASKS=4 "SLURM_PROCID=$task" bash ../as_task.sh)
    if [ $task = 0 ]; then expect 1 2 5 1 "$alone" finished; else expect 1 2 5 0 "" finished; fi
    around+=(bash -c '"$@"; exit $?' shell)
    expect 1 0 5 0 "^finished" finished
    expect 2 0 5 0 "^finished" finished
done
around=(env SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 bash ../as_task.sh)
expect 1 0 5 0 "^finished" finished
wait
around=()

# A full disk: a file system of 3 MB in a name space of its own, where the kernel lets us.
cat >on_small_disk.sh <<'END'
mkdir -p small && mount -t tmpfs -o size=3m none small && exec "$@"
END
if unshare -rm bash on_small_disk.sh true 2>/dev/null; then
    around=(unshare -rm bash ../on_small_disk.sh)
    for ranks in 1 2 3; do
        expect $ranks 1 5 1 "^error: no space for .*small/file.h5: No space left on device" write_file --folder small
        expect $ranks 1 5 1 "^error: no space for checkpoint small/step_00000001.h5" write_checkpoint --folder small
    done
    wait
    around=()
else
    echo "skipped: a full disk (no name spaces here)"
fi

# A folder that we may not write; root may, so it becomes nobody.
mkdir -p closed && chmod 555 closed
[ "$(id -u)" != 0 ] || around=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp)
if "${around[@]}" test -x "$program" 2>/dev/null && ! "${around[@]}" test -w closed && "${around[@]}" test -r closed; then
    for ranks in 1 2; do
        expect $ranks 2 5 1 "^error: .*cannot write in ../closed: Permission denied" write_checkpoint --folder ../closed
        expect $ranks 2 5 1 "^error: .*cannot write in ../closed: Permission denied" write_file --folder ../closed
    done
else
    echo "skipped: a closed folder (nobody cannot reach the program)"
fi

wait
for i in $(seq $number); do cat "case_$i/report.txt"; done >report.txt
cat report.txt
passed=$(grep -c ^passed report.txt)
echo "$passed of $number passed"
[ "$passed" = "$number" ]

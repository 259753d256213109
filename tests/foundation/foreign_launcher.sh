#!/usr/bin/env bash
# Processes whose launcher belongs to another MPI library do not find each other: none of them works, one says why.
# foreign_launcher.sh BUILD_FOLDER, in a folder of its own.
set -u
build=$1
read -ra mpirun <<<"${MPIRUN:-mpirun -n}"
failing=$build/tests/failing_program
failures=0
# What a launcher around this test has set is not its subject.
for name in "${!PMI_@}" "${!PMIX_@}" "${!OMPI_COMM_WORLD_@}" "${!MPI_LOCAL@}" "${!SLURM_@}" "${!FLUX_@}"; do unset "$name"; done

complain() {
    echo "FAILED: $*"
    sed 's/^/    /' 0.txt 1.txt 2>/dev/null
    failures=$((failures + 1))
}

# refused NAME PATTERN SIZES RANK_NAME COMMAND...: two processes with the variables SIZES and RANK_NAME=0, 1 end with exit
# code 2 within ten seconds, and print one message, with PATTERN.
refused() {
    local name=$1 pattern=$2 sizes=() rank_name=$4 rank codes="" start=$SECONDS
    read -ra sizes <<<"$3"
    shift 4
    for rank in 0 1; do
        { timeout 30 env "${sizes[@]}" "$rank_name=$rank" "$@" >$rank.txt 2>&1; echo $? >$rank.code; } &
    done
    wait
    codes="$(cat 0.code) $(cat 1.code)"
    [ "$codes" = "2 2" ] || complain "$name: exit codes $codes"
    [ $((SECONDS - start)) -le 10 ] || complain "$name: took $((SECONDS - start)) s"
    [ "$(cat 0.txt 1.txt | grep -c .)" = 1 ] || complain "$name: more or less than one line"
    grep -q -- "^error: .*$pattern" 0.txt 1.txt || complain "$name: no message with $pattern"
}

# works NAME LINES COMMAND...
works() {
    local name=$1 lines=$2
    shift 2
    rm -f 1.txt
    timeout 30 "$@" >0.txt 2>&1 || complain "$name: exit code $?"
    [ "$(grep -c '^finished' 0.txt)" = "$lines" ] || complain "$name: not $lines line(s) 'finished'"
}

hydra="PMI_SIZE=2 MPI_LOCALNRANKS=2"
said="(PMI_SIZE=2 in the environment).*start them with the mpirun of that library"

# Every program, before it looks at its arguments; what lies at the output stays.
printf 'mine' >output
for program in prepare pretrain embed convert probe bench; do
    refused "protalbert_$program" "$said" "$hydra" PMI_RANK "$build/protalbert_$program" output --output output
done
[ "$(cat output)" = mine ] || complain "an output was touched"

# Each launcher's variables.
refused MPICH "$said" "$hydra" PMI_RANK "$failing" finished
refused "MPICH over ports" "(MPI_LOCALNRANKS=2 in" MPI_LOCALNRANKS=2 MPI_LOCALRANKID "$failing" finished
refused "Cray's PALS" "(PMI_SIZE=2 in" "PMI_SIZE=2 PMI_LOCAL_SIZE=1" PMI_RANK "$failing" finished
refused "another Open MPI" "(OMPI_COMM_WORLD_SIZE=2 in" OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK "$failing" finished
refused MVAPICH2 "(MV2_COMM_WORLD_SIZE=2 in" MV2_COMM_WORLD_SIZE=2 MV2_COMM_WORLD_RANK "$failing" finished
refused jsrun "(JSM_NAMESPACE_SIZE=2 in" JSM_NAMESPACE_SIZE=2 JSM_NAMESPACE_RANK "$failing" finished
refused Flux "(FLUX_JOB_SIZE=2 in" FLUX_JOB_SIZE=2 FLUX_TASK_RANK "$failing" finished

# Who knows its rank alone: rank 0 cannot tell that there are others, rank 1 can.
works "rank 0 of PALS" 1 env PALS_RANKID=0 "$failing" finished
timeout 30 env PALS_RANKID=1 "$failing" finished >0.txt 2>&1
[ $? = 2 ] && grep -q '^error: .*(PALS_RANKID=1 in' 0.txt || complain "rank 1 of PALS is not refused"

# What the message says about working alone is true.
refused "a process that shall work alone" "$said" "$hydra" PMI_RANK "$failing" finished
read -ra alone <<<"$(sed -n 's/.*is started by \(env .*\) PROGRAM$/\1/p' 0.txt)"
works "as the message says" 1 env PMI_SIZE=2 MPI_LOCALNRANKS=2 PMI_RANK=1 "${alone[@]}" "$failing" finished

# The library's own mpirun has the last word, and one process is no more than one.
for ranks in 1 2; do
    works "mpirun -n $ranks inside" 1 env PMI_SIZE=4 PMI_RANK=3 MPI_LOCALNRANKS=4 "${mpirun[@]}" $ranks "$failing" finished
    works "a shell within mpirun -n $ranks" 1 "${mpirun[@]}" $ranks bash -c '"$@"; exit $?' shell "$failing" finished
done
works "one process" 1 env PMI_SIZE=1 PMI_RANK=0 MPI_LOCALNRANKS=1 MPI_LOCALRANKID=0 "$failing" finished
works "words that are no numbers" 1 env PMI_SIZE=two PMI_RANK= MPI_LOCALNRANKS= "$failing" finished

# Tasks of srun: its word counts for a task itself, whatever a launcher around it has left.
works "one task of srun" 1 env PMI_SIZE=2 SLURM_STEP_NUM_TASKS=1 bash -c 'SLURM_TASK_PID=$$ exec "$@"' shell "$failing" finished

echo "$failures failures"
[ $failures = 0 ]

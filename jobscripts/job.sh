# shellcheck shell=bash
# What the Slurm scripts share; they source it. It sets
#   home      this repository
#   options   the words of PROTALBERT_OPTIONS, for the program
#   launch    srun with the machine's options
#   pretrain_options, embed_options, bench_train_options, bench_collectives_options
#             the machine's options for one program each, to be given before the user's: the last one counts
# and defines check_program, seconds_left, stop_before_limit and end_job.

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }
say() { printf '[%s %s] %s\n' "${SLURM_JOB_NAME:-job}" "$(date '+%F %T')" "$*"; }

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${SLURM_JOB_ID:?is not set: submit this script with sbatch}"
BUILD=${BUILD:-$home/build}
read -r -a options <<<"${PROTALBERT_OPTIONS:-}"

# The machine: modules, binding, options of srun and of the programs. A profile may set MPI_TYPE (of srun --mpi; empty:
# the site's default), srun_options and the programs' options. MACHINE may also be a file of your own, with a slash in
# its name.
MPI_TYPE=${MPI_TYPE-pmix}
srun_options=()
# shellcheck disable=SC2034
pretrain_options=() embed_options=() bench_train_options=() bench_collectives_options=()
MACHINE=${MACHINE:-cpu_cluster}
profile=$home/jobscripts/machines/$MACHINE.profile
[[ $MACHINE != */* ]] || profile=$MACHINE
[ -r "$profile" ] || fail "MACHINE=$MACHINE: there is no $profile; copy one of $home/jobscripts/machines and change it"
# Modules' functions read variables that nobody set and run commands that fail: that is their own affair.
set +eu
# shellcheck disable=SC1090
source "$profile"
set -eu

# srun obeys what `sbatch --export` left in this variable, and would keep from the ranks what the profile has set.
export SLURM_EXPORT_ENV=ALL
# A rank that a signal ends (out of memory, say) ends the job: by Slurm's default the others would wait for it until the
# time limit. A rank that stops with 75 does not end the others early: the programs block SIGTERM, and end together.
launch=(srun --kill-on-bad-exit=1 "${srun_options[@]}")
# Without the MPI library's way to find the other ranks, each rank would run alone or none start.
if [ -n "$MPI_TYPE" ]; then
    # Tried, because a plugin may be listed whose library is missing.
    tried=$(srun --nodes=1 --ntasks=1 "--mpi=$MPI_TYPE" /bin/true 2>&1) ||
        fail "this Slurm cannot start MPI programs by --mpi=$MPI_TYPE: $(tr -s '\n' ' ' <<<"$tried"). It knows:" \
             "$(srun --mpi=list 2>&1 | tr -s '\n\t ' ' '). Open MPI needs pmix (Debian: slurm-wlm-basic-plugins and" \
             "libpmix-dev; a site builds Slurm with --with-pmix), MPICH and Intel MPI pmi2, Cray's MPI cray_shasta: set" \
             "MPI_TYPE in $profile, or load the MPI library that fits"
    launch+=("--mpi=$MPI_TYPE")
fi

# Since 22.05 srun no longer takes --cpus-per-task from the job: without this every rank would get one core.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$SRUN_CPUS_PER_TASK}

# In an array, the job's own number: the plain SLURM_JOB_ID of one of its tasks means the whole array to scontrol.
own_id=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_JOB_ID:-}" ] || own_id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
restarts=${SLURM_RESTART_COUNT:-0}

say "job $own_id, restart $restarts (SLURM_RESTART_COUNT), on $SLURM_JOB_NODELIST: ${SLURM_NTASKS:-1} ranks of" \
    "$OMP_NUM_THREADS threads, machine $MACHINE"

check_program() {
    [ -x "$BUILD/$1" ] || fail "there is no program $BUILD/$1; build it with jobscripts/setup.sh, or set BUILD to its folder"
}

# Seconds until the job's time limit; a day where there is none.
seconds_left() {
    local left days=0 hours=0
    left=$(squeue --noheader --jobs="$own_id" --format=%L 2>/dev/null | tr -d ' ') || left=''
    [[ $left =~ ^[0-9:-]+$ ]] || { echo 86400; return; }
    if [[ $left == *-* ]]; then days=${left%%-*} left=${left#*-}; fi
    if [[ $left == *:*:* ]]; then hours=${left%%:*} left=${left#*:}; fi
    echo $((((10#$days * 24 + 10#$hours) * 60 + 10#${left%%:*}) * 60 + 10#${left##*:}))
}

# stop_before_limit SECONDS: the training program knows how long its steps and saves take, and when it knows the limit,
# too, it stops in time without a signal, however long its steps are. Jobs hardly longer than that are left to the signal.
stop_before_limit() {
    local seconds=$(($(seconds_left) - $1))
    [ "$seconds" -ge "$1" ] || return 0
    say "the run will stop by itself within $seconds s"
    # In front, so that PROTALBERT_OPTIONS has the last word.
    options=(--set "run.time_limit=$seconds" "${options[@]}")
}

# end_job CODE: exit code 75 is work saved and unfinished: the job goes back into the queue, and its next start goes on.
# Everything else ends it. There is no trap here on purpose: scancel ends this shell, so that a cancelled job stays so.
end_job() {
    case $1 in
        0) say "done" ;;
        75) if [ "$restarts" -ge "${MAX_RESTARTS:-500}" ]; then
                say "stopped with its state saved, but restarted $restarts times already (MAX_RESTARTS): submit it again"
                exit 75
            fi
            say "stopped with its state saved: back into the queue"
            scontrol requeue "$own_id" || { say "scontrol could not requeue job $own_id: submit the script again"; exit 75; }
            # Slurm ends this shell now. Had the shell ended first, the job would count as failed.
            sleep 300
            exit 75 ;;
        *) say "FAILED with exit code $1; the message is above. Not requeued: mend it and submit again" ;;
    esac
    exit "$1"
}

# shellcheck shell=bash
# What the scripts that run locally share; they source it as soon as they have changed to the repository's folder. It
# defines
#   absolute PATH         prints the path as the caller meant it, from the folder that the script was called in
#   example_proteins      sets `examples`, a folder with DB.fasta.gz and QUERY.fasta.gz
#   choose_ranks          sets `ranks`, unless it is set, and what they run with
#   run PROGRAM ...       runs a program on all ranks; Ctrl-C stops it with its state saved

called_from=$OLDPWD
absolute() { (cd "$called_from" && realpath -m -- "$1"); }

fail() { local code=$1; shift; printf 'error: %s\n' "$*" >&2; exit "$code"; }

# 20,000 UniProt proteins, and 500 others, of Debian's mmseqs2-examples.
example_proteins() {
    examples=/usr/share/doc/mmseqs2/example-data
    [ ! -r $examples/DB.fasta.gz ] || return 0
    # Minimal systems install no documentation, and these proteins count as such: take them out of the package.
    examples=${PROTALBERT_CACHE:-${HOME:-$PWD}/.cache/protalbert}/mmseqs2-examples
    [ ! -r "$examples/DB.fasta.gz" ] || return 0
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    (cd "$work" && apt-get -q download mmseqs2-examples && dpkg-deb -x mmseqs2-examples_*.deb .) >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; fail 1 "the package mmseqs2-examples could not be had; give a FASTA file as argument"; }
    mkdir -p "$examples"
    cp "$work"/usr/share/doc/mmseqs2/example-data/{QUERY,DB}.fasta.gz "$examples"
}

# One rank a core shares the work best, and what is left over goes to threads.
choose_ranks() {
    local cores
    cores=$(nproc)
    : "${ranks:=$((cores < 8 ? cores : 8))}"
    [[ $ranks =~ ^[1-9][0-9]*$ ]] || fail 2 "--ranks $ranks is no number of ranks"
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > ranks ? cores / ranks : 1))}
    # Open MPI: a container's root may run; more ranks than cores may be asked for; no rank is tied to a core.
    if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
    export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
    export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
}

# Ctrl-C asks the ranks to save and stop. By itself mpirun would give them one second for that: keep it from seeing
# the key, and send SIGUSR1, which it passes on. A second Ctrl-C does not wait.
job='' asked=''
stop() {
    if [ -z "$job" ]; then exit 130; fi
    if [ -z "$asked" ]; then kill -USR1 "$job"; else kill -TERM "$job"; fi
    asked=yes interrupted=yes
}
trap stop INT TERM
run() {
    local code interrupted
    echo "+ ${MPIRUN:-mpirun -n} $ranks $*"
    # shellcheck disable=SC2086
    setsid ${MPIRUN:-mpirun -n} "$ranks" "$@" </dev/null &
    job=$!
    while :; do
        interrupted='' code=0
        wait $job || code=$?
        [ -n "$interrupted" ] || break
    done
    job=''
    [ $code != 75 ] || fail 75 "stopped early, and what was done is saved: the same command goes on"
    [ $code = 0 ] || fail $code "$(basename "$1") failed; its message is above"
}

#!/usr/bin/env bash
# compute-sanitizer or ncu (the name says which) on a machine without a GPU, for the rehearsal alone: refuses options that the
# real one does not have, and starts the program.
case $(basename "$0") in
    compute-sanitizer) known=' --tool --kernel-name --error-exitcode ' ;;
    ncu) known=' --clock-control --kernel-name --launch-count --section ' ;;
esac
while [[ ${1:-} == -* ]]; do
    [[ $known == *" $1 "* ]] || { echo "error: $(basename "$0") does not know $1"; exit 1; }
    shift 2
done
exec "$@"

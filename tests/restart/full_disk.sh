#!/usr/bin/env bash
# Disks that are full, gone or closed while a run saves. full_disk.sh BUILD_FOLDER, in a folder of its own.
here=$(dirname "${BASH_SOURCE[0]}")
find . -mindepth 1 -delete  # what an earlier run left, maybe of another build
# A file system of 4 MB in a name space of its own, where the kernel lets us: root's own first, in which it can still
# become nobody.
for flags in -m -rm; do
    around=(unshare $flags bash -c 'mkdir -p small && mount -t tmpfs -o size=4m none small && exec "$@"' -)
    "${around[@]}" true 2>/dev/null && break
    around=()
done
[ ${#around[@]} -gt 0 ] || echo "skipped: a full disk (no name spaces here)"
exec "${around[@]}" python3 "$here/full_disk.py" "$1"

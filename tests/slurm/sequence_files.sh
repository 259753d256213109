#!/usr/bin/env bash
# Which files embed.slurm takes from a folder: needs no Slurm. sequence_files.sh BUILD_FOLDER, in a folder of its own.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$repository/tests/own_folder.sh"
source "$repository/jobscripts/sequence_files.sh"
failures=0
fail() { echo "error: $*"; exit 2; }
say() { printf '%s\n' "$*" >>said.txt; }
check() { if "${@:2}"; then echo "passed: $1"; else echo "FAILED: $1"; failures=$((failures + 1)); fi; }
same() { [ "$1" = "$2" ] || { printf '  %q\n  %q\n' "$1" "$2"; return 1; }; }
says() { grep -qF -- "$1" said.txt || { cat said.txt; return 1; }; }

mkdir -p 'in put/folder.fasta'
taken=(UPPER.FASTA a.fa a.faa.gz a.fasta b.FA.GZ c.pep d.fsa e.mpfa f.Fas g.prot h.fst i.fsta 'in
two lines.fasta' j.fasta.bgz k.aa 'link.fasta' 'space and $sign.fasta')
for name in "${taken[@]}" ._x.fasta .hidden.fa other.fna genes.ffn notes.txt x.h5 fasta a.fasta.zip a.fasta~ pep.d folder.fasta/in.fasta
do [ "$name" = link.fasta ] || touch "in put/$name"; done
ln -s a.fa 'in put/link.fasta'
ln -s nowhere 'in put/dangling.fasta'

find_sequence_files 'in put'
check "every protein ending in any case, in the order of bytes" \
    same "$(printf '%q ' "${files[@]}")" "$(printf 'in put/%s\0' "${taken[@]}" | LC_ALL=C sort -z | xargs -0 bash -c 'printf "%q " "$@"' x)"
check "names with a dot in front are left out" says 'left out: 2 with a dot in front of the name: ._x.fasta .hidden.fa'
check "so are other endings, of which five are named" says 'a.fasta.zip a.fasta~ fasta genes.ffn notes.txt and 3 more'
check "and folders" says 'left out: 1 folders, whose files are not looked at: folder.fasta'
check "and links to nowhere" says 'dangling.fasta'
check "four lines say it" same "$(wc -l <said.txt)" 4

rm said.txt; mkdir plain; touch plain/a.fasta; ln -s plain link_to_plain
find_sequence_files link_to_plain
check "a link to a folder is that folder" same "${files[*]}" link_to_plain/a.fasta
check "nothing is said when nothing is left out" test ! -e said.txt
find_sequence_files plain/a.fasta
check "a file stands for itself" same "${files[*]}" plain/a.fasta
find_sequence_files nowhere 2>/dev/null
check "a folder that is missing has no files" same "${#files[@]}" 0

files=(plain/a.fasta plain/A.FASTA)
mkdir out
check "names that differ in case are two names here" refuse_equal_names out
check "and nothing is left of the trial" same "$(ls -A out)" ""
# As on a file system that takes both for one: there every name exists that has been made in the other case.
insensitive() {
    mktemp() { command mktemp "$@" | tee >(sed 's/\.case_/.CASE_/' | xargs touch); }
    refuse_equal_names "$1"
}
report=$(insensitive out) && code=0 || code=$?
check "two names that are one there are refused" same "$code $report" "2 error: the outputs of plain/a.fasta and plain/A.FASTA\
 would be one file, because out does not tell capital letters from small ones: rename one of the two, or choose another OUTPUT"
files=(plain/a.fasta plain/a.fa plain/a.fasta.gz)
check "outputs keep the whole name, so that these differ" insensitive out

[ $failures = 0 ]

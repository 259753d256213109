#!/usr/bin/env bash
# Bad input ends protalbert_prepare, alone and under several ranks, within seconds, with exit code 2 and one message that
# says what and where; an earlier corpus stays as it was and nothing else stays behind.
# bad_input.sh BUILD_FOLDER, in a folder of its own.
set -u
prepare=$1/protalbert_prepare
mpirun=${MPIRUN:-mpirun -n}
source "$(dirname "$0")/../own_folder.sh"
mkdir inputs
cd inputs || exit 1
inputs=$PWD

fail() { echo "FAILED: $*"; }

# check_refused PATTERN ARGUMENT...: exit code 2 and one message with PATTERN, by 1 and 3 ranks, within 20 s.
check_refused() {
    local pattern=$1 ranks code messages files
    shift
    cp -rs "$inputs/." .
    cp --remove-destination "$inputs/corpus.h5" .
    : > log
    for ranks in 1 3; do
        files=$(ls -A)
        timeout 20 $mpirun $ranks "$prepare" "$@" > log 2>&1 < "${stdin:-/dev/null}"
        code=$?
        messages=$(grep -c '^error:' log)
        [ $code -eq 2 ] && [ "$messages" -eq 1 ] && grep '^error:' log | grep -qF -- "$pattern" ||
            fail "$ranks ranks, $*: exit code $code, $messages messages, wanted '$pattern' in: $(cat log)"
        cmp -s corpus.h5 "$inputs/corpus.h5" || fail "$*: the earlier corpus was changed"
        [ "$(ls -A)" = "$files" ] || fail "$*: left behind $(ls -A)"
    done
}

# Cases run side by side, each in a folder of its own: the ranks of a failed program mostly wait for each other.
cases=0
refused() {
    while [ "$(jobs -rp | wc -l)" -ge 4 ]; do wait -n; done
    cases=$((cases + 1))
    mkdir "../case_$cases"
    (cd "../case_$cases" && check_refused "$@") > "../case_$cases/report" 2>&1 &
}

printf '>a\nMKV\n>b\nACD\n' > good.fasta
"$prepare" good.fasta --output corpus.h5 > ../good.log 2>&1 || fail "a good file: $(cat ../good.log)"

awk 'BEGIN { for (i = 0; i < 5000; ++i) printf(">p%d\nMKVLAAGITRSWYACDEFGH\nIKLMNPQRSTVWY\n", i) }' > large.fasta
{ cat large.fasta; printf '>wrong one\nMKV\nLJA\n'; cat large.fasta; } > letter.fasta
gzip -c letter.fasta > letter.fasta.gz
awk '/^>/ { if (++n % 5 == 0) print ""; next } { gsub(/./, "& "); print }' large.fasta > large.txt
{ cat large.txt; echo 'M K 5'; } > letter.txt
printf 'M K\nMKV L\n' > words.txt
printf '>a\nMK\000V\n' > zero.fasta
head -c 100000 /dev/zero | tr '\000' '\377' > binary
printf 'MKVLL\nAAGIT\n' > neither
: > empty
printf '\n\n' > blank
printf '>only headers\n>and more\n' > headers.fasta
printf 'M K\n>a\n' > late.fasta
{ printf '>'; head -c 1024 /dev/zero | tr '\000' 'i'; printf '\nMK\n'; } > long_id.fasta
gzip -c large.fasta | head -c 3000 > truncated.gz
printf 'PK\003\004......' > archive.zip
printf '>a\nMKV>b some name\nACD\n' > joined.fasta
printf '>P1;a\nNAME\nMKV*\n' > name.pir
printf '>a long\nname that fills a line\nMKV\n' > prose.fasta
printf '# STOCKHOLM 1.0\n\na  MKV\n//\n' > family.sto
printf 'A\tMKV\n' > table.tsv
# A block of BGZF and no closing one: a gzip member with the field BC.
{ printf '\037\213\010\004\0\0\0\0\0\377\006\0BC\002\0\0\0'; gzip -nc good.fasta | tail -c +11; } > blocks.gz
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n' > pointer
mkdir folder
: > pieces.txt
printf 'A\nB\n' > incomplete.txt

refused "letter.fasta:15003: record 'wrong' has 'J' in column 2" letter.fasta --output corpus.h5
refused "letter.fasta.gz:15003: record 'wrong' has 'J'" letter.fasta.gz --output corpus.h5
refused "letter.fasta:15003: record 'wrong' has 'J'" good.fasta large.fasta letter.fasta large.txt --output corpus.h5
refused "letter.txt:11001: the sequence has '5' in column 5" letter.txt --output corpus.h5
refused "words.txt:2: no space before 'K'" words.txt --output corpus.h5
refused "zero.fasta:2: record 'a' has the byte 0x00" zero.fasta --output corpus.h5
refused "zero.fasta:2: record 'a' has the byte 0x00" zero.fasta --output corpus.h5 --invalid skip
refused "binary is neither FASTA" binary --output corpus.h5
refused "neither is neither FASTA" neither --output corpus.h5
refused "empty holds no sequences" empty --output corpus.h5
refused "blank holds no sequences" good.fasta blank --output corpus.h5
refused "2 without residues" headers.fasta --output corpus.h5
refused "late.fasta:1: 'M K' where the first header is expected" late.fasta --format fasta --output corpus.h5
refused "long_id.fasta:1: the id" long_id.fasta --output corpus.h5
refused "truncated.gz ends in the middle" truncated.gz --output corpus.h5
for option in error skip unknown; do
    refused "joined.fasta:2: record 'a' has '>' in column 4" joined.fasta --output corpus.h5 --invalid $option
    refused "name.pir:1: '>P1;a' is a header of PIR" name.pir --output corpus.h5 --invalid $option
done
refused "prose.fasta:2: record 'a' has words" prose.fasta --output corpus.h5 --invalid unknown
refused "family.sto is an alignment in Stockholm format" family.sto --output corpus.h5 --invalid unknown
refused "table.tsv looks like a table" table.tsv --output corpus.h5 --invalid skip
refused "blocks.gz is incomplete" blocks.gz --output corpus.h5
stdin=blocks.gz refused "standard input is incomplete" - --output corpus.h5
refused "pointer is a pointer of Git LFS" pointer --output corpus.h5
refused "zip" archive.zip --output corpus.h5
refused "folder is a folder" folder --output corpus.h5
refused "missing.fasta" missing.fasta --output corpus.h5
refused "no folder" good.fasta --output nowhere/corpus.h5
refused "folder" good.fasta --output folder
refused "overwritten" good.fasta --output good.fasta
refused "--output" good.fasta
refused "INPUT" --output corpus.h5
refused "--holdout" good.fasta --output corpus.h5 --holdout much
refused "holdout of 1.5" good.fasta --output corpus.h5 --holdout 1.5
refused "holdout of nan" good.fasta --output corpus.h5 --holdout nan
refused "--invalid" good.fasta --output corpus.h5 --invalid sometimes
refused "--format" good.fasta --output corpus.h5 --format genbank
refused "--sed" good.fasta --output corpus.h5 --sed 5
refused "pieces.txt is empty" good.fasta --output corpus.h5 --vocabulary pieces.txt
refused "incomplete.txt has no piece" good.fasta --output corpus.h5 --vocabulary incomplete.txt
refused "missing.model" good.fasta --output corpus.h5 --vocabulary missing.model
stdin=letter.fasta refused "standard input:15003: record 'wrong' has 'J'" - --output corpus.h5
stdin=/dev/null refused "standard input holds no sequences" - --output corpus.h5
refused "named twice" - - --output corpus.h5

wait

echo "a signal: exit code 75, nothing left behind"
mkdir ../signal
cd ../signal || exit 1
cp "$inputs/corpus.h5" .
mkfifo pipe
files=$(ls -A)
"$prepare" pipe --output corpus.h5 > ../signal.log 2>&1 &
run=$!
exec 3> pipe
printf '>a\nMK\n' >&3
sleep 1
{
    kill -TERM $run
    wait $run
    code=$?
    exec 3>&-
    [ $code -eq 75 ] && grep -q "signal 15" ../signal.log || fail "a signal: exit code $code: $(cat ../signal.log)"
    [ "$(ls -A)" = "$files" ] || fail "a signal left behind $(ls -A)"
    cmp -s corpus.h5 "$inputs/corpus.h5" || fail "a signal changed the earlier corpus"
} > ../signal.report

cd ..
cat ./*/report signal.report
[ -s "case_$cases/log" ] || { echo "FAILED: not every case ran"; exit 1; }
! grep -q FAILED ./*/report signal.report || exit 1
echo "all $cases were refused"

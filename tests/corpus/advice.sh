#!/usr/bin/env bash
# The advice in messages about sequence files, followed word by word: the command that a message names, with FILE and NEW
# filled in, makes a file that is read and holds the right proteins.
# advice.sh BUILD_FOLDER, in a folder of its own.
set -u
prepare=$1/protalbert_prepare
check=$1/tests/check_corpus
source "$(dirname "$0")/../own_folder.sh"
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# follow FILE PATTERN EXPECTED: preparing FILE is refused with PATTERN, and what the message advises makes the proteins
# of EXPECTED of it.
follow() {
    local file=$1 pattern=$2 expected=$3 message command code
    message=$("$prepare" "$file" --output refused.h5 2>&1)
    code=$?
    [ $code -eq 2 ] && grep -qF -- "$pattern" <<< "$message" || fail "$file: exit code $code, wanted '$pattern': $message"
    command=$(grep -oP '\b(sed|iconv|gzip -dc|tr) (?:(?! > NEW).)* > NEW' <<< "$message" | head -n 1)
    [ -n "$command" ] || { fail "$file: no command in: $message"; return; }
    rm -f NEW corpus.h5
    eval "${command//FILE/"$file"}" || fail "$file: $command"
    "$prepare" NEW --output corpus.h5 > log 2>&1 || { fail "$file: after '$command': $(cat log)"; return; }
    "$check" holds corpus.h5 "$expected" || fail "$file: other proteins after '$command'"
}

printf '>one\nMKVLA\n>two\nACDEF\n>three some name\nGHIKL\n' > expected.fasta
printf 'M K V L A\nA C D E F\nG H I K L\n' > expected.txt

# Each kind of text as it is, with the ends of lines of Windows and of old Macs, and within gzip.
printf '>one\nMKVLA\n>two\nACDEF>three some name\nGHIKL\n' > joined
printf '>one\nMKVLA\n>two\nACDEF*>three some name\nGHIKL\n' > joined_stop
printf '\xef\xbb\xbf>one\nMKVLA\n>two\nACDEF\xef\xbb\xbf>three some name\nGHIKL\n' > joined_mark
printf '>one\nMKVLA\n>P1;two\n\nACDEF\n*\nC;Species: one\n\n> F1;three\nA NAME\nGHI\nKL*\n' > pir
printf '>one\nMKVLA\n>two\n; A->G\nACDEF\n; the end of one>three some name\nGHIKL\n' > joined_comment
printf '; by hand\n# twice\n>one\nMKVLA\n>two\nACDEF\n;three\n>three\nGHIKL\n' > comment
printf '\xef\xbb\xbf \n  # by hand\n\t; twice\n>one\nMKVLA\n>two\nACDEF\n>three\nGHIKL\n' > comment_behind_blanks
printf '\xef\xbb\xbf>one\n-MKV.LA\n>two\nACD--EF\n>three\nGHIKL---\n' > aligned
printf '\xef\xbb\xbf>one\n1 MKV\n4 LA\n>two\n1 ACDEF\n>three\n1 GHIKL\n' > numbered
printf '>one\nMK VLOA\n>two\nACDEF\n>three\nGHIKL\n' > blanks
printf '>one\nMKVLOA\n>two\nACDEF\n>three\nGHIKL\n' > expected_blanks.fasta
printf 'MKVLA\nACDEF\nGHIKL\n' > lines
each() {
    local name=$1 pattern=$2 expected=$3 ends=cat
    case $kind in
        crlf) ends="sed s/\$/\r/" ;;
        cr*) ends="tr \n \r" ;;
    esac
    $ends < "$name" > "$name.$kind"
    if [[ $kind = *.gz ]]; then gzip < "$name.$kind" > packed && mv packed "$name.$kind"; fi
    follow "$name.$kind" "$name.$kind$pattern" "$expected"
}
for kind in lf crlf cr lf.gz cr.gz; do
    each joined ":4: record 'two' has '>' in column 6" expected.fasta
    each pir ":3: '>P1;two' is a header of PIR" expected.fasta
done
for kind in lf crlf cr.gz; do
    each joined_stop ":4: record 'two' has '>' in column 7" expected.fasta
    each joined_comment ":6: '>' in column 17 of a comment" expected.fasta
    each joined_mark ":4: record 'two' has UTF-8's byte order mark in column 6" expected.fasta
    each comment " begins with a comment" expected.fasta
    each comment_behind_blanks " begins with a comment" expected.fasta
    each aligned ":2: record 'one' has '-'" expected.fasta
    each numbered ":2: record 'one' has '1'" expected.fasta
    each blanks ":2: record 'one' has words where its residues are expected" expected_blanks.fasta
    each lines " is neither FASTA nor the text format" expected.txt
done

iconv -f UTF-8 -t UTF-16 expected.fasta > marked.fasta
iconv -f UTF-8 -t UTF-16LE expected.fasta > little.fasta
iconv -f UTF-8 -t UTF-16BE expected.fasta > big.fasta
gzip -c little.fasta > little.fasta.gz
gzip -c expected.fasta | gzip > twice.fasta.gz
follow marked.fasta "marked.fasta is text in UTF-16" expected.fasta
follow little.fasta "little.fasta is text in UTF-16LE" expected.fasta
follow little.fasta.gz "little.fasta.gz is gzip, and what it holds is text in UTF-16LE" expected.fasta
follow big.fasta "big.fasta is text in UTF-16BE" expected.fasta
follow twice.fasta.gz "twice.fasta.gz is compressed twice" expected.fasta

# --invalid, which messages about letters name.
printf '>one\nMKVLA\n>two\nAC-EJ\n>three\nGHIKL\n' > letters.fasta
"$prepare" letters.fasta --output corpus.h5 --invalid skip > log 2>&1 || fail "--invalid skip: $(cat log)"
printf '>one\nMKVLA\n>three\nGHIKL\n' > skipped.fasta
"$check" holds corpus.h5 skipped.fasta || fail "--invalid skip keeps something else"
"$prepare" letters.fasta --output corpus.h5 --invalid unknown > log 2>&1 || fail "--invalid unknown: $(cat log)"
printf '>one\nMKVLA\n>two\nACXEX\n>three\nGHIKL\n' > unknown.fasta
"$check" holds corpus.h5 unknown.fasta || fail "--invalid unknown keeps something else"

[ $failures -eq 0 ] && echo "all advice leads to the right proteins"
exit $((failures > 0))

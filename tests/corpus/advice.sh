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
    command=$(grep -oP '\b(sed|iconv|zcat) (?:(?! > NEW).)* > NEW' <<< "$message" | head -n 1)
    [ -n "$command" ] || { fail "$file: no command in: $message"; return; }
    rm -f NEW corpus.h5
    eval "${command//FILE/$file}" || fail "$file: $command"
    "$prepare" NEW --output corpus.h5 > log 2>&1 || { fail "$file: after '$command': $(cat log)"; return; }
    "$check" holds corpus.h5 "$expected" || fail "$file: other proteins after '$command'"
}

printf '>one\nMKVLA\n>two\nACDEF\n>three some name\nGHIKL\n' > expected.fasta
printf '>one\nMKVLA\n>two\nACDEF>three some name\nGHIKL\n' > joined.fasta
printf '>one\nMKVLA\n>two\nACDEF*>three some name\nGHIKL\n' > joined_stop.fasta
printf '>P1;one\nONE NAME\n MKVLA*\n\n>P1;two\nNAME\nACDEF\n*\n>F1;three\nA NAME\nGHI\nKL*\n' > letters.pir
printf '; by hand\n# twice\n>one\nMKVLA\n>two\nACDEF\n;three\n>three\nGHIKL\n' > comment.fasta
printf 'MKVLA\nACDEF\nGHIKL\n' > lines.txt
printf 'M K V L A\nA C D E F\nG H I K L\n' > expected.txt
printf '>one\n-MKV.LA\n>two\nACD--EF\n>three\nGHIKL---\n' > aligned.fasta
printf '>one\n1 MKV\n4 LA\n>two\n1 ACDEF\n>three\n1 GHIKL\n' > numbered.fasta
iconv -f UTF-8 -t UTF-16 expected.fasta > marked.fasta
iconv -f UTF-8 -t UTF-16LE expected.fasta > little.fasta
iconv -f UTF-8 -t UTF-16BE expected.fasta > big.fasta
gzip -c expected.fasta | gzip > twice.fasta.gz

follow joined.fasta "joined.fasta:4: record 'two' has '>' in column 6" expected.fasta
follow joined_stop.fasta "joined_stop.fasta:4: record 'two' has '>' in column 7" expected.fasta
follow letters.pir "letters.pir:1: '>P1;one' is a header of PIR" expected.fasta
follow comment.fasta "comment.fasta begins with a comment" expected.fasta
follow lines.txt "lines.txt is neither FASTA nor the text format" expected.txt
follow aligned.fasta "aligned.fasta:2: record 'one' has '-'" expected.fasta
follow numbered.fasta "numbered.fasta:2: record 'one' has '1'" expected.fasta
follow marked.fasta "marked.fasta is text in UTF-16" expected.fasta
follow little.fasta "little.fasta is text in UTF-16LE" expected.fasta
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

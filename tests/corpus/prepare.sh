#!/usr/bin/env bash
# protalbert_prepare makes the same corpus with any number of ranks, of every kind of input, and that corpus holds what
# the input holds. Real proteins where they are installed (Debian's mmseqs2-examples, and ../shared/data beside the
# checkout), made ones always.
# prepare.sh BUILD_FOLDER, in a folder of its own.
set -u
prepare=$1/protalbert_prepare
check=$1/tests/check_corpus
mpirun=${MPIRUN:-mpirun -n}
here=$(cd "$(dirname "$0")" && pwd)
failures=0
source "$(dirname "$0")/../own_folder.sh"

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# same_for_all_ranks NAME ARGUMENT...: corpora by 1, 2, 3 and 5 ranks are equal.
same_for_all_ranks() {
    local name=$1 ranks file
    shift
    for ranks in 1 2 3 5; do
        $mpirun $ranks "$prepare" "$@" --output "$name.$ranks.h5" > "$name.$ranks.log" 2>&1 ||
            { fail "$name with $ranks ranks:" && cat "$name.$ranks.log"; return; }
        for file in "$name".1*.h5; do
            "$check" same "$file" "${file/$name.1/$name.$ranks}" || fail "$name: $ranks ranks differ from one"
        done
    done
    # The summary, too, says the same but for the time it took.
    for ranks in 2 3 5; do
        diff <(grep -E '^  |^input' "$name.1.log") <(grep -E '^  |^input' "$name.$ranks.log") ||
            fail "$name: the summary of $ranks ranks differs"
    done
}

holds() {
    "$check" holds "$@" || fail "$1 does not hold its input"
}

echo "made proteins: FASTA with all that people do to it, text with documents"
awk 'BEGIN { srand(1); letters = "ACDEFGHIKLMNPQRSTVWYXUZOBacdefghik"
    for (i = 0; i < 3000; ++i) {
        printf(">made%d some words\n", i)
        n = int(rand() * 400) * (rand() < 0.98)
        for (j = 1; j <= n; ++j) printf("%s%s", substr(letters, 1 + int(rand() * 34), 1), j % 60 && j < n ? "" : "\n")
        if (rand() < 0.1) print "*"
        if (rand() < 0.1) print ""
    } }' > made.fasta
awk '/^>/ { if (++n % 3 == 1) print ""; next } { gsub(/[*]/, ""); gsub(/./, "& "); sub(/ $/, ""); if ($0 != "") print }' \
    made.fasta > made.txt
sed 's/$/\r/' made.fasta > windows.fasta
head -c 100000 made.fasta | gzip > made.gz
tail -n +1 made.fasta | head -c 50000 | gzip >> members.gz
tail -c +50001 made.fasta | gzip >> members.gz

same_for_all_ranks fasta made.fasta --keep-ids
holds fasta.1.h5 made.fasta
same_for_all_ranks text made.txt --keep-ids
holds text.1.h5 made.txt
same_for_all_ranks text_without_ids made.txt
holds text_without_ids.1.h5 made.txt
same_for_all_ranks members members.gz
holds members.1.h5 made.fasta
same_for_all_ranks several made.fasta made.gz made.txt made.fasta --keep-ids --holdout 0.1 --seed 5
holds several.1.h5+several.1.validation.h5 made.fasta made.gz made.txt made.fasta
same_for_all_ranks windows windows.fasta

echo "standard input, plain and gzip"
"$prepare" - --output stdin.h5 < made.fasta > stdin.log 2>&1 || fail "standard input: $(cat stdin.log)"
holds stdin.h5 made.fasta
gzip -c made.txt | $mpirun 2 "$prepare" - --output stdin.h5 > stdin.log 2>&1 || fail "standard input: $(cat stdin.log)"
holds stdin.h5 made.txt
"$prepare" <(cat made.fasta) --output pipe.h5 > pipe.log 2>&1 || fail "a pipe: $(cat pipe.log)"
holds pipe.h5 made.fasta

echo "a vocabulary from a file: ids in its order"
tac "$here/../../input/vocabulary.txt" > reversed.txt
"$prepare" made.fasta --vocabulary reversed.txt --output reversed.h5 > reversed.log 2>&1 || fail "$(cat reversed.log)"
holds reversed.h5 made.fasta
"$check" same reversed.h5 fasta.1.h5 2> /dev/null && fail "a reversed vocabulary changed nothing"

real=()
for file in /usr/share/doc/mmseqs2/example-data/DB.fasta.gz "$here"/../../../shared/data/localization/deeploc_train.fasta \
    "$here"/../../../shared/data/localization/deeploc_test.fasta \
    "$here"/../../../shared/data/secondary_structure/sequences.fasta; do
    if [ -e "$file" ]; then
        real+=("$file")
    else
        echo "skipped: $file is not here"
    fi
done
if [ ${#real[@]} -gt 0 ]; then
    echo "${#real[@]} files of real proteins"
    same_for_all_ranks real "${real[@]}" --holdout 0.01
    holds real.1.h5+real.1.validation.h5 "${real[@]}"
    grep -E 'sequences|entropy' real.1.log
fi

leftovers=$(find . -name '*.part' -o -name '*.spill-*')
[ -z "$leftovers" ] || fail "left behind: $leftovers"
[ $failures -eq 0 ] && echo "all corpora agree"
exit $((failures > 0))

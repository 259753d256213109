# shellcheck shell=bash
# Which files of a folder hold proteins, by their names. embed.slurm sources it. It defines
#   find_sequence_files FOLDER   sets `files`, in the same order everywhere, and says what is left out
#   refuse_equal_names FOLDER    fails when FOLDER, for the outputs, cannot tell two of `files` apart

# Endings of protein sequences; with .gz or .bgz behind them, and in any case. What else there is (.fna and .ffn have
# nucleotides, .txt anything) is left out.
sequence_endings='fasta|fas|fa|faa|fsa|fst|fsta|mpfa|pep|prot|aa'

# left_out WHAT NAME...: a line with the number of names, and the first five of them.
left_out() {
    local what=$1
    shift
    [ $# -gt 0 ] || return 0
    say "left out: $# $what:$(printf ' %q' "${@:1:5}")$([ $# -le 5 ] || echo " and $(($# - 5)) more")"
}

find_sequence_files() {
    local path name lower hidden=() others=() folders=() missing=()
    files=()
    while IFS= read -r -d '' path; do
        name=${path##*/}
        lower=${name,,}
        if [ -d "$path" ]; then
            folders+=("$name")
        elif [[ $name == .* ]]; then
            hidden+=("$name")
        elif [[ ! $lower =~ \.($sequence_endings)(\.b?gz)?$ ]]; then
            others+=("$name")
        elif [ -f "$path" ]; then
            files+=("$path")
        else
            missing+=("$name")
        fi
    done < <(find -H "$1" -mindepth "$([ -d "$1" ] && echo 1 || echo 0)" -maxdepth 1 -print0 | LC_ALL=C sort -z)
    left_out "with a dot in front of the name" "${hidden[@]}"
    left_out "whose ending is none of proteins' ($(tr '|' ' ' <<<"$sequence_endings"), and these with .gz or .bgz)" "${others[@]}"
    left_out "that are no files (links to nowhere, pipes)" "${missing[@]}"
    left_out "folders, whose files are not looked at" "${folders[@]}"
}

refuse_equal_names() {
    local path name probe distinguishes
    local -A seen=()
    probe=$(mktemp "$1/.case_XXXXXX") || return 0  # the program will say why nothing can be written there
    distinguishes=yes
    [ ! -e "$1/.CASE_${probe##*.case_}" ] || distinguishes=''
    rm -f "$probe"
    [ -z "$distinguishes" ] || return 0
    for path in "${files[@]}"; do
        name=${path##*/}
        [ -z "${seen[${name,,}]:-}" ] ||
            fail "the outputs of ${seen[${name,,}]} and $path would be one file, because $1 does not tell capital letters" \
                 "from small ones: rename one of the two, or choose another OUTPUT"
        seen[${name,,}]=$path
    done
}

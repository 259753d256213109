#pragma once
// What is what in a text of sequences: formats, headers, comments, and letters that may stand for a residue. Readers of
// proteins, of labels and of masks all ask here.

#include <functional>
#include <string>
#include <string_view>

#include "base/content.hpp"

namespace protalbert {

enum class InputFormat { automatic, fasta, text };

/// Longest id in bytes; they are stored as strings of fixed length.
constexpr std::size_t longest_id = 1023;

/// FASTA or the text format, by an input's first bytes. FASTA begins with '>', the text format with a residue's letter
/// alone or before a blank and another such word. Throws InputError naming `path` for anything else, which it calls by
/// its name where that can be told (Stockholm, Clustal, PHYLIP, PIR, a table, a comment, ...), and for nothing at all.
/// `form` is for the commands in its messages.
InputFormat recognise_format(std::string_view start, const std::string& path, const TextForm& form = {});

/// A line that is a comment and never holds residues: it begins with ';' or '#'.
inline bool is_comment(std::string_view line) { return line.starts_with(';') || line.starts_with('#'); }

/// Whether a letter that is no residue can stand for one, to be read as X where that is asked for: letters, a stop
/// ('*'), gaps ('-', '.') and '?'. Everything else, '>', ';', '#' and digits among it, belongs to no sequence.
bool may_stand_for_residue(char letter);

/// What to do about a character in a sequence that belongs to none, or that is a gap: a clause for messages.
std::string advice_on(char letter, const TextForm& form);
/// The same where the mark of UTF-8 stands within a line.
std::string advice_on_mark(const TextForm& form);

/// Where a comment line holds the header of a file that was joined to one without an end of its last line: '>' between
/// other characters, and not of an arrow. npos: nowhere.
std::size_t header_within_comment(std::string_view line);
/// What to do about it: a clause for messages.
std::string advice_on_comment(const TextForm& form);

/// Whether a line of several words is prose rather than residues in blocks: a word of four letters or more is written
/// as names are ("Homo"); an O is among words of more than one letter, or a U where they have irregular lengths, which
/// proteins hardly ever have and prose in almost every line; or the lengths are irregular and two words or more have at
/// least three letters, all small.
bool is_prose(std::string_view line);
/// Whether a line is a single word as names are written ("Length"), which a short line of residues may be, too.
bool is_name(std::string_view line);
/// How many words a line has.
std::size_t count_words(std::string_view line);
/// Whether a line is names of residues in the code of three letters: "ALA GLY", as in SEQRES of PDB files,
/// "Ala-Gly-Val", or "AlaGly" without anything between; that in capitals from four names on, by which no protein is
/// meant.
bool is_three_letter_code(std::string_view line);
/// Whether all words of a line but the last have one length, as blocks of residues have: one letter, or a multiple of
/// five. A stop at the end is no word.
bool has_regular_words(std::string_view line);

/// The id of a header, the line behind '>': its first word, which also ends at the byte 0x01 that joins headers in
/// NCBI's nr. Bytes that are not UTF-8 are read as Latin-1, and `was_latin1` is set. Throws InputError for
/// ids that are too long, zero bytes, and headers of PIR (">P1;"); its message begins with what `place` gives, which
/// may take long to find, and its command is for `form`.
std::string header_id(std::string_view header, const std::function<std::string()>& place, const TextForm& form,
                      bool& was_latin1);

}  // namespace protalbert

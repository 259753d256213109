#pragma once
// What is what in a text of sequences: formats, headers, comments, and letters that may stand for a residue. Readers of
// proteins, of labels and of masks all ask here.

#include <cstdint>
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

/// Where '>' stands within a comment; npos: nowhere. Where residues of one record stand before and behind it, it may be
/// the header of a file that was joined to one without an end of its last line.
std::size_t header_within_comment(std::string_view line);
/// What to do about it, on that line of the file: a clause for messages.
std::string advice_on_comment(std::uint64_t line_number, const TextForm& form);

/// What a line of letters and blanks looks like.
enum class Wording {
    residues,   ///< one word
    name,       ///< one word as names are written ("Length", "nan"), which a short line of residues may be, too
    blocks,     ///< words of one length, but for the last: one letter, or a multiple of five
    irregular,  ///< other words
    prose,      ///< what no residues look like: "Homo sapiens", several small words, words with an O or a U
};
/// A word of several is prose when it begins with a capital and goes on small, and when an O is in it or, among words
/// of irregular lengths, a U: proteins hardly ever have these letters, and prose has them in almost every line. So are
/// two small words of three letters or more of irregular lengths. A stop at the end counts nothing.
Wording wording_of(std::string_view line);
/// Whether one word is Wording::name.
bool is_name(std::string_view word);
/// The length of the first word.
std::size_t first_width(std::string_view line);

/// Whether a line is names of residues in the code of three letters: "ALA GLY", as in SEQRES of PDB files,
/// "H-Ala-Gly-OH", or "AlaGly" without anything between; that in capitals from four names on, by which no protein is
/// meant. Not every word has to be such a name: there are more of them, and the line may end within one.
bool is_three_letter_code(std::string_view line);
/// Whether a line of letters alone may be one, by its first; hardly any protein's may.
bool may_be_joined_codes(std::string_view line);

/// The id of a header, the line behind '>': its first word, which also ends at the byte 0x01 that joins headers in
/// NCBI's nr. Bytes that are not UTF-8 are read as Latin-1, and `was_latin1` is set. Throws InputError for
/// ids that are too long, zero bytes, and headers of PIR (">P1;"); its message begins with what `place` gives, which
/// may take long to find, and its command is for `form`.
std::string header_id(std::string_view header, const std::function<std::string()>& place, const TextForm& form,
                      bool& was_latin1);

}  // namespace protalbert

#include "data/sequence_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/byte_source.hpp"

namespace protalbert {
namespace {

constexpr std::string_view blanks = " \t";
constexpr std::string_view blanks_and_ends = " \t\r\n";
// The amino acids' letters, and those that are read as X.
constexpr std::string_view letters_of_residues = "ACDEFGHIKLMNPQRSTVWYXUZOB";

bool is_letter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0 && static_cast<unsigned char>(c) < 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_residue(char c) {
    return is_letter(c) && letters_of_residues.find(static_cast<char>(std::toupper(c))) != std::string_view::npos;
}

bool printable(std::string_view line) {
    return std::all_of(line.begin(), line.end(), [](char c) { return (c >= ' ' && c < 0x7F) || c == '\t'; });
}

/// The first line that is not blank.
std::string_view first_line(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(blanks_and_ends), text.size()));
    return text.substr(0, text.find_first_of("\r\n"));
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    for (std::size_t end = 0;;) {
        const std::size_t begin = line.find_first_not_of(blanks, end);
        if (begin == std::string_view::npos) return words;
        end = std::min(line.find_first_of(blanks, begin), line.size());
        words.push_back(line.substr(begin, end - begin));
    }
}

bool is_small(std::string_view word) {
    return std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

/// "Homo".
bool is_capitalised(std::string_view word) {
    constexpr std::size_t shortest_name = 4;
    return word.size() >= shortest_name && word[0] >= 'A' && word[0] <= 'Z' && is_small(word.substr(1));
}

bool is_number(std::string_view word) { return !word.empty() && std::all_of(word.begin(), word.end(), is_digit); }

/// A line of a table: fields between tabulators, commas or semicolons.
bool is_table(std::string_view line) {
    return line.find('\t') != std::string_view::npos || std::count(line.begin(), line.end(), ',') >= 1 ||
           std::count(line.begin(), line.end(), ';') >= 1;
}

constexpr std::string_view wanted =
    "wanted is FASTA (a header '>ID' before the residues of each protein) or the text format (one protein a line, its "
    "letters separated by single spaces)";

/// What a text that begins with `line` is, where its format has a name, and how it becomes FASTA.
std::optional<std::string> name_of_format(std::string_view line) {
    struct Beginning {
        std::string_view text, name;
    };
    static constexpr Beginning beginnings[] = {
        {"# STOCKHOLM", "an alignment in Stockholm format"},
        {"CLUSTAL", "an alignment in Clustal format"},
        {"MUSCLE (", "an alignment in Clustal format"},
        {"PROBCONS", "an alignment in Clustal format"},
        {"T-COFFEE", "an alignment in Clustal format"},
        {"Kalign ", "an alignment in Clustal format"},
        {"#NEXUS", "an alignment in NEXUS format"},
        {"#MEGA", "an alignment in MEGA format"},
        {"!!AA_", "an alignment or sequence in GCG format"},
        {"!!NA_", "an alignment or sequence in GCG format"},
        {"PileUp", "an alignment in MSF format"},
        {"HMMER", "a profile of HMMER"},
        {"LOCUS ", "an entry in GenBank format"},
        {"##gff", "a table of features in GFF"},
        {"##fileformat", "a table of variants in VCF"},
        {"@HD\t", "alignments in SAM format"},
        {"@SQ\t", "alignments in SAM format"},
        {"HEADER ", "a structure in PDB format"},
        {"ATOM  ", "a structure in PDB format"},
        {"data_", "a structure in mmCIF format"},
        {"BLAST", "a report of BLAST"},
    };
    for (const Beginning& beginning : beginnings)
        if (begins_like(line, beginning.text)) return std::string(beginning.name);
    if (line.starts_with("ID   ")) return "an entry in the format of UniProt or EMBL";
    if (line.starts_with('{') || line.starts_with('[')) return "JSON";
    const std::vector<std::string_view> words = words_of(line);
    if (words.size() >= 2 && words.size() <= 3 && is_number(words[0]) && is_number(words[1]))
        return "an alignment in PHYLIP format";
    if (line.find("MSF:") != std::string_view::npos) return "an alignment in MSF format";
    if (line.starts_with('@') && line.size() > 1) return "reads in FASTQ format";
    return std::nullopt;
}

/// The code of PIR's headers, ">P1;ID": protein or nucleic acid, complete or fragment, linear or circular.
bool is_pir_header(std::string_view header) {
    static constexpr std::array<std::string_view, 9> codes = {"P1;", "F1;", "DL;", "DC;", "RL;",
                                                              "RC;", "N1;", "N3;", "XX;"};
    std::string code(header.substr(0, 3));
    for (char& letter : code) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
    return std::find(codes.begin(), codes.end(), code) != codes.end();
}

std::string latin1_to_utf8(std::string_view text) {
    std::string utf8;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80) {
            utf8 += c;
        } else {
            utf8 += static_cast<char>(0xC0 | byte >> 6);
            utf8 += static_cast<char>(0x80 | (byte & 0x3F));
        }
    }
    return utf8;
}

}  // namespace

InputFormat recognise_format(std::string_view start, const std::string& path, const TextForm& form) {
    const std::string_view line = first_line(without_byte_order_mark(start));
    const std::string name = input_name(path);
    if (line.empty()) throw InputError(fmt::format("{} holds no sequences", name));
    if (line.starts_with('>')) return InputFormat::fasta;
    if (!printable(line))
        throw InputError(
            fmt::format("{} is neither FASTA nor the text format: it begins with bytes that are no text", name));
    const std::string begins = fmt::format("it begins with '{}'", line.substr(0, 30));
    if (const auto format = name_of_format(line))
        throw InputError(fmt::format("{} is {}: {}; convert it to FASTA; {}", name, *format, begins, wanted));
    if (is_comment(line))
        throw InputError(
            fmt::format("{} begins with a comment: '{}'; take the comments before the first protein out: {}; {}", name,
                        line.substr(0, 30), sed_command({"1,/^>/{/^[[:blank:]]*[;#]/d;}"}, form), wanted));
    const std::vector<std::string_view> words = words_of(line);
    const bool single = words.front().size() == 1 && is_residue(words.front()[0]);
    const bool letters = words.size() == 1 || (words[1].size() == 1 && !is_digit(words[1][0]));
    if (single && letters) return InputFormat::text;
    if (is_table(line) || (single && is_digit(words[1][0])))
        throw InputError(fmt::format("{} looks like a table: {}; {}", name, begins, wanted));
    if (words.size() == 1 && std::all_of(line.begin(), line.end(), is_letter))
        throw InputError(
            fmt::format("{} is neither FASTA nor the text format: {}; if each line is a protein, {} makes the text "
                        "format of it; {}",
                        name, begins, sed_command({"s/[A-Za-z]/& /g"}, form), wanted));
    throw InputError(fmt::format("{} is neither FASTA nor the text format: {}; {}", name, begins, wanted));
}

bool may_stand_for_residue(char letter) {
    return is_letter(letter) || letter == '*' || letter == '-' || letter == '.' || letter == '?';
}

std::string advice_on(char letter, const TextForm& form) {
    switch (letter) {
        case '>':
            return "where two files were joined and the first lacked the end of its last line, put that in: " +
                   sed_command({"/^[>;#]/!s/>/\\n>/"}, form);
        case '-':
        case '.':
            return fmt::format(
                "if this is an alignment, take its gaps out: {}; or choose what to do with --invalid (see --help)",
                sed_command({"/^[>;#]/!s/[-.]//g"}, form));
        case '*':
            return "a stop has its place at a sequence's end; correct it, or choose what to do with --invalid (see "
                   "--help)";
        default:
            break;
    }
    if (is_digit(letter))
        return "if these are numbers of residues, take them out: " + sed_command({"/^[>;#]/!s/[0-9]//g"}, form);
    if (may_stand_for_residue(letter)) return "correct it, or choose what to do with --invalid (see --help)";
    return "correct it; begin each header with '>' and each comment with ';'";
}

constexpr const char* where_joined =
    "where another file was joined to this one and the first lacked the end of its last line, put that in: ";

std::string advice_on_mark(const TextForm& form) {
    return where_joined + command_for("sed 's/\\xEF\\xBB\\xBF/\\n/g'", form);
}

std::size_t header_within_comment(std::string_view line) { return line.find('>', 1); }

std::string advice_on_comment(std::uint64_t line_number, const TextForm& form) {
    return fmt::format("{}; else take the '>' out",
                       where_joined + sed_command({fmt::format("{}s/>/\\n>/", line_number)}, form));
}

std::size_t first_width(std::string_view line) {
    const std::size_t begin = std::min(line.find_first_not_of(blanks), line.size());
    return std::min(line.find_first_of(blanks, begin), line.size()) - begin;
}

bool is_name(std::string_view word) {
    constexpr std::size_t longest_name = 40;
    if (word.size() <= longest_name && is_capitalised(word)) return true;
    return word == "nan" || word == "NaN" || word == "none" || word == "None" || word == "null";
}

Wording wording_of(std::string_view line) {
    constexpr std::size_t shortest_word = 3;
    line = line.substr(0, line.find_last_not_of(" \t*") + 1);
    if (first_width(line) == line.size() ||
        line.find_first_of(blanks, line.find_first_not_of(blanks)) == std::string_view::npos) {
        const std::string_view word = line.substr(line.size() - first_width(line));
        return is_name(word) ? Wording::name : Wording::residues;
    }
    std::size_t width = 0, longest = 0, small = 0;
    bool regular = true, capitalised = false, last = false;
    for (std::size_t end = 0;;) {
        const std::size_t begin = line.find_first_not_of(blanks, end);
        if (begin == std::string_view::npos) break;
        end = std::min(line.find_first_of(blanks, begin), line.size());
        const std::string_view word = line.substr(begin, end - begin);
        if (width == 0) {
            width = word.size();
            regular = width == 1 || width % 5 == 0;
        }
        last = end == line.size();
        regular = regular && (last ? word.size() <= width : word.size() == width);
        longest = std::max(longest, word.size());
        capitalised = capitalised || is_capitalised(word);
        small += word.size() >= shortest_word && is_small(word);
    }
    const auto has = [&](const char* letters) { return line.find_first_of(letters) != std::string_view::npos; };
    if (capitalised || (longest > 1 && has("Oo"))) return Wording::prose;
    if (regular) return Wording::blocks;
    const bool nucleotides = line.find_first_not_of("ACGTUNacgtun \t") == std::string_view::npos;
    return small >= 2 || (!nucleotides && has("Uu")) ? Wording::prose : Wording::irregular;
}

namespace {

constexpr std::size_t letters_of_code = 3;

/// "Ala" in any case.
bool is_code(std::string_view word) {
    constexpr std::array<std::string_view, 24> names = {"ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY",
                                                        "HIS", "ILE", "LEU", "LYS", "MET", "PHE", "PRO", "SER",
                                                        "THR", "TRP", "TYR", "VAL", "SEC", "ASX", "GLX", "XAA"};
    const auto is_word = [&](std::string_view name) {
        for (std::size_t i = 0; i < letters_of_code; ++i)
            if (word[i] != name[i] && word[i] != name[i] - 'A' + 'a') return false;
        return true;
    };
    return word.size() == letters_of_code && std::any_of(names.begin(), names.end(), is_word);
}

}  // namespace

bool may_be_joined_codes(std::string_view word) {
    return is_code(word.substr(0, letters_of_code)) ||
           is_code(word.substr(std::min(letters_of_code, word.size()), letters_of_code));
}

bool is_three_letter_code(std::string_view line) {
    constexpr std::size_t letters = letters_of_code, fewest = 2, fewest_joined = 4;
    std::string joined(line);
    std::erase_if(joined, [](char c) { return c == ' ' || c == '\t' || c == '*'; });
    if (joined.size() + 1 < line.size() || joined.find('-') != std::string::npos) {
        std::string parted(line);
        std::replace(parted.begin(), parted.end(), '-', ' ');
        const std::vector<std::string_view> words = words_of(parted);
        const auto codes = static_cast<std::size_t>(std::count_if(words.begin(), words.end(), is_code));
        if (codes >= fewest && 2 * codes >= words.size()) return true;
    }
    std::size_t codes = 0, capitalised = 0, all = 0;
    for (std::size_t i = 0; i + letters <= joined.size(); i += letters, ++all) {
        const std::string_view word = std::string_view(joined).substr(i, letters);
        codes += is_code(word);
        capitalised += is_small(word.substr(1)) && !is_small(word);
        if (all >= fewest_joined && 2 * codes < all) return false;
    }
    return 4 * codes >= 3 * all && (codes >= fewest_joined || (codes >= fewest && capitalised == all));
}

std::string header_id(std::string_view header, const std::function<std::string()>& place, const TextForm& form,
                      bool& was_latin1) {
    header = without_byte_order_mark(header);
    header.remove_prefix(std::min(header.find_first_not_of(blanks), header.size()));
    if (header.find('\0') != std::string_view::npos)
        throw InputError(
            fmt::format("{}: a header with a zero byte; the file is damaged or no text; fetch it again", place()));
    if (is_pir_header(header))
        throw InputError(
            fmt::format("{}: '>{}' is a header of PIR's format, whose second line is text; make FASTA of it: {}",
                        place(), valid_utf8(header.substr(0, 30)),
                        sed_command({"/^>[[:blank:]]*[PFDRNX][1L3CX];/I{s//>/;n;d;}", "/^[A-Z];/d"}, form)));
    std::string id(header.substr(0, header.find_first_of(" \t\x01")));
    if (!is_utf8(id)) {
        was_latin1 = true;
        id = latin1_to_utf8(id);
    }
    if (id.size() > longest_id)
        throw InputError(fmt::format("{}: the id that begins '{}...' has more than {} bytes; shorten it", place(),
                                     valid_utf8(id.substr(0, 40)), longest_id));
    return id;
}

}  // namespace protalbert

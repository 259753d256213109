#include "data/sequence_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/byte_source.hpp"
#include "data/line_scanner.hpp"

namespace protalbert {
namespace {

// What a byte is, beside its id in the low byte, and in the high half which letter, one bit for each: a letter that
// needs nothing has none of `needs_care`.
enum : std::uint64_t {
    is_replaced = 0x0100,  // U Z O B
    is_blank = 0x0200,
    is_stop = 0x0400,        // '*'
    is_other = 0x0800,       // printable, no residue
    is_alien = 0x1000,       // control characters and bytes that are not ASCII: no sequence file has them
    is_nucleotide = 0x2000,  // A C G T U N
    needs_care = is_replaced | is_blank | is_stop | is_other | is_alien
};

// Letters from which on a record of nucleotides is one: a quarter of proteins' residues are A, C, G, T or N, and by
// chance one peptide of this length in a thousand million holds no other.
constexpr std::size_t shortest_gene = 15;
// Of a record's letters: proteins have a quarter of these letters, silk's longest repeats half; genes may have some
// that are not determined.
constexpr double nucleotide_share = 0.95;
constexpr unsigned char end_of_dos_file = 0x1A;
// Of lines that may be a name.
constexpr std::size_t longest_name = 40;
constexpr std::size_t letter_shift = 32;

std::array<std::uint64_t, 256> make_byte_classes(const Vocabulary& vocabulary) {
    std::array<std::uint64_t, 256> classes{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        if (vocabulary.residue_ids[byte] >= 0)
            classes[byte] = static_cast<std::uint64_t>(vocabulary.residue_ids[byte]) |
                            (vocabulary.replaced[byte] ? std::uint64_t{is_replaced} : 0);
        else if (byte == ' ' || byte == '\t')
            classes[byte] = is_blank;
        else if (byte == '*')
            classes[byte] = is_stop;
        else
            classes[byte] = byte > ' ' && byte < 0x7F ? is_other : is_alien;
    }
    for (const char letter : std::string_view("ACGTUNacgtun"))
        classes[static_cast<unsigned char>(letter)] |= is_nucleotide;
    for (std::size_t i = 0; i < 26; ++i)
        for (const std::size_t first : {'A', 'a'}) classes[first + i] |= std::uint64_t{1} << (letter_shift + i);
    return classes;
}

bool holds_no_residue(std::string_view line) { return line.find_first_not_of(" \t*") == std::string_view::npos; }

/// A byte of the input and its line.
struct Spot {
    std::uint64_t line = 0;           // lines begun, with those before the part where they are known
    std::uint64_t line_position = 0;  // of the line's first byte
    std::uint64_t position = 0;       // of the byte
    std::uint64_t column() const { return position - line_position + 1; }
};

class Parser {
  public:
    Parser(const InputPart& part, const Vocabulary& vocabulary, InvalidLetters invalid, InputCounts& counts,
           const std::function<void(const SequenceRecord&)>& deliver)
        : part_(part),
          classes_(make_byte_classes(vocabulary)),
          x_(static_cast<std::uint8_t>(vocabulary.x)),
          invalid_(invalid),
          counts_(counts),
          deliver_(deliver) {
        content_.input = part.file;
    }

    void read(const std::function<void(std::uint64_t)>& advance);

  private:
    // FASTA: a record is a header and the lines until the next.
    void read_fasta(LineScanner& scanner);
    void start_fasta_record(const LinePiece& piece);
    void add_fasta_residues(const LinePiece& piece);
    void check_words(std::string_view line);
    void suspect(std::string_view line, Wording wording);
    void settle_suspicion(const LinePiece& piece);
    void note_comment(const LinePiece& piece);
    void remark_on_words(std::string_view line, const Spot& spot);
    const TextForm& form();
    void found_words(std::string_view line, const Spot& spot);
    void refuse_record(const std::function<std::string()>& message);
    // Text: a record is a line.
    void read_text(LineScanner& scanner);
    void add_text_residues(const LinePiece& piece);
    bool text_line_is_blank() const { return record_.tokens.empty() && !stop_pending_ && !bad_; }

    void start_record(std::uint64_t position);
    void finish_record();
    void add_byte(unsigned char byte);
    void other_letter(char letter, const Spot& spot);
    void refuse_mark_within(const LinePiece& piece);
    void remark_once(bool& made, const std::function<std::string()>& text);

    // "FILE:LINE".
    std::string place(const Spot& spot) const;
    std::uint64_t line_of(const Spot& spot) const;
    std::string place() const { return place(here_); }
    std::string record_name() const {
        return part_.format == InputFormat::text ? "the sequence" : fmt::format("record '{}'", record_.id);
    }
    [[noreturn]] void too_long() const;
    bool skips_record() const { return invalid_ == InvalidLetters::skip || invalid_ == InvalidLetters::mark; }

    InputPart part_;
    const std::array<std::uint64_t, 256> classes_;
    const std::uint8_t x_;
    const InvalidLetters invalid_;
    InputCounts& counts_;
    const std::function<void(const SequenceRecord&)>& deliver_;

    InputContent content_;
    SequenceRecord record_;
    std::string text_name_;  // of the file, for ids of the text format
    Spot here_;
    bool bad_ = false;           // the record will be skipped
    bool stop_pending_ = false;  // a '*' was read that is last so far
    Spot stop_;
    bool letter_before_ = false;  // text: the byte before was a letter
    std::uint64_t replaced_ = 0;  // of the current record
    std::uint64_t unknown_ = 0;
    std::uint64_t nucleotides_ = 0;
    std::uint64_t letters_ = 0;
    bool told_words_ = false, told_short_ = false, told_latin1_ = false;

    /// A line of the record that may be text; empty: none. The line behind it tells.
    struct Suspect {
        Spot spot;
        std::string line;
        Wording wording = Wording::residues;
    } suspect_;
    bool plain_lines_ = false;  // the record's lines so far had no blanks within
    Spot comment_header_;       // '>' within a comment behind the record's residues; its line is 0 where there is none
    std::optional<TextForm> form_;
};

std::uint64_t Parser::line_of(const Spot& spot) const {
    return part_.begin > 0 ? count_line_ends(part_.path, 0, spot.line_position) + 1 : spot.line;
}

std::string Parser::place(const Spot& spot) const {
    return fmt::format("{}:{}", input_name(part_.path), line_of(spot));
}

void Parser::too_long() const {
    throw InputError(fmt::format("{}: {} has more than {} residues, more than any protein; is this a file of proteins?",
                                 place(), record_name(), longest_sequence));
}

void Parser::start_record(std::uint64_t position) {
    record_.id.clear();
    record_.tokens.clear();
    record_.position = position;
    record_.line = here_.line;
    bad_ = stop_pending_ = false;
    replaced_ = unknown_ = nucleotides_ = letters_ = 0;
    suspect_.line.clear();
    plain_lines_ = false;
    comment_header_ = {};
}

void Parser::remark_once(bool& made, const std::function<std::string()>& text) {
    if (!made) counts_.remarks.push_back(text());
    made = true;
}

void Parser::finish_record() {
    if (!bad_ && !suspect_.line.empty() && suspect_.wording == Wording::name)
        remark_on_words(suspect_.line, suspect_.spot);
    record_.invalid = bad_;
    if (bad_) {
        ++counts_.skipped_records;
        if (invalid_ != InvalidLetters::mark) return;
        deliver_(record_);
        record_.starts_document = part_.format != InputFormat::text;
        return;
    }
    ++counts_.records;
    counts_.residues += record_.tokens.size();
    counts_.replaced_residues += replaced_;
    counts_.unknown_letters += unknown_;
    counts_.stops += stop_pending_;
    counts_.empty_records += record_.tokens.empty();
    content_.records += 1;
    content_.residues += record_.tokens.size();
    content_.nucleotides += nucleotides_;
    content_.letters |= static_cast<std::uint32_t>(letters_ >> letter_shift);
    if (record_.tokens.size() >= shortest_gene &&
        static_cast<double>(nucleotides_) >= nucleotide_share * static_cast<double>(record_.tokens.size()))
        ++content_.nucleotide_records;
    deliver_(record_);
    record_.starts_document = part_.format != InputFormat::text;
}

void Parser::other_letter(char letter, const Spot& spot) {
    const auto byte = static_cast<unsigned char>(letter);
    if (classes_[byte] & is_alien)
        throw InputError(fmt::format("{}: {} has the byte 0x{:02x} in column {}, which no sequence holds; {}",
                                     place(spot), record_name(), byte, spot.column(),
                                     byte == end_of_dos_file
                                         ? "it ends files of DOS; take it out: " + command_for("tr -d '\\032'", form())
                                         : "the file is damaged or no text"));
    // Two proteins that became one are no letter to skip or to read as X.
    if (letter == '>' && part_.format == InputFormat::text)
        throw InputError(
            fmt::format("{}: '>' in column {} begins a header of FASTA, which has no place in the text format; give "
                        "each in a file of its own",
                        place(spot), spot.column()));
    if (letter == '>')
        throw InputError(fmt::format("{}: {} has '>' in column {}, within its residues; {}", place(spot), record_name(),
                                     spot.column(), advice_on(letter, form())));
    if (skips_record()) {
        bad_ = true;
        return;
    }
    if (invalid_ == InvalidLetters::error || !may_stand_for_residue(letter))
        throw InputError(fmt::format(
            "{}: {} has '{}' in column {}, which is no residue{}; {}", place(spot), record_name(), letter,
            spot.column(), invalid_ == InvalidLetters::error ? "" : " and stands for none", advice_on(letter, form())));
    record_.tokens.push_back(x_);
    ++unknown_;
}

void Parser::add_byte(unsigned char byte) {
    const std::uint64_t what = classes_[byte];
    if (what & is_blank) return;
    if (stop_pending_ && !(what & is_alien) && byte != '>') {
        // The '*' before was not the last letter.
        stop_pending_ = false;
        other_letter('*', stop_);
    }
    if (what & is_stop) {
        stop_pending_ = true;
        stop_ = here_;
    } else if (what & (is_other | is_alien)) {
        other_letter(static_cast<char>(byte), here_);
    } else {
        if (record_.tokens.size() >= longest_sequence) too_long();
        record_.tokens.push_back(static_cast<std::uint8_t>(what));
        replaced_ += (what & is_replaced) != 0;
        nucleotides_ += (what & is_nucleotide) != 0;
        letters_ |= what;
    }
}

/// For a message's command: of the whole file where it can be read again, so that all parts say the same.
const TextForm& Parser::form() {
    if (form_) return *form_;
    form_ = part_.form;
    std::error_code error;
    if (part_.path == "-" || !std::filesystem::is_regular_file(part_.path, error)) return *form_;
    try {
        ByteSource source(part_.path);
        std::string text;  // what is looked at, with the end of what was before
        for (std::size_t count = 1; count > 0 && !(form_->marks && form_->carriage_returns);) {
            constexpr std::size_t size = std::size_t{1} << 20;
            text.erase(0, text.size() - std::min(text.size(), byte_order_mark.size() - 1));
            const std::size_t before = text.size();
            text.resize(before + size);
            count = source.read(text.data() + before, size);
            text.resize(before + count);
            const TextForm more = text_form(text, part_.form.gzip);
            form_->marks = form_->marks || more.marks;
            form_->carriage_returns = form_->carriage_returns || more.carriage_returns;
        }
    } catch (const InputError&) {
        // Damaged behind the place of the fault, which is what the message is about.
    }
    return *form_;
}

void Parser::refuse_mark_within(const LinePiece& piece) {
    const std::size_t found = piece.text().find(byte_order_mark);
    if (found == std::string_view::npos) return;
    const std::uint64_t column = piece.position + found - here_.line_position + 1;
    throw InputError(fmt::format("{}: {} has UTF-8's byte order mark in column {}, within a line; {}", place(),
                                 record_name(), column, advice_on_mark(form())));
}

void Parser::note_comment(const LinePiece& piece) {
    refuse_mark_within(piece);
    const std::size_t found = header_within_comment(piece.text());
    if (found == std::string_view::npos || record_.tokens.empty()) return;
    comment_header_ = here_;
    comment_header_.position = piece.position + found;
}

/// The message is made where it is needed: the place of a record takes a look at the file from its start.
void Parser::refuse_record(const std::function<std::string()>& message) {
    if (!skips_record()) throw InputError(message());
    bad_ = true;
}

void Parser::found_words(std::string_view line, const Spot& spot) {
    refuse_record([&] {
        const std::string residues = line.find_first_of(" \t", line.find_first_not_of(" \t")) != std::string_view::npos
                                         ? "take the blanks out: " + sed_command({"/^[>;#]/!s/[[:blank:]]//g"}, form())
                                         : "join the line with the one behind";
        return fmt::format(
            "{}: {} has words where its residues are expected: '{}'; begin each header with '>' and each "
            "comment with ';', and keep each on one line; if they are residues, {}",
            place(spot), record_name(), valid_utf8(line.substr(0, 40)), residues);
    });
}

void Parser::remark_on_words(std::string_view line, const Spot& spot) {
    remark_once(told_words_, [&] {
        return fmt::format("{}: '{}' was read as residues; is this line text?", place(spot),
                           valid_utf8(line.substr(0, 40)));
    });
}

/// Of whole lines: those of words, and short ones.
void Parser::suspect(std::string_view line, Wording wording) {
    if (wording == Wording::residues && (line.size() > longest_name || holds_no_residue(line))) return;
    suspect_.spot = here_;
    suspect_.line = line;
    suspect_.wording = wording;
}

/// A line of residues is as long as the one behind it, or longer where it ends the protein, and in blocks where that
/// one is. What is shorter may be text, and is where it looks like words and the residues behind it do not.
void Parser::settle_suspicion(const LinePiece& piece) {
    const std::string_view line = piece.text();
    if (holds_no_residue(line)) return;
    const Wording wording = wording_of(line);
    const bool shorter = suspect_.line.size() < line.size();
    const bool one_word = wording == Wording::residues || wording == Wording::name;
    const bool words = suspect_.wording == Wording::blocks || suspect_.wording == Wording::irregular;
    const bool name = suspect_.wording == Wording::name;
    const bool capitals = std::none_of(line.begin(), line.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    if (bad_ || wording == Wording::irregular || wording == Wording::prose) {
        // Nothing more to say, or this line is what is told of.
    } else if ((words || name) && shorter && one_word) {
        found_words(suspect_.line, suspect_.spot);
    } else if ((words && one_word) || (words && shorter && first_width(line) != first_width(suspect_.line)) ||
               (name && capitals)) {
        remark_on_words(suspect_.line, suspect_.spot);
    } else if (!words && shorter) {
        remark_once(told_short_, [&] {
            return fmt::format("{}: '{}' is shorter than the line behind it and was read as residues; is it text?",
                               place(suspect_.spot), suspect_.line);
        });
    }
    suspect_.line.clear();
}

/// Blanks among residues are blocks of them; words of other lengths may be a header's text on a line of its own.
void Parser::check_words(std::string_view line) {
    if (bad_) return;
    const Wording wording = wording_of(line);
    if (wording == Wording::prose) return found_words(line, here_);
    suspect(line, wording);
    if (wording == Wording::irregular || (wording == Wording::blocks && plain_lines_)) remark_on_words(line, here_);
    plain_lines_ = plain_lines_ || wording == Wording::residues;
}

void Parser::add_fasta_residues(const LinePiece& piece) {
    auto& tokens = record_.tokens;
    const std::size_t before = tokens.size();
    std::uint64_t met = needs_care;
    const bool whole = piece.starts && piece.ends;
    if (piece.starts && !suspect_.line.empty()) settle_suspicion(piece);
    const auto is_code = [&] { return whole && is_three_letter_code(piece.text()); };
    const auto refuse_code = [&] {
        refuse_record([&] {
            return fmt::format("{}: {} has its residues in the code of three letters: '{}'; write one letter each",
                               place(), record_name(), valid_utf8(piece.text().substr(0, 40)));
        });
    };
    if (comment_header_.line > 0 && !holds_no_residue(piece.text()))
        throw InputError(fmt::format("{}: '>' in column {} of a comment within {}; {}", place(comment_header_),
                                     comment_header_.column(), record_name(),
                                     advice_on_comment(line_of(comment_header_), form())));
    if (!stop_pending_ && before + piece.size <= longest_sequence) {
        tokens.resize(before + piece.size);
        std::uint8_t* out = tokens.data() + before;
        std::uint32_t nucleotides = 0;
        met = 0;
        for (std::size_t i = 0; i < piece.size; ++i) {
            const std::uint64_t what = classes_[static_cast<unsigned char>(piece.data[i])];
            out[i] = static_cast<std::uint8_t>(what);
            met |= what;
            nucleotides += (what & is_nucleotide) != 0;
        }
        if (!(met & needs_care)) {
            if (before == 0 && may_be_joined_codes(piece.text()) && is_code()) {
                tokens.clear();
                return refuse_code();
            }
            nucleotides_ += nucleotides;
            letters_ |= met;
            if (whole && piece.size <= longest_name)
                suspect(piece.text(), is_name(piece.text()) ? Wording::name : Wording::residues);
            plain_lines_ = plain_lines_ || piece.size > 0;
            return;
        }
        tokens.resize(before);
    }
    // A line with anything but plain residues is read again letter by letter.
    if (met & is_alien) refuse_mark_within(piece);
    if (is_code()) return refuse_code();
    for (std::size_t i = 0; i < piece.size; ++i, ++here_.position) add_byte(static_cast<unsigned char>(piece.data[i]));
    if (whole) check_words(piece.text());
}

void Parser::start_fasta_record(const LinePiece& piece) {
    start_record(piece.line_position);
    bool was_latin1 = false;
    record_.id = header_id(
        piece.text().substr(1), [&] { return place(); }, part_.form, was_latin1);
    if (!was_latin1) return;
    ++counts_.latin1_ids;
    remark_once(told_latin1_, [&] {
        return fmt::format(
            "{}: the id '{}' is not UTF-8 and was read as Latin-1; if that is wrong, convert the file "
            "(iconv -f ENCODING -t UTF-8)",
            place(), record_.id);
    });
}

void Parser::read_fasta(LineScanner& scanner) {
    bool in_record = false, no_residues = false;  // a header or a comment
    bool discard = part_.begin > 0;               // the line that holds the byte before the part
    LinePiece piece;
    while (scanner.next(piece)) {
        if (piece.starts) {
            ++here_.line;
            here_.line_position = piece.line_position;
        }
        if (discard) {
            discard = !piece.ends;
            continue;
        }
        const std::string_view text = piece.text();
        if (piece.starts) no_residues = text.starts_with('>') || is_comment(text);
        if (piece.starts && text.starts_with('>')) {
            if (in_record) finish_record();
            if (piece.line_position >= part_.end) return;
            start_fasta_record(piece);
            in_record = true;
        } else if (no_residues) {
            const bool comment = is_comment(text) && piece.starts && (in_record || part_.begin == 0);
            counts_.comments += comment;
            if (comment) note_comment(piece);
        } else if (in_record) {
            here_.position = piece.position;
            add_fasta_residues(piece);
        } else if (part_.begin == 0 && text.find_first_not_of(" \t") != std::string_view::npos) {
            throw InputError(
                fmt::format("{}: '{}' where the first header is expected; a FASTA record begins with '>' and its id",
                            place(), valid_utf8(text.substr(0, 20))));
        }
    }
    if (in_record) finish_record();
}

void Parser::add_text_residues(const LinePiece& piece) {
    const char* const data = piece.data;
    const std::size_t size = piece.size;
    auto& tokens = record_.tokens;
    std::size_t i = 0;
    if (!stop_pending_ && !letter_before_ && tokens.size() + size / 2 <= longest_sequence) {
        const std::size_t before = tokens.size();
        tokens.resize(before + size / 2);
        std::uint8_t* out = tokens.data() + before;
        for (; i + 1 < size; i += 2) {
            const std::uint64_t what = classes_[static_cast<unsigned char>(data[i])];
            if ((what & needs_care & ~is_replaced) || data[i + 1] != ' ') break;
            *out++ = static_cast<std::uint8_t>(what);
            replaced_ += (what & is_replaced) != 0;
            nucleotides_ += (what & is_nucleotide) != 0;
            letters_ |= what;
        }
        tokens.resize(static_cast<std::size_t>(out - tokens.data()));
        here_.position += i;
    }
    // Where anything but letters and single blanks is left.
    if (i + 1 < size) refuse_mark_within(piece);
    for (; i < size; ++i, ++here_.position) {
        const auto byte = static_cast<unsigned char>(data[i]);
        const bool blank = classes_[byte] & is_blank;
        if (!blank && letter_before_ && !(classes_[byte] & is_alien) && byte != '>')
            throw InputError(
                fmt::format("{}: no space before '{}' in column {}; the text format has one letter a word and one "
                            "protein a line; if this line is a protein without spaces, write it as FASTA or with them",
                            place(), data[i], here_.column()));
        letter_before_ = !blank;
        add_byte(byte);
    }
}

void Parser::read_text(LineScanner& scanner) {
    bool discard = part_.begin > 0;
    bool before_part = part_.begin > 0;  // lines of a document that began before the part
    bool line_open = false, comment = false;
    LinePiece piece;
    record_.starts_document = true;
    const auto finish_line = [&] {
        line_open = false;
        if (text_line_is_blank()) {
            before_part = false;
            record_.starts_document = true;
            return here_.line_position < part_.end;
        }
        if (before_part) return true;
        if (part_.text_ids) record_.id = fmt::format("{}:{}", text_name_, here_.line);
        finish_record();
        return true;
    };
    while (scanner.next(piece)) {
        if (piece.starts) {
            ++here_.line;
            here_.line_position = piece.line_position;
        }
        if (discard) {
            discard = !piece.ends;
            continue;
        }
        if (piece.starts) {
            comment = is_comment(piece.text());
            counts_.comments += comment && !before_part;
            start_record(piece.line_position);
            letter_before_ = false;
        }
        if (comment) continue;
        line_open = true;
        here_.position = piece.position;
        if (before_part) {
            // Another part's line: whether it is blank is all that matters.
            const std::string_view line(piece.data, piece.size);
            bad_ = bad_ || line.find_first_not_of(" \t") != std::string_view::npos;
        } else {
            add_text_residues(piece);
        }
        if (piece.ends && !finish_line()) return;
    }
    if (line_open) finish_line();
}

void Parser::read(const std::function<void(std::uint64_t)>& advance) {
    const std::uint64_t start = part_.begin > 0 ? part_.begin - 1 : 0;
    ByteSource source(part_.path, start);
    std::function<void(std::uint64_t)> hear;
    if (advance) {
        hear = [&advance, heard = std::uint64_t{0}](std::uint64_t bytes) mutable {
            constexpr std::uint64_t interval = std::uint64_t{1} << 20;
            if (bytes < heard + interval) return;
            heard = bytes;
            advance(bytes);
        };
        source.when_idle([&] { advance(source.consumed()); });
    }
    LineScanner scanner(source, start, hear);
    if (part_.format == InputFormat::automatic) {
        part_.form = text_form(scanner.peek(), source.gzip());
        part_.format = recognise_format(scanner.peek(), part_.path, part_.form);
    }
    if (part_.format == InputFormat::text) {
        text_name_ = part_.path == "-" ? "stdin" : valid_utf8(std::filesystem::path(part_.path).filename().string());
        if (part_.text_ids && start > 0)
            here_.line =
                part_.lines_before != lines_unknown ? part_.lines_before : count_line_ends(part_.path, 0, start);
        read_text(scanner);
    } else {
        read_fasta(scanner);
    }
    counts_.contents.push_back(content_);
    if (!source.remark().empty()) counts_.remarks.push_back(source.remark());
    if (advance) advance(source.consumed());
}

}  // namespace

void read_sequences(const InputPart& part, const Vocabulary& vocabulary, InvalidLetters invalid, InputCounts& counts,
                    const std::function<void(const SequenceRecord&)>& deliver,
                    const std::function<void(std::uint64_t)>& advance) {
    Parser(part, vocabulary, invalid, counts, deliver).read(advance);
}

}  // namespace protalbert

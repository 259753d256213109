#include "probe/records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "comm/program.hpp"
#include "data/byte_source.hpp"
#include "data/line_scanner.hpp"
#include "data/sequence_text.hpp"

namespace protalbert {
namespace {

// Between the words of a header, as header_id has them: its word and the first one here are the same.
constexpr std::string_view word_ends = " \t\x01";
constexpr std::string_view white_space = " \t\v\f\x01";

/// The lines of a file, each ended by LF, and what they were in the file.
std::string read_lines(const std::string& path, TextForm& form) {
    ByteSource source(path);
    LineScanner scanner(source, 0);
    form = text_form(scanner.peek(), source.gzip());
    std::string text;
    for (LinePiece piece; scanner.next(piece);) {
        text += piece.text();
        if (piece.ends) text += '\n';
    }
    if (!source.remark().empty()) log_warning(source.remark());
    return text;
}

void start_record(std::vector<Record>& records, std::string_view header, std::uint64_t number, const std::string& path,
                  const TextForm& form) {
    Record& record = records.emplace_back();
    record.line = number;
    const auto place = [&] { return fmt::format("{}:{}", path, number); };
    bool was_latin1 = false;
    record.id = header_id(header, place, form, was_latin1);
    if (record.id.empty())
        throw InputError(fmt::format("{}: this header has no id; write >ID behind the '>'", place()));
    while (true) {
        header.remove_prefix(std::min(header.find_first_not_of(word_ends), header.size()));
        if (header.empty()) break;
        const std::size_t end = std::min(header.find_first_of(word_ends), header.size());
        record.fields.push_back(valid_utf8(header.substr(0, end)));
        header.remove_prefix(end);
    }
    record.fields.erase(record.fields.begin());  // the id
}

void add_letters(Record& record, std::string_view line, std::uint64_t number, const std::string& path,
                 const TextForm& form) {
    const auto misplaced = [&](const char* what, std::size_t column, const std::string& advice) {
        return InputError(fmt::format("{}:{}: record '{}' has {} in column {}, within its letters; {}", path, number,
                                      record.id, what, column, advice));
    };
    if (const std::size_t mark = line.find(byte_order_mark); mark != std::string_view::npos)
        throw misplaced("UTF-8's byte order mark", mark + 1, advice_on_mark(form));
    const std::size_t last = line.find_last_not_of(white_space);
    record.blanks = record.blanks || (last != std::string_view::npos && line.find_first_of(white_space) < last &&
                                      wording_of(line) > Wording::blocks);
    for (std::size_t column = 1; column <= line.size(); ++column) {
        const char letter = line[column - 1];
        if (letter == '>') throw misplaced("'>'", column, advice_on(letter, form));
        if (white_space.find(letter) == std::string_view::npos) record.text += letter;
    }
}

/// A comment's line where it holds a '>' behind letters of the record; 0: none.
std::uint64_t comment_header(std::string_view line, const Record& record, std::uint64_t number, const std::string& path,
                             const TextForm& form) {
    if (const std::size_t mark = line.find(byte_order_mark); mark != std::string_view::npos)
        throw InputError(fmt::format("{}:{}: a comment has UTF-8's byte order mark in column {}; {}", path, number,
                                     mark + 1, advice_on_mark(form)));
    return !record.text.empty() && header_within_comment(line) != std::string_view::npos ? number : 0;
}

}  // namespace

RecordFile read_records(const std::string& path, const std::string& what, const Communicator& communicator) {
    std::string text;
    RecordFile file;
    on_root(communicator, [&] { text = read_lines(path, file.form); });
    text = communicator.broadcast(text, 0);
    communicator.broadcast(&file.form, sizeof file.form, 0);

    if (recognise_format(text, path, file.form) != InputFormat::fasta)
        throw InputError(
            fmt::format("{}: {} must be FASTA, with a header '>ID' before the letters of each protein", path, what));
    std::vector<Record>& records = file.records;
    std::uint64_t number = 0, suspect = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line(text.data() + begin, end - begin);
        begin = end + 1;
        ++number;
        if (line.starts_with('>')) suspect = 0;
        if (line.starts_with('>'))
            start_record(records, line.substr(1), number, path, file.form);
        else if (records.empty() && line.find_first_not_of(white_space) != std::string_view::npos)
            throw InputError(
                fmt::format("{}:{}: '{}' where the first header is expected; a record begins with '>' and its "
                            "id, without anything before",
                            path, number, valid_utf8(line.substr(0, 20))));
        else if (!records.empty() && is_comment(line))
            suspect = std::max(suspect, comment_header(line, records.back(), number, path, file.form));
        else if (!records.empty() && line.find_first_not_of(white_space) != std::string_view::npos) {
            if (suspect > 0)
                throw InputError(fmt::format("{}:{}: '>' within a comment of record '{}'; {}", path, suspect,
                                             records.back().id, advice_on_comment(suspect, file.form)));
            add_letters(records.back(), line, number, path, file.form);
        }
    }
    return file;
}

std::string record_place(const std::string& path, const Record& record) {
    return fmt::format("{}:{}: {}", path, record.line, record.id);
}

RecordIndex::RecordIndex(const std::string& path, const std::string& what, const std::vector<Record>& records)
    : path_(path), what_(what), records_(records), order_(records.size()) {
    std::iota(order_.begin(), order_.end(), 0U);
    std::sort(order_.begin(), order_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return records[a].id < records[b].id; });
    for (std::size_t i = 1; i < order_.size(); ++i)
        if (records[order_[i]].id == records[order_[i - 1]].id) {
            const auto [first, second] = std::minmax(order_[i - 1], order_[i]);
            throw InputError(fmt::format("{}: this id was on line {} already; give each protein its own",
                                         record_place(path, records[second]), records[first].line));
        }
}

const Record& RecordIndex::find(const std::string& id, const std::string& wanted_by) const {
    const auto found =
        std::lower_bound(order_.begin(), order_.end(), id,
                         [&](std::uint32_t i, const std::string& name) { return records_[i].id < name; });
    if (found == order_.end() || records_[*found].id != id)
        throw InputError(fmt::format("{}: there is no {} of protein {}, which {} has; add it, or take it out there",
                                     path_, what_, id, wanted_by));
    return records_[*found];
}

}  // namespace protalbert

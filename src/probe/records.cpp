#include "probe/records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "base/error.hpp"
#include "comm/program.hpp"
#include "data/byte_source.hpp"

namespace protalbert {
namespace {

constexpr std::string_view white_space = " \t\r\n\v\f";

std::string read_all(const std::string& path) {
    constexpr std::size_t piece = std::size_t{1} << 20;
    ByteSource source(path);
    std::string text;
    while (true) {
        const std::size_t end = text.size();
        text.resize(end + piece);
        const std::size_t bytes = source.read(text.data() + end, piece);
        text.resize(end + bytes);
        if (bytes == 0) return text;
    }
}

void start_record(std::vector<Record>& records, std::string_view line, std::uint64_t number, const std::string& path) {
    std::istringstream words{std::string(line.substr(1))};
    Record& record = records.emplace_back();
    record.line = number;
    words >> record.id;
    if (record.id.empty())
        throw InputError(fmt::format("{}:{}: this header has no id; write >ID behind the '>'", path, number));
    for (std::string word; words >> word;) record.fields.push_back(word);
}

}  // namespace

std::vector<Record> read_records(const std::string& path, const std::string& what, const Communicator& communicator) {
    std::string text;
    on_root(communicator, [&] { text = read_all(path); });
    text = communicator.broadcast(text, 0);

    std::vector<Record> records;
    std::uint64_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line(text.data() + begin, end - begin);
        begin = end + 1;
        ++number;
        if (line.starts_with('>')) {
            start_record(records, line, number, path);
        } else if (line.find_first_not_of(white_space) != std::string_view::npos) {
            if (records.empty())
                throw InputError(fmt::format("{}:{}: {} must be FASTA, but this text comes before the first '>'", path,
                                             number, what));
            for (const char letter : line)
                if (white_space.find(letter) == std::string_view::npos) records.back().text += letter;
        }
    }
    if (records.empty()) throw InputError(fmt::format("{}: {} has no records (no line starts with '>')", path, what));
    return records;
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

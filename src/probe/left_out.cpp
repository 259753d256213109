#include "probe/left_out.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "embed/proteins.hpp"

namespace protalbert {
namespace {

// Of embeddings files.
constexpr std::uint8_t embedded = 0, too_long = 2, embedded_by_windows = 4, not_finite = 5;

const char* reason(std::uint8_t status) {
    switch (status) {
        case 1:
            return "without residues";
        case too_long:
            return "too long for the encoder";
        case 3:
            return "with letters that are no residues";
        case not_finite:
            return "whose vectors are not finite";
        default:
            return "not embedded";
    }
}

}  // namespace

bool has_vectors(std::uint8_t status, std::uint64_t length) {
    return length > 0 && (status == embedded || status == embedded_by_windows);
}

void leave_out(LabelledProteins& proteins, const std::vector<WithoutVectors>& missing, const std::string& remedy,
               const Communicator& communicator) {
    constexpr std::size_t named = 5;
    std::map<std::uint8_t, std::vector<std::string>> ids;  // by status
    for (const WithoutVectors& one : missing) {
        proteins.splits[one.protein] = Split::none;
        // A protein of no residues counts as embedded in some files.
        ids[one.status == embedded || one.status == embedded_by_windows ? std::uint8_t{1} : one.status].push_back(
            proteins.ids[one.protein]);
    }
    if (!communicator.root()) return;
    for (const auto& entry : ids) {
        const std::vector<std::string>& all = entry.second;
        const std::size_t few = std::min(named, all.size());
        std::string line =
            fmt::format("{} {} {} {} left out of training, validation and test: {}{}", format_count(all.size()),
                        all.size() == 1 ? "protein" : "proteins", reason(entry.first), all.size() == 1 ? "is" : "are",
                        fmt::join(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(few), ", "),
                        all.size() > few ? " ..." : "");
        if (entry.first == too_long) line += "; " + remedy;
        if (entry.first == not_finite)
            line += "; if they are too large for float16, embed with --residues float32 and give --embeddings FILE";
        log_warning(line);
    }
}

}  // namespace protalbert

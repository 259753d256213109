#include "probe/left_out.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "embed/proteins.hpp"

namespace protalbert {
namespace {

const char* reason(Treatment status) {
    switch (status) {
        case Treatment::empty:
            return "without residues";
        case Treatment::too_long:
            return "too long for the encoder";
        case Treatment::skipped:
            return "with letters that are no residues";
        case Treatment::not_finite:
            return "whose vectors are not finite";
        default:
            return "not embedded";
    }
}

}  // namespace

bool has_vectors(std::uint8_t status, std::uint64_t length) {
    return length > 0 && has_vectors(static_cast<Treatment>(status));
}

void leave_out(LabelledProteins& proteins, const std::vector<WithoutVectors>& missing, const std::string& remedy,
               const Communicator& communicator) {
    constexpr std::size_t named = 5;
    std::map<Treatment, std::vector<std::string>> ids;  // by status
    for (const WithoutVectors& one : missing) {
        proteins.splits[one.protein] = Split::none;
        // A protein of no residues counts as embedded in some files.
        const auto status = static_cast<Treatment>(one.status);
        ids[has_vectors(status) ? Treatment::empty : status].push_back(proteins.ids[one.protein]);
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
        if (entry.first == Treatment::too_long) line += "; " + remedy;
        if (entry.first == Treatment::not_finite)
            line += "; if they are too large for float16, embed with --residues float32 and give --embeddings FILE";
        log_warning(line);
    }
}

}  // namespace protalbert

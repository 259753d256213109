#include "embed/not_finite.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/error.hpp"
#include "base/positioned_file.hpp"
#include "comm/program.hpp"

namespace protalbert {
namespace {

// Proteins that a message names.
constexpr std::size_t named_proteins = 3;

/// Whether any of the float16 is no number, which rounding a number never gives.
bool has_half_nan(const std::vector<std::byte>& values) {
    for (std::size_t at = 0; at < values.size(); at += sizeof(std::uint16_t)) {
        std::uint16_t bits;
        std::memcpy(&bits, values.data() + at, sizeof bits);
        if ((bits & 0x7FFFU) > 0x7C00U) return true;
    }
    return false;
}

}  // namespace

std::uint64_t count_not_finite(const std::byte* values, std::uint64_t n, std::uint64_t element_bytes) {
    // Those whose exponent has all its bits.
    std::uint64_t found = 0;
    if (element_bytes == sizeof(std::uint16_t)) {
        for (std::uint64_t i = 0; i < n; ++i) {
            std::uint16_t bits;
            std::memcpy(&bits, values + i * sizeof bits, sizeof bits);
            found += (bits & 0x7C00U) == 0x7C00U;
        }
    } else {
        for (std::uint64_t i = 0; i < n; ++i) {
            std::uint32_t bits;
            std::memcpy(&bits, values + i * sizeof bits, sizeof bits);
            found += (bits & 0x7F800000U) == 0x7F800000U;
        }
    }
    return found;
}

NotFinite find_not_finite(const OutputFile& output, const VectorChoice& choice, const OutputSizes& sizes,
                          const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                          const Communicator& communicator) {
    std::vector<std::uint64_t> done(sizes.batches, 0);
    communicator.barrier();
    on_root(communicator, [&] {
        done = read_progress(output, sizes);
        for (std::size_t b = 0; b < done.size(); ++b)
            if (done[b] == 0) throw Error(fmt::format("batch {} of {} was never written", b, output.part_path));
    });
    communicator.broadcast(done.data(), done.size() * sizeof(std::uint64_t), 0);
    std::vector<std::uint64_t> batches;
    for (std::uint64_t b = 0; b < done.size(); ++b)
        if (done[b] > 1) batches.push_back(b);
    NotFinite found;
    if (batches.empty()) return found;

    std::vector<std::uint64_t> first_rows(lengths.size() + 1, 0);
    for (std::size_t i = 0; i < lengths.size(); ++i) first_rows[i + 1] = first_rows[i] + lengths[i];
    const std::uint64_t residue_row = sizes.hidden * choice.residue_bytes(), pooled_row = sizes.hidden * sizeof(float);
    const bool flat = choice.layout == Layout::flat;
    std::vector<std::uint64_t> proteins;
    std::uint64_t other_causes = 0;
    all_or_none(communicator, [&] {
        const PositionedFile file(output.part_path, false);
        std::vector<std::byte> bytes;
        const auto count = [&](std::uint64_t position, std::uint64_t size, std::uint64_t element_bytes) {
            bytes.resize(size);
            file.read(bytes.data(), size, position);
            return count_not_finite(bytes.data(), size / element_bytes, element_bytes);
        };
        const auto look_at = [&](std::uint64_t protein) {
            const std::uint64_t place = flat ? 0 : output.proteins[protein];
            std::uint64_t of_residues = 0, of_pooled = 0;
            bool halves_alone = choice.residues == ResidueVectors::float16;
            if (choice.residues != ResidueVectors::none)
                of_residues = count(flat ? output.residues + first_rows[protein] * residue_row : place,
                                    lengths[protein] * residue_row, choice.residue_bytes());
            halves_alone = halves_alone && !has_half_nan(bytes);
            if (choice.mean)
                of_pooled += count(flat ? output.mean + protein * pooled_row : place, pooled_row, sizeof(float));
            if (choice.cls)
                of_pooled += count(flat ? output.cls + protein * pooled_row : place, pooled_row, sizeof(float));
            if (of_residues + of_pooled > 0) proteins.push_back(protein);
            other_causes += of_pooled > 0 || !halves_alone ? 1 : 0;
        };
        const auto ranks = static_cast<std::size_t>(communicator.ranks());
        for (auto b = static_cast<std::size_t>(communicator.rank()); b < batches.size(); b += ranks)
            for (const std::uint32_t protein : plan.batch(batches[b])) look_at(protein);
    });
    communicator.sum(&other_causes, 1);
    found.proteins = communicator.concatenate(proteins);
    std::sort(found.proteins.begin(), found.proteins.end());
    found.float16_alone = other_causes == 0;
    return found;
}

void mark_not_finite(Hdf5File& file, const OutputFile& output, Layout layout, const NotFinite& not_finite) {
    const std::vector<std::uint64_t>& proteins = not_finite.proteins;
    std::vector<std::string> ids(std::min(proteins.size(), named_proteins));
    if (layout == Layout::flat) {
        std::vector<Treatment> status(file.shape("/status").at(0));
        file.read("/status", status.data(), {0, status.size()});
        for (const std::uint64_t protein : proteins) status[protein] = Treatment::not_finite;
        file.write("/status", status.data(), {0, status.size()});
        for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = file.read_strings("/ids", {proteins[i], 1}).front();
    } else {
        // A dataset is its protein's by its place in the file.
        std::unordered_map<std::uint64_t, std::size_t> places;
        for (std::size_t i = 0; i < proteins.size(); ++i) places.emplace(output.proteins[proteins[i]], i);
        for (const std::string& member : file.list("/")) {
            const std::string name = "/" + member;
            const auto place = places.find(file.file_offset(name));
            if (place != places.end()) {
                file.set_attribute(name, "status", static_cast<std::uint64_t>(Treatment::not_finite));
                if (place->second < ids.size()) ids[place->second] = file.text_attribute(name, "original_id");
            }
            file.close_dataset(name);
        }
    }
    file.set_attribute("/", "not_finite", static_cast<std::uint64_t>(proteins.size()));
    file.set_attribute("/", "not_finite_first",
                       fmt::format("{}{}", fmt::join(ids, ", "), proteins.size() > ids.size() ? " ..." : ""));
    file.set_attribute("/", "float16_alone", static_cast<std::uint64_t>(not_finite.float16_alone));
}

NotFiniteReport read_not_finite(const std::string& path, const Communicator& communicator) {
    NotFiniteReport report;
    std::uint64_t numbers[2] = {0, 0};
    on_root(communicator, [&] {
        const Hdf5File file = Hdf5File::open_alone(path);
        if (!file.has_attribute("/", "not_finite")) return;
        numbers[0] = file.unsigned_attribute("/", "not_finite");
        numbers[1] = file.unsigned_attribute("/", "float16_alone");
        report.first_ids = file.text_attribute("/", "not_finite_first");
    });
    communicator.broadcast(numbers, sizeof numbers, 0);
    report.proteins = numbers[0];
    report.first_ids = communicator.broadcast(report.first_ids, 0);
    report.float16_alone = numbers[1] != 0;
    return report;
}

}  // namespace protalbert

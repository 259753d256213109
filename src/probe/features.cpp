#include "probe/features.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/finite.hpp"
#include "embed/output.hpp"
#include "io/stored_tensor.hpp"
#include "probe/pieces.hpp"

namespace protalbert {
namespace {

constexpr std::int64_t newest_embeddings = 1;

/// Where a labelled protein's vectors are.
struct StoredProtein {
    std::string id;
    std::uint64_t number;  ///< in the file
    Rows rows;
    std::optional<std::uint32_t> checksum;  ///< of these rows, where the file has it
    std::uint8_t status = 0;                ///< as in the file
    bool there = true;                      ///< whether it has vectors
};

/// Finds the labelled proteins in an embeddings file by id.
std::vector<StoredProtein> match_proteins(const Hdf5File& file, const LabelledProteins& proteins) {
    const std::vector<std::string> ids = file.read_strings("/ids");
    std::vector<std::uint64_t> lengths(ids.size()), offsets(ids.size() + 1);
    file.read("/lengths", lengths.data(), {0, lengths.size()});
    file.read("/offsets", offsets.data(), {0, offsets.size()});
    std::vector<std::uint8_t> status(ids.size());
    file.read("/status", status.data(), {0, status.size()});
    std::vector<std::uint32_t> checksums;  // [N, 3]: residues, mean, cls
    if (file.exists("/checksums")) {
        checksums.resize(3 * ids.size());
        file.read("/checksums", checksums.data(), {0, ids.size()});
    }

    std::vector<std::uint64_t> order(ids.size());
    std::iota(order.begin(), order.end(), std::uint64_t{0});
    std::sort(order.begin(), order.end(), [&](std::uint64_t a, std::uint64_t b) { return ids[a] < ids[b]; });
    std::vector<StoredProtein> found;
    for (std::size_t i = 0; i < proteins.count(); ++i) {
        const std::string& id = proteins.ids[i];
        const auto begin =
            std::lower_bound(order.begin(), order.end(), id,
                             [&](std::uint64_t row, const std::string& name) { return ids[row] < name; });
        const auto end = std::upper_bound(begin, order.end(), id,
                                          [&](const std::string& name, std::uint64_t row) { return name < ids[row]; });
        if (begin == end)
            throw InputError(fmt::format("{} has no protein {}, which {} has; embed it, or take its label out",
                                         file.path(), id, proteins.file));
        if (end - begin > 1)
            throw InputError(fmt::format("{} has {} proteins {}; give each its own id and embed again", file.path(),
                                         end - begin, id));
        const std::uint64_t row = *begin;
        const bool there = has_vectors(status[row], lengths[row]);
        if (there && proteins.lengths[i] != 0 && lengths[row] != proteins.lengths[i])
            throw InputError(fmt::format("protein {} has {} residues in {}, but {} in {}; they must be of the same one",
                                         id, lengths[row], file.path(), proteins.lengths[i], proteins.file));
        const bool residues = proteins.task == Task::secondary_structure;
        found.push_back(
            {id, row, residues ? Rows{offsets[row], lengths[row]} : Rows{row, 1}, std::nullopt, status[row], there});
        if (!checksums.empty()) found.back().checksum = checksums[3 * row + (residues ? 0 : 1)];
    }
    return found;
}

/// A flat file of protalbert_embed.
std::shared_ptr<Hdf5File> open_embeddings(const std::string& path, const Communicator& communicator) {
    const auto file = std::make_shared<Hdf5File>(Hdf5File::open(path, communicator));
    check_format(*file, "protalbert embeddings", newest_embeddings);
    if (!file->exists("/offsets"))
        throw InputError(fmt::format("{} has a dataset for each protein; embed with --layout flat", path));
    return file;
}

/// What a file says of its vectors; `dataset` is opened, so that any rank may read it alone from now on.
Features describe(const Hdf5File& file, const std::string& dataset) {
    Features features;
    features.count = static_cast<std::int64_t>(file.shape(dataset).at(1));
    features.encoder = file.text_attribute("/", "config");
    features.checkpoint_hash = file.unsigned_attribute("/", "checkpoint_hash");
    return features;
}

/// Throws InputError for vectors that are not finite: a head would learn from them in silence.
void require_finite(const float* values, std::size_t count, const std::string& path, const std::string& id) {
    if (all_finite(values, count)) return;
    throw InputError(
        fmt::format("{}: the vectors of protein {} are not finite; embed with --residues float32 if they are too large "
                    "for float16 (--embeddings FILE takes them), else take its label out",
                    path, id));
}

/// What a reader compares with the checksum of what it has read: bytes as they are in the file.
using CheckBytes = std::function<void(const void* data, std::size_t bytes)>;

/// Reads rows of a dataset of float16 or float32 as float32; `check` may be null.
using RowReader = std::function<void(Rows rows, float* values, const CheckBytes& check)>;
RowReader row_reader(const std::shared_ptr<Hdf5File>& file, const std::string& dataset) {
    const bool half = file->element(dataset) == Element::float16;
    return [file, dataset, half, D = file->shape(dataset).at(1)](Rows rows, float* values, const CheckBytes& check) {
        std::vector<std::uint16_t> stored(half ? rows.count * D : 0);
        void* const data = half ? static_cast<void*>(stored.data()) : values;
        file->read_independent(dataset, data, rows);
        if (check) check(data, rows.count * D * (half ? sizeof(std::uint16_t) : sizeof(float)));
        if (half) std::transform(stored.begin(), stored.end(), values, from_float16);
    };
}

}  // namespace

Features embedding_features(const std::string& path, const LabelledProteins& proteins,
                            const Communicator& communicator) {
    const auto file = open_embeddings(path, communicator);
    const bool residues = proteins.task == Task::secondary_structure;
    const std::string dataset = residues ? "/residues" : "/mean";
    if (!file->exists(dataset))
        throw InputError(fmt::format("{} has no {}; embed with {}", path, dataset,
                                     residues ? "--residues float16 or float32" : "--pool mean"));
    Features features = describe(*file, dataset);
    features.description = fmt::format("{} of {}", residues ? "residue vectors" : "mean vectors", path);
    const std::vector<StoredProtein> all = match_proteins(*file, proteins);
    for (std::uint32_t i = 0; i < all.size(); ++i)
        if (!all[i].there) features.missing.push_back({i, all[i].status});
    features.read = [path, dataset, all, read = row_reader(file, dataset), D = features.count](std::uint32_t protein,
                                                                                               float* values) {
        const StoredProtein& stored = all[protein];
        PROTALBERT_CHECK(stored.there, "a protein without vectors is left out");
        read(stored.rows, values, [&](const void* data, std::size_t bytes) {
            if (stored.checksum && vector_checksum(stored.number, data, bytes) != *stored.checksum)
                throw InputError(fmt::format("{} is damaged: the checksum of {} of protein {} is wrong; embed again",
                                             path, dataset, stored.id));
        });
        require_finite(values, stored.rows.count * static_cast<std::size_t>(D), path, stored.id);
    };
    return features;
}

Features piece_features(const std::string& path, std::uint64_t piece_length, const LabelledProteins& proteins,
                        const Communicator& communicator) {
    const auto file = open_embeddings(path, communicator);
    std::vector<std::uint8_t> status(file->shape("/status").at(0));
    file->read("/status", status.data(), {0, status.size()});
    std::vector<WithoutVectors> missing;
    std::vector<std::vector<Rows>> rows;  // of each protein, ranges that follow one another
    std::uint64_t row = 0, number = 0;
    for (std::uint32_t i = 0; i < proteins.count(); ++i) {
        std::vector<Rows>& ranges = rows.emplace_back();
        bool there = true;
        std::uint8_t why = 0;
        for (const Piece& piece : cut_protein(proteins.lengths[i], piece_length)) {
            ranges.push_back({row + piece.kept - piece.first, piece.kept_count});
            row += piece.length;
            PROTALBERT_CHECK(number < status.size(), "the file is of other pieces");
            if (there) why = status[number];
            there = there && has_vectors(status[number], piece.length);
            ++number;
        }
        if (!there) missing.push_back({i, why});
    }
    PROTALBERT_CHECK(file->shape("/residues").at(0) == row && number == status.size(), "the file is of other pieces");
    Features features = describe(*file, "/residues");
    features.description = path;
    features.missing = std::move(missing);
    features.read = [path, ids = proteins.ids, rows = std::move(rows), read = row_reader(file, "/residues"),
                     D = features.count,
                     pooled = proteins.task == Task::localization](std::uint32_t protein, float* values) {
        std::vector<float> vectors;
        std::vector<double> sums(static_cast<std::size_t>(pooled ? D : 0), 0.0);
        std::uint64_t residues = 0;
        for (const Rows& range : rows[protein]) {
            if (!pooled) {
                read(range, values, {});
                require_finite(values, range.count * static_cast<std::size_t>(D), path, ids[protein]);
                values += static_cast<std::int64_t>(range.count) * D;
                continue;
            }
            vectors.resize(range.count * sums.size());
            read(range, vectors.data(), {});
            require_finite(vectors.data(), vectors.size(), path, ids[protein]);
            for (std::size_t i = 0; i < vectors.size(); ++i) sums[i % sums.size()] += static_cast<double>(vectors[i]);
            residues += range.count;
        }
        for (std::size_t d = 0; d < sums.size(); ++d)
            values[d] = static_cast<float>(sums[d] / static_cast<double>(residues));
    };
    return features;
}

Features one_hot_features(const std::shared_ptr<const Residues>& residues, Task task) {
    Features features;
    features.count = residue_kinds;
    features.description = "one-hot residues";
    features.read = [residues, task](std::uint32_t protein, float* rows) {
        const std::uint64_t first = residues->firsts[protein], length = residues->firsts[protein + 1] - first;
        const bool pooled = task == Task::localization;
        std::fill_n(rows, pooled ? residue_kinds : static_cast<std::int64_t>(length) * residue_kinds, 0.0F);
        for (std::uint64_t r = 0; r < length; ++r) {
            const std::uint8_t residue = residues->ids[first + r];
            if (pooled)
                rows[residue] += 1 / static_cast<float>(length);
            else
                rows[r * residue_kinds + residue] = 1;
        }
    };
    return features;
}

}  // namespace protalbert

#include "io/checkpoint.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <numeric>
#include <optional>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

constexpr const char* format_name = "protalbert checkpoint";
constexpr std::int64_t format_version = 1;
constexpr const char* checksum_name = "xxh3_64";  // XXH3, 64 bits, seed 0, of the dataset's bytes
constexpr const char* temporary_suffix = ".part";

/// An array and the dataset that holds it.
struct StoredArray {
    std::string dataset;
    NamedArray array;

    std::uint64_t count() const {
        return static_cast<std::uint64_t>(
            std::accumulate(array.shape.begin(), array.shape.end(), std::int64_t{1}, std::multiplies<>()));
    }
    std::uint64_t bytes() const { return count() * sizeof(float); }
    std::uint64_t checksum() const { return XXH3_64bits(array.data, bytes()); }
    std::vector<std::uint64_t> shape() const { return {array.shape.begin(), array.shape.end()}; }
};

std::vector<StoredArray> stored_arrays(const CheckpointArrays& arrays) {
    std::vector<StoredArray> stored;
    for (const NamedArray& array : arrays.parameters) stored.push_back({"/parameters/" + array.name, array});
    for (const NamedArray& array : arrays.m) stored.push_back({"/optimizer/m/" + array.name, array});
    for (const NamedArray& array : arrays.v) stored.push_back({"/optimizer/v/" + array.name, array});
    return stored;
}

/// Rank r works on arrays r, r + R, r + 2 R...
bool is_mine(std::size_t array, const Communicator& communicator) {
    return array % static_cast<std::size_t>(communicator.ranks()) == static_cast<std::size_t>(communicator.rank());
}

/// Checksums of all arrays, computed by the ranks together.
std::vector<std::uint64_t> checksums(const std::vector<StoredArray>& stored, const Communicator& communicator) {
    std::vector<std::uint64_t> sums(stored.size(), 0);
    for (std::size_t i = 0; i < stored.size(); ++i)
        if (is_mine(i, communicator)) sums[i] = stored[i].checksum();
    communicator.sum(sums.data(), static_cast<int>(sums.size()));
    return sums;
}

/// XXH3 of the header's numbers and texts, each text with its length before it.
std::uint64_t header_checksum(const CheckpointHeader& header) {
    std::string bytes;
    const auto add_number = [&](std::uint64_t number) {
        bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
    };
    const auto add_text = [&](const std::string& text) {
        add_number(text.size());
        bytes += text;
    };
    add_number(header.step);
    add_number(header.samples);
    add_number(header.corpus_hash);
    add_text(header.deck);
    add_text(header.config);
    for (const std::string& piece : header.vocabulary) add_text(piece);
    return XXH3_64bits(bytes.data(), bytes.size());
}

/// Runs `read`; whatever HDF5 stumbles over in a file that it could open means damage.
template <class Read>
auto read_or_refuse(const fs::path& file, const Read& read) {
    try {
        return read();
    } catch (const InputError&) {
        throw;
    } catch (const Error& error) {
        throw InputError(fmt::format("checkpoint {} is damaged: {}; use an older one", file.string(), error.what()));
    }
}

/// This rank's share of `rows` rows.
Rows share_of_rows(std::uint64_t rows, const Communicator& communicator) {
    const auto rank = static_cast<std::uint64_t>(communicator.rank());
    const auto ranks = static_cast<std::uint64_t>(communicator.ranks());
    const auto first_of = [&](std::uint64_t r) { return rows / ranks * r + std::min(r, rows % ranks); };
    return {first_of(rank), first_of(rank + 1) - first_of(rank)};
}

void write_content(Hdf5File& file, const CheckpointHeader& header, const std::vector<StoredArray>& stored,
                   const Communicator& communicator) {
    write_format(file, format_name, format_version);
    file.set_attribute("/", "step", header.step);
    file.set_attribute("/", "samples", header.samples);
    file.set_attribute("/", "deck", header.deck);
    file.set_attribute("/", "config", header.config);
    file.set_attribute("/", "corpus_hash", header.corpus_hash);
    file.set_attribute("/", checksum_name, header_checksum(header));

    std::size_t longest = 1;
    for (const std::string& piece : header.vocabulary) longest = std::max(longest, piece.size());
    file.create_strings("/vocabulary", header.vocabulary.size(), longest);
    file.write_strings("/vocabulary", communicator.root() ? header.vocabulary : std::vector<std::string>{}, 0);

    const std::vector<std::uint64_t> sums = checksums(stored, communicator);
    for (std::size_t i = 0; i < stored.size(); ++i) {
        file.create_dataset(stored[i].dataset, Element::float32, stored[i].shape());
        file.set_attribute(stored[i].dataset, checksum_name, sums[i]);
    }
    for (const StoredArray& array : stored) {
        const std::uint64_t rows = array.shape().at(0);
        const Rows share = share_of_rows(rows, communicator);
        file.write(array.dataset, array.array.data + (rows ? array.count() / rows * share.first : 0), share);
    }
    file.flush();
    file.close();
}

Hdf5File open_checkpoint(const fs::path& file, const Communicator& communicator) {
    Hdf5File opened = Hdf5File::open(file.string(), communicator);
    check_format(opened, format_name, format_version);
    return opened;
}

/// Throws InputError unless the file holds the array in this shape, with a checksum, which it returns.
std::uint64_t check_stored(const Hdf5File& file, const StoredArray& array) {
    if (!file.exists(array.dataset) && array.dataset.starts_with("/optimizer/"))
        throw InputError(fmt::format(
            "checkpoint {} has no {}: it holds weights alone, as protalbert_convert writes them; it cannot be "
            "resumed, but a run can start from it with --init",
            file.path(), array.dataset));
    if (!file.exists(array.dataset))
        throw InputError(fmt::format("checkpoint {} has no {}; is it of this model?", file.path(), array.dataset));
    const std::vector<std::uint64_t> shape = file.shape(array.dataset);
    if (shape != array.shape())
        throw InputError(fmt::format("checkpoint {}: {} has shape [{}], but the model needs [{}]; is it of this model?",
                                     file.path(), array.dataset, fmt::join(shape, ", "),
                                     fmt::join(array.shape(), ", ")));
    if (file.element(array.dataset) != Element::float32)
        throw InputError(fmt::format("checkpoint {}: {} is not float32", file.path(), array.dataset));
    return file.unsigned_attribute(array.dataset, checksum_name);
}

/// The step in "step_00000100.h5", nothing for any other name.
std::optional<std::uint64_t> step_of(const fs::path& file) {
    const std::string name = file.filename().string();
    if (!name.starts_with("step_") || !name.ends_with(".h5")) return std::nullopt;
    const char* const first = name.data() + 5;
    const char* const last = name.data() + name.size() - 3;
    std::uint64_t step = 0;
    const auto [end, error] = std::from_chars(first, last, step);
    return first < last && end == last && error == std::errc() ? std::optional(step) : std::nullopt;
}

}  // namespace

void write_checkpoint(const fs::path& file, const CheckpointHeader& header, const CheckpointArrays& arrays,
                      const Communicator& communicator) {
    const std::vector<StoredArray> stored = stored_arrays(arrays);
    const std::uint64_t bytes =
        std::accumulate(stored.begin(), stored.end(), std::uint64_t{0},
                        [](std::uint64_t sum, const StoredArray& array) { return sum + array.bytes(); });
    const fs::path temporary = file.string() + temporary_suffix;
    on_root(communicator, [&] {
        require_writable_place(file, "checkpoint");
        fs::remove(temporary);
        require_space(file.parent_path(), bytes, "checkpoint " + file.string());
    });
    Hdf5File target = Hdf5File::create(temporary.string(), communicator);
    write_content(target, header, stored, communicator);
    on_root(communicator, [&] { rename_durably(temporary, file); });
}

CheckpointHeader read_checkpoint_header(const fs::path& file, const Communicator& communicator) {
    return read_or_refuse(file, [&] {
        const Hdf5File source = open_checkpoint(file, communicator);
        CheckpointHeader header;
        header.step = source.unsigned_attribute("/", "step");
        header.samples = source.unsigned_attribute("/", "samples");
        header.deck = source.text_attribute("/", "deck");
        header.config = source.text_attribute("/", "config");
        header.corpus_hash = source.unsigned_attribute("/", "corpus_hash");
        header.vocabulary = source.read_strings("/vocabulary");
        if (source.unsigned_attribute("/", checksum_name) != header_checksum(header))
            throw InputError(
                fmt::format("checkpoint {} is damaged: the checksum of its attributes and /vocabulary is "
                            "wrong; use an older one",
                            file.string()));
        return header;
    });
}

void read_checkpoint(const fs::path& file, const CheckpointArrays& arrays, const Communicator& communicator) {
    const std::vector<StoredArray> stored = stored_arrays(arrays);
    read_or_refuse(file, [&] {
        const Hdf5File source = open_checkpoint(file, communicator);
        std::vector<std::uint64_t> sums;
        for (const StoredArray& array : stored) sums.push_back(check_stored(source, array));
        // The ranks read and verify different arrays at the same time, then hand them round.
        all_or_none(communicator, [&] {
            for (std::size_t i = 0; i < stored.size(); ++i) {
                if (!is_mine(i, communicator)) continue;
                source.read_independent(stored[i].dataset, stored[i].array.data, {0, stored[i].shape().at(0)});
                if (stored[i].checksum() != sums[i])
                    throw InputError(
                        fmt::format("checkpoint {} is damaged: the checksum of {} is wrong; use an older "
                                    "one",
                                    file.string(), stored[i].dataset));
            }
        });
    });
    for (std::size_t i = 0; i < stored.size(); ++i)
        communicator.broadcast(stored[i].array.data, stored[i].bytes(),
                               static_cast<int>(i % static_cast<std::size_t>(communicator.ranks())));
}

std::string checkpoint_name(std::uint64_t step) { return fmt::format("step_{:08}.h5", step); }

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
    std::vector<std::pair<std::uint64_t, fs::path>> found;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
        if (const auto step = step_of(entry.path()); step && !entry.is_directory(error))
            found.emplace_back(*step, entry.path());
    std::sort(found.rbegin(), found.rend());
    std::vector<fs::path> files;
    for (auto& [step, file] : found) files.push_back(std::move(file));
    return files;
}

fs::path resolve_checkpoint(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
        require_readable_file(path, "checkpoint");
        return path;
    }
    const std::vector<fs::path> files = list_checkpoints(path);
    if (files.empty()) throw InputError(fmt::format("there is no checkpoint (step_*.h5) in folder {}", path.string()));
    return files.front();
}

void prune_checkpoints(const fs::path& folder, int keep) {
    std::vector<fs::path> files = list_checkpoints(folder);
    files.erase(files.begin(), files.begin() + std::min<std::ptrdiff_t>(std::max(0, keep), std::ssize(files)));
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        fs::path name = entry.path();
        if (name.extension() == temporary_suffix && step_of(name.replace_extension())) files.push_back(entry.path());
    }
    // A file that cannot be removed costs space, not the run.
    for (const fs::path& file : files) fs::remove(file, error);
}

}  // namespace protalbert

#include "io/checkpoint.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <optional>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/finite.hpp"
#include "base/positioned_file.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"
#include "io/seal.hpp"

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

/// The rank that reads and checks each array: the largest first, each to the rank with the fewest bytes so far.
std::vector<int> readers(const std::vector<StoredArray>& stored, int ranks) {
    std::vector<std::size_t> order(stored.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t left, std::size_t right) { return stored[left].bytes() > stored[right].bytes(); });
    std::vector<int> rank_of(stored.size());
    std::vector<std::uint64_t> load(static_cast<std::size_t>(ranks), 0);
    for (const std::size_t i : order) {
        const auto least = std::min_element(load.begin(), load.end());
        rank_of[i] = static_cast<int>(least - load.begin());
        *least += stored[i].bytes();
    }
    return rank_of;
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

/// What HDF5 itself takes of a checkpoint, at the most: headers, attributes and the gaps before aligned datasets.
std::uint64_t bytes_beside_arrays(const CheckpointHeader& header, const std::vector<StoredArray>& stored) {
    constexpr std::uint64_t each = 4096, aligned = 1 << 20;
    std::uint64_t bytes = 16 * each + header.deck.size() + header.config.size() + header.vocabulary.size() * each / 16;
    for (const StoredArray& array : stored) bytes += each + (array.bytes() >= aligned ? aligned : 0);
    return bytes;
}

/// Makes the file with everything but the arrays' values and checksums; returns where in it the values belong. By rank
/// 0 alone: HDF5's collective calls would leave the other ranks waiting when one fails.
std::vector<std::uint64_t> create_file(const fs::path& path, const CheckpointHeader& header,
                                       const std::vector<StoredArray>& stored) {
    std::uint64_t bytes = bytes_beside_arrays(header, stored);
    for (const StoredArray& array : stored) bytes += array.bytes();
    Hdf5File file = Hdf5File::create_alone(path.string(), bytes);
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
    file.write_strings("/vocabulary", header.vocabulary, 0);

    std::vector<std::uint64_t> positions;
    for (const StoredArray& array : stored) {
        file.create_dataset(array.dataset, Element::float32, array.shape());
        file.set_attribute(array.dataset, checksum_name, std::uint64_t{0});  // its place: set_checksums knows the value
        positions.push_back(file.file_offset(array.dataset));
    }
    file.flush();
    file.close();
    slow_down();
    return positions;
}

/// Completes the file, by rank 0 alone.
void set_checksums(const fs::path& path, const std::vector<StoredArray>& stored,
                   const std::vector<std::uint64_t>& positions, const std::vector<std::uint64_t>& sums) {
    Hdf5File file = Hdf5File::reopen_alone(path.string());
    std::vector<ByteRange> arrays;
    for (std::size_t i = 0; i < stored.size(); ++i) {
        file.set_attribute(stored[i].dataset, checksum_name, sums[i]);
        PROTALBERT_CHECK(stored[i].bytes() == 0 || file.file_offset(stored[i].dataset) == positions[i],
                         "arrays stay where they are when attributes change");
        arrays.push_back({positions[i], positions[i] + stored[i].bytes()});
    }
    file.flush();
    file.close();
    slow_down();
    seal_file(path.string(), arrays);
    check_seal(path.string());
}

/// Calls work(i) for the arrays of this rank, on two threads: one core alone hashes little faster than a disk writes.
void for_own_arrays(const std::vector<StoredArray>& stored, const Communicator& communicator,
                    const std::function<void(std::size_t)>& work) {
    const std::vector<int> reader = readers(stored, communicator.ranks());
    std::atomic<std::size_t> next{0};
    const auto take_turns = [&] {
        for (std::size_t i = next++; i < stored.size(); i = next++)
            if (reader[i] == communicator.rank()) work(i);
    };
    auto other = std::async(std::launch::async, take_turns);
    take_turns();
    other.get();
}

/// Writes this rank's share, an equal part of all bytes, and waits until it is on disk.
void write_share(const fs::path& path, const std::vector<StoredArray>& stored,
                 const std::vector<std::uint64_t>& positions, const Communicator& communicator) {
    // Long enough for parallel file systems, short enough that the disk is at work from the start.
    constexpr std::uint64_t piece = std::uint64_t{16} << 20;
    std::uint64_t total = 0;
    for (const StoredArray& array : stored) total += array.bytes();
    const auto rank = static_cast<std::uint64_t>(communicator.rank());
    const auto ranks = static_cast<std::uint64_t>(communicator.ranks());
    const std::uint64_t first = total / ranks * rank + std::min(rank, total % ranks);
    const std::uint64_t last = first + total / ranks + (rank < total % ranks);

    const PositionedFile file(path.string(), true);
    std::uint64_t start = 0;  // of an array among all bytes
    for (std::size_t i = 0; i < stored.size(); start += stored[i].bytes(), ++i) {
        const std::uint64_t end = std::min(last, start + stored[i].bytes());
        for (std::uint64_t at = std::max(first, start); at < end; at += piece) {
            const std::uint64_t count = std::min(piece, end - at), within = at - start;
            file.write(reinterpret_cast<const char*>(stored[i].array.data) + within, count, positions[i] + within);
            file.start_sync(positions[i] + within, count);
        }
    }
    slow_down();
    file.sync();
}

/// XXH3 over several pieces of bytes.
class Checksum {
  public:
    Checksum() : state_(XXH3_createState(), XXH3_freeState) {
        PROTALBERT_CHECK(state_ != nullptr, "there is no memory for a checksum's state");
        XXH3_64bits_reset(state_.get());
    }
    void add(const void* data, std::uint64_t bytes) { XXH3_64bits_update(state_.get(), data, bytes); }
    std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

  private:
    std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

// Stays in a core's cache while it is hashed and looked at.
constexpr std::uint64_t cached_bytes = std::uint64_t{1} << 18;

struct Verdict {
    std::uint64_t checksum = 0;
    bool finite = true;
};

/// Checksum and finiteness of an array in one pass over its memory.
Verdict examine(const StoredArray& array) {
    Checksum checksum;
    Verdict verdict;
    constexpr std::uint64_t piece = cached_bytes / sizeof(float);
    for (std::uint64_t at = 0; at < array.count(); at += piece) {
        const std::uint64_t count = std::min(piece, array.count() - at);
        checksum.add(array.array.data + at, count * sizeof(float));
        verdict.finite = all_finite(array.array.data + at, count) && verdict.finite;
    }
    verdict.checksum = checksum.value();
    return verdict;
}

/// Reads this rank's part of the arrays back and compares their checksums with those of the arrays in memory.
void verify_share(const fs::path& path, const std::vector<StoredArray>& stored,
                  const std::vector<std::uint64_t>& positions, const std::vector<std::uint64_t>& sums,
                  const Communicator& communicator) {
    const PositionedFile file(path.string(), false);
    for_own_arrays(stored, communicator, [&](std::size_t i) {
        Checksum checksum;
        std::vector<char> buffer(cached_bytes);
        for (std::uint64_t at = 0; at < stored[i].bytes(); at += cached_bytes) {
            const std::uint64_t count = std::min(cached_bytes, stored[i].bytes() - at);
            file.read(buffer.data(), count, positions[i] + at);
            checksum.add(buffer.data(), count);
        }
        if (checksum.value() != sums[i])
            throw Error(
                fmt::format("{} of {} reads back otherwise than it was written; the disk, the network or a machine's "
                            "memory is faulty: choose another checkpoint.directory, or leave out that machine",
                            stored[i].dataset, path.string()));
    });
}

/// Frees the disk of what could not be finished, also while HDF5 still has it open.
void discard(const fs::path& temporary) {
    std::error_code error;
    if (!fs::exists(temporary, error)) return;
    fs::resize_file(temporary, 0, error);
    fs::remove(temporary, error);
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
    std::vector<std::uint64_t> sums(stored.size(), 0);
    const fs::path temporary = file.string() + temporary_suffix;
    std::vector<std::uint64_t> positions(stored.size());
    try {
        on_root(communicator, [&] {
            require_writable_place(file, "checkpoint");
            fs::remove(temporary);
            std::uint64_t bytes = 0;
            for (const StoredArray& array : stored) bytes += array.bytes();
            require_space(file.parent_path(), bytes, "checkpoint " + file.string());
            try {
                positions = create_file(temporary, header, stored);
            } catch (const Error& error) {
                throw Error(fmt::format("checkpoint {}: {}", file.string(), error.what()));
            }
        });
        communicator.broadcast(positions.data(), positions.size() * sizeof(std::uint64_t), 0);
        all_or_none(communicator, [&] {
            // The ranks hash the arrays together while the disk is at work.
            auto hashing = std::async(std::launch::async, [&] {
                for_own_arrays(stored, communicator, [&](std::size_t i) { sums[i] = stored[i].checksum(); });
            });
            write_share(temporary, stored, positions, communicator);
            hashing.get();
        });
        communicator.sum(sums.data(), static_cast<int>(sums.size()));
        all_or_none(communicator, [&] { verify_share(temporary, stored, positions, sums, communicator); });
        on_root(communicator, [&] {
            set_checksums(temporary, stored, positions, sums);
            rename_durably(temporary, file);
            slow_down();
        });
    } catch (...) {
        if (communicator.root()) discard(temporary);
        throw;
    }
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
        if (source.has_attribute("/", "program")) header.program = source.text_attribute("/", "program");
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
    const std::vector<int> reader = readers(stored, communicator.ranks());
    read_or_refuse(file, [&] {
        const Hdf5File source = open_checkpoint(file, communicator);
        std::vector<std::uint64_t> sums;
        for (const StoredArray& array : stored) sums.push_back(check_stored(source, array));
        // The ranks read and verify different arrays at the same time, then hand them round.
        all_or_none(communicator, [&] {
            for (std::size_t i = 0; i < stored.size(); ++i) {
                if (reader[i] != communicator.rank()) continue;
                source.read_independent(stored[i].dataset, stored[i].array.data, {0, stored[i].shape().at(0)});
                const Verdict verdict = examine(stored[i]);
                if (verdict.checksum != sums[i])
                    throw InputError(
                        fmt::format("checkpoint {} is damaged: the checksum of {} is wrong; use an older "
                                    "one",
                                    file.string(), stored[i].dataset));
                if (!verdict.finite)
                    throw InputError(fmt::format(
                        "checkpoint {}: {}: {}; the training run that wrote it had diverged; use an older one",
                        file.string(), stored[i].dataset,
                        describe_not_finite(stored[i].array.data, stored[i].array.shape)));
            }
        });
    });
    for (std::size_t i = 0; i < stored.size(); ++i)
        communicator.broadcast(stored[i].array.data, stored[i].bytes(), reader[i]);
}

std::string checkpoint_name(std::uint64_t step) { return fmt::format("step_{:08}.h5", step); }

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
    std::vector<std::pair<std::uint64_t, fs::path>> found;
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    // A folder that only cannot be read has checkpoints as far as anybody knows: a run must not start anew beside them.
    if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
        throw Error(fmt::format("cannot look for checkpoints in {}: {}", folder.string(), error.message()));
    for (const fs::directory_entry& entry : entries)
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
    if (files.empty())
        throw InputError(fmt::format("there is no checkpoint (step_*.h5) in folder {}{}", path.string(),
                                     fs::exists(path / "config.json", error)
                                         ? "; with the weights of a Hugging Face folder a run starts by --init"
                                         : ""));
    return files.front();
}

void prune_checkpoints(const fs::path& folder, int keep, std::int64_t keep_every) {
    std::vector<fs::path> files = list_checkpoints(folder);
    files.erase(files.begin(), files.begin() + std::min<std::ptrdiff_t>(std::max(0, keep), std::ssize(files)));
    if (keep_every > 0)
        std::erase_if(files, [&](const fs::path& file) {
            return step_of(file).value() % static_cast<std::uint64_t>(keep_every) == 0;
        });
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        fs::path name = entry.path();
        if (name.extension() == temporary_suffix && step_of(name.replace_extension())) files.push_back(entry.path());
    }
    // A file that cannot be removed costs space, not the run.
    for (const fs::path& file : files) fs::remove(file, error);
}

}  // namespace protalbert

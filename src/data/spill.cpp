#include "data/spill.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <tuple>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/run_lock.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

/// What precedes a document in a spill file; lengths, id lengths, ids and tokens follow without gaps.
struct Header {
    std::uint64_t key;
    std::uint64_t position;
    std::uint64_t residues;
    std::uint32_t file;
    std::uint32_t sequences;
    std::uint64_t id_bytes;
    std::uint64_t has_ids;
};

std::string spill_prefix(const fs::path& output) { return output.filename().string() + ".spill-"; }

InputError another_at_work(const fs::path& output) {
    return InputError(
        fmt::format("another protalbert_prepare is writing {} at this moment; wait for it, or choose another output",
                    output.string()));
}

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// A file opened for reading that closes itself.
class OpenFile {
  public:
    explicit OpenFile(const fs::path& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0)
            throw Error(
                fmt::format("cannot open the temporary file {}: {}; did another run remove it, or is the folder "
                            "not shared by all machines?",
                            path.string(), std::strerror(errno)));
    }
    ~OpenFile() { close(descriptor_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    void read(std::byte* data, std::uint64_t bytes, std::uint64_t offset) const {
        while (bytes > 0) {
            const ssize_t count = pread(descriptor_, data, bytes, static_cast<off_t>(offset));
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0)
                throw Error(fmt::format("cannot read the temporary file {} at byte {}: {}", path_.string(), offset,
                                        count < 0 ? std::strerror(errno) : "it is too short"));
            data += count;
            offset += static_cast<std::uint64_t>(count);
            bytes -= static_cast<std::uint64_t>(count);
        }
    }

  private:
    fs::path path_;
    int descriptor_;
};

/// The document at `at` and the bytes it takes.
std::pair<SpilledDocument, std::uint64_t> parse(const std::byte* at) {
    const auto header = load<Header>(at);
    SpilledDocument document{};
    document.key = header.key;
    document.position = header.position;
    document.file = header.file;
    document.sequences = header.sequences;
    document.residues = header.residues;
    const std::byte* next = at + sizeof(Header);
    document.lengths = next;
    next += sizeof(std::uint32_t) * header.sequences;
    document.id_lengths = next;
    if (header.has_ids) next += sizeof(std::uint16_t) * header.sequences;
    document.ids = reinterpret_cast<const char*>(next);
    next += header.id_bytes;
    document.tokens = reinterpret_cast<const std::uint8_t*>(next);
    next += header.residues;
    return {document, static_cast<std::uint64_t>(next - at)};
}

}  // namespace

std::uint32_t SpilledDocument::length(std::uint32_t sequence) const {
    return load<std::uint32_t>(lengths + sizeof(std::uint32_t) * sequence);
}

std::uint16_t SpilledDocument::id_length(std::uint32_t sequence) const {
    return load<std::uint16_t>(id_lengths + sizeof(std::uint16_t) * sequence);
}

fs::path spill_path(const fs::path& output, int rank) {
    return output.parent_path() / fmt::format("{}{}", spill_prefix(output), rank);
}

int remove_stale_spills(const fs::path& output) {
    const std::string prefix = spill_prefix(output);
    std::error_code error;
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(output.has_parent_path() ? output.parent_path() : ".", error)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(prefix) && name.find_first_not_of("0123456789", prefix.size()) == std::string::npos)
            found.push_back(entry.path());
    }
    // Each rank that is alive holds a lock on its file. All are looked at before one is removed, and held until then,
    // so that no run that begins meanwhile takes them for its own.
    struct Held {
        std::vector<int> descriptors;
        ~Held() {
            for (const int descriptor : descriptors) close(descriptor);
        }
    } held;
    for (const fs::path& file : found) {
        const int descriptor = open(file.c_str(), O_WRONLY | O_CLOEXEC);  // NFS locks no file that is open for reading
        const int failure = descriptor < 0 || flock(descriptor, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
        if (descriptor >= 0) held.descriptors.push_back(descriptor);
        if (failure == EWOULDBLOCK) throw another_at_work(output);
        if (failure != 0 && failure != ENOENT)
            throw InputError(
                fmt::format("{} is the temporary file of another protalbert_prepare, and whether that is still at work "
                            "cannot be told ({}); remove the file when none is, or choose another output",
                            file.string(), std::strerror(failure)));
    }
    for (const fs::path& file : found) fs::remove(file, error);
    return static_cast<int>(found.size());
}

SpillWriter::SpillWriter(const fs::path& output, int rank, std::uint64_t buckets, std::size_t chunk_bytes)
    : path_(spill_path(output, rank)),
      rank_(rank),
      bucket_bits_(std::countr_zero(buckets)),
      chunk_bytes_(chunk_bytes),
      buffers_(buckets),
      totals_(buckets) {
    PROTALBERT_CHECK(std::has_single_bit(buckets), "buckets are the keys' highest bits");
    while (true) {
        descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0)
            throw Error(fmt::format("cannot make the temporary file {}: {}{}", path_.string(), std::strerror(errno),
                                    space_hint(path_)));
        // It is emptied once it is this rank's: another run may have begun at the same moment, or have ended and
        // removed the file.
        if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(descriptor_);
            throw another_at_work(output);
        }
        if (names_open_file(path_, descriptor_)) break;
        close(descriptor_);
    }
    if (ftruncate(descriptor_, 0) != 0) {
        const int failure = errno;
        close(descriptor_);
        throw Error(fmt::format("cannot empty the temporary file {}: {}", path_.string(), std::strerror(failure)));
    }
}

SpillWriter::~SpillWriter() {
    std::error_code error;
    fs::remove(path_, error);
    close(descriptor_);  // only now may another run take the name
}

void SpillWriter::add(const SpillDocument& document) {
    // Shifted in two steps because a shift by all 64 bits is undefined.
    const std::uint64_t bucket = document.key >> 1 >> (63 - bucket_bits_);
    std::vector<std::byte>& buffer = buffers_[bucket];
    const Header header{document.key,
                        document.position,
                        document.tokens.size(),
                        document.file,
                        static_cast<std::uint32_t>(document.lengths.size()),
                        document.ids.size(),
                        document.id_lengths.empty() ? 0U : 1U};
    const std::size_t before = buffer.size();
    const auto append = [&buffer](const void* data, std::size_t bytes) {
        const auto* from = static_cast<const std::byte*>(data);
        buffer.insert(buffer.end(), from, from + bytes);
    };
    if (before == 0) buffer.reserve(chunk_bytes_ + chunk_bytes_ / 4);
    append(&header, sizeof header);
    append(document.lengths.data(), document.lengths.size() * sizeof(std::uint32_t));
    append(document.id_lengths.data(), document.id_lengths.size() * sizeof(std::uint16_t));
    append(document.ids.data(), document.ids.size());
    append(document.tokens.data(), document.tokens.size());

    BucketTotals& total = totals_[bucket];
    ++total.documents;
    total.sequences += document.lengths.size();
    total.residues += document.tokens.size();
    total.bytes += buffer.size() - before;
    if (buffer.size() >= chunk_bytes_) write(bucket);
}

void SpillWriter::write(std::uint64_t bucket) {
    std::vector<std::byte>& buffer = buffers_[bucket];
    std::size_t written = 0;
    while (written < buffer.size()) {
        const ssize_t count = ::write(descriptor_, buffer.data() + written, buffer.size() - written);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            throw Error(
                fmt::format("writing the temporary file {} failed: {}{}; choose an output on a disk with more "
                            "space",
                            path_.string(), std::strerror(errno), space_hint(path_)));
        written += static_cast<std::size_t>(count);
    }
    chunks_.push_back({bucket, static_cast<std::uint64_t>(rank_), file_bytes_, buffer.size()});
    file_bytes_ += buffer.size();
    buffer.clear();
    // A document of many proteins may have stretched it; memory stays bounded by giving that back.
    if (buffer.capacity() > 2 * chunk_bytes_) buffer = {};
}

void SpillWriter::finish() {
    for (std::uint64_t bucket = 0; bucket < buffers_.size(); ++bucket)
        if (!buffers_[bucket].empty()) write(bucket);
    buffers_ = {};
    // Network file systems show a file's bytes to other machines once one of its descriptors was closed.
    const int copy = dup(descriptor_);
    if (copy < 0 || close(copy) != 0)
        throw Error(fmt::format("writing the temporary file {} failed: {}{}", path_.string(), std::strerror(errno),
                                space_hint(path_)));
}

const std::vector<SpilledDocument>& SpillReader::read(std::span<const SpillChunk> chunks, std::uint64_t first_key,
                                                      std::uint64_t last_key) {
    std::vector<SpillChunk> sorted(chunks.begin(), chunks.end());
    std::sort(sorted.begin(), sorted.end(), [](const SpillChunk& a, const SpillChunk& b) {
        return std::tie(a.rank, a.offset) < std::tie(b.rank, b.offset);
    });
    bytes_.clear();
    documents_.clear();
    const bool all = first_key == 0 && last_key == ~std::uint64_t{0};
    if (all)
        bytes_.reserve(std::accumulate(sorted.begin(), sorted.end(), std::uint64_t{0},
                                       [](std::uint64_t sum, const SpillChunk& chunk) { return sum + chunk.bytes; }));
    for (std::size_t i = 0; i < sorted.size();) {
        const OpenFile file(spill_path(output_, static_cast<int>(sorted[i].rank)));
        for (const std::uint64_t rank = sorted[i].rank; i < sorted.size() && sorted[i].rank == rank; ++i) {
            const std::uint64_t before = bytes_.size();
            if (all) {
                bytes_.resize(before + sorted[i].bytes);
                file.read(bytes_.data() + before, sorted[i].bytes, sorted[i].offset);
                continue;
            }
            chunk_.resize(sorted[i].bytes);
            file.read(chunk_.data(), sorted[i].bytes, sorted[i].offset);
            for (std::uint64_t begin = 0; begin < chunk_.size();) {
                const auto [document, bytes] = parse(chunk_.data() + begin);
                if (document.key >= first_key && document.key <= last_key)
                    bytes_.insert(bytes_.end(), chunk_.data() + begin, chunk_.data() + begin + bytes);
                begin += bytes;
            }
        }
    }
    for (std::uint64_t begin = 0; begin < bytes_.size();) {
        const auto [document, bytes] = parse(bytes_.data() + begin);
        documents_.push_back(document);
        begin += bytes;
    }
    std::sort(documents_.begin(), documents_.end(), [](const SpilledDocument& a, const SpilledDocument& b) {
        return std::tie(a.key, a.file, a.position) < std::tie(b.key, b.file, b.position);
    });
    return documents_;
}

}  // namespace protalbert

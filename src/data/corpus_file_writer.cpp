#include "data/corpus_file_writer.hpp"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/error.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"
#include "io/seal.hpp"

namespace protalbert {
namespace {

constexpr std::int64_t format_version = 1;
// Written to HDF5 at once: large enough for parallel file systems, and still in the processor's cache when it is copied
// to the file (pieces of 8 MiB took a third more system time).
constexpr std::size_t piece_residues = std::size_t{1} << 20;
constexpr std::size_t piece_sequences = std::size_t{1} << 17;

/// Where a bucket begins in the output.
struct Position {
    std::uint64_t document = 0;
    std::uint64_t sequence = 0;
    std::uint64_t residue = 0;
};

/// The buckets of this rank and all their chunks.
struct Share {
    std::uint64_t first = 0, last = 0;  // buckets [first, last)
    Position begin, end;                // in the output
    std::vector<BucketTotals> totals;   // [last - first] over all ranks
    std::vector<SpillChunk> chunks;     // in the order of buckets
};

/// Deals the buckets out in runs of about equal bytes and sends each chunk's place to the bucket's rank. Collective.
Share deal_buckets(const SpillWriter& spill, const Communicator& communicator) {
    std::vector<BucketTotals> totals = spill.totals();
    static_assert(sizeof(BucketTotals) == 4 * sizeof(std::uint64_t), "summed as a flat array");
    communicator.sum(reinterpret_cast<std::uint64_t*>(totals.data()), static_cast<int>(4 * totals.size()));
    std::uint64_t all_bytes = 0;
    for (const BucketTotals& total : totals) all_bytes += total.bytes;

    const auto ranks = static_cast<std::uint64_t>(communicator.ranks());
    const auto mine = static_cast<std::uint64_t>(communicator.rank());
    std::vector<std::uint64_t> owner(totals.size());
    Share share;
    Position position;
    std::uint64_t bytes = 0;
    bool begun = false;
    for (std::uint64_t bucket = 0; bucket < totals.size(); ++bucket) {
        const BucketTotals& total = totals[bucket];
        const double middle = static_cast<double>(bytes) + 0.5 * static_cast<double>(total.bytes);
        owner[bucket] = std::min(ranks - 1, static_cast<std::uint64_t>(middle / static_cast<double>(all_bytes) *
                                                                       static_cast<double>(ranks)));
        if (owner[bucket] == mine && !begun) {
            begun = true;
            share.first = bucket;
            share.begin = position;
        }
        bytes += total.bytes;
        position.document += total.documents;
        position.sequence += total.sequences;
        position.residue += total.residues;
        if (owner[bucket] == mine) {
            share.last = bucket + 1;
            share.end = position;
            share.totals.push_back(total);
        }
    }

    std::vector<std::vector<std::byte>> outgoing(ranks);
    for (const SpillChunk& chunk : spill.chunks()) {
        const auto* from = reinterpret_cast<const std::byte*>(&chunk);
        std::vector<std::byte>& to = outgoing[owner[chunk.bucket]];
        to.insert(to.end(), from, from + sizeof chunk);
    }
    for (const std::vector<std::byte>& incoming : communicator.exchange(outgoing)) {
        const std::size_t before = share.chunks.size();
        share.chunks.resize(before + incoming.size() / sizeof(SpillChunk));
        if (!incoming.empty()) std::memcpy(share.chunks.data() + before, incoming.data(), incoming.size());
    }
    std::stable_sort(share.chunks.begin(), share.chunks.end(),
                     [](const SpillChunk& a, const SpillChunk& b) { return a.bucket < b.bucket; });
    return share;
}

/// Collects sorted documents and writes them in large pieces.
class PieceWriter {
  public:
    PieceWriter(Hdf5File& file, const Position& begin, std::size_t id_width)
        : file_(file), next_(begin), written_(begin), id_width_(id_width) {}

    void add(const SpilledDocument& document) {
        documents_.push_back(next_.sequence);
        const std::uint8_t* tokens = document.tokens;
        const char* id = document.ids;
        for (std::uint32_t i = 0; i < document.sequences; ++i) {
            const std::uint32_t length = document.length(i);
            offsets_.push_back(next_.residue);
            tokens_.insert(tokens_.end(), tokens, tokens + length);
            // Order matters: a sequence's number and whether it begins a document are its seed. Sums do not depend on
            // who adds first.
            const std::uint64_t hash = XXH3_64bits_withSeed(tokens, length, 2 * next_.sequence + (i == 0));
            hash_ += hash;
            checksums_.push_back(static_cast<std::uint32_t>(hash));
            tokens += length;
            next_.residue += length;
            ++next_.sequence;
            if (id_width_ > 0) {
                const std::uint16_t bytes = document.id_length(i);
                ids_.insert(ids_.end(), id, id + bytes);
                ids_.insert(ids_.end(), id_width_ - bytes, '\0');
                id += bytes;
            }
        }
        ++next_.document;
        if (tokens_.size() >= piece_residues || offsets_.size() >= piece_sequences) write();
    }

    void write() {
        file_.write_independent("/tokens", tokens_.data(), {written_.residue, tokens_.size()});
        file_.write_independent("/offsets", offsets_.data(), {written_.sequence, offsets_.size()});
        file_.write_independent("/checksums", checksums_.data(), {written_.sequence, checksums_.size()});
        file_.write_independent("/documents", documents_.data(), {written_.document, documents_.size()});
        if (id_width_ > 0) file_.write_independent("/ids", ids_.data(), {written_.sequence, offsets_.size()});
        tokens_.clear();
        offsets_.clear();
        checksums_.clear();
        documents_.clear();
        ids_.clear();
        written_ = next_;
    }

    const Position& next() const { return next_; }
    std::uint64_t hash() const { return hash_; }

  private:
    Hdf5File& file_;
    Position next_;
    Position written_;
    std::size_t id_width_;
    std::uint64_t hash_ = 0;
    std::vector<std::uint8_t> tokens_;
    std::vector<std::uint64_t> offsets_;
    std::vector<std::uint32_t> checksums_;
    std::vector<std::uint64_t> documents_;
    std::vector<char> ids_;
};

/// Sorted documents lie all over memory: asks for the first bytes of one that will be needed soon.
void prefetch(const std::vector<SpilledDocument>& documents, std::size_t i) {
    if (i >= documents.size()) return;
    constexpr std::size_t cache_line = 64;
    const std::byte* start = documents[i].lengths;
    for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(start + line * cache_line);
}

/// Gathers, sorts and writes the buckets of this rank, as many at once as `group_bytes` allow.
std::uint64_t write_share(Hdf5File& file, const std::filesystem::path& output, const Share& share, int bucket_bits,
                          std::size_t id_width, std::uint64_t group_bytes,
                          const std::function<void(std::uint64_t, std::uint64_t)>& advance, FailureBell& bell) {
    constexpr std::uint64_t last_key = ~std::uint64_t{0};
    PieceWriter writer(file, share.begin, id_width);
    SpillReader reader(output);
    const auto add_all = [&](std::span<const SpillChunk> chunks, std::uint64_t first, std::uint64_t last) {
        bell.look();
        std::uint64_t looked = writer.next().residue;
        const std::vector<SpilledDocument>& documents = reader.read(chunks, first, last);
        for (std::size_t i = 0; i < documents.size(); ++i) {
            prefetch(documents, i + 4);
            writer.add(documents[i]);
            if (writer.next().residue - looked < piece_residues) continue;
            looked = writer.next().residue;
            bell.look();
            if (advance) advance(looked - share.begin.residue, share.end.residue - share.begin.residue);
        }
    };
    auto chunk = share.chunks.begin();
    for (std::uint64_t bucket = share.first; bucket < share.last;) {
        const auto begin = chunk;
        const std::uint64_t first_bucket = bucket;
        std::uint64_t bytes = 0;
        do {
            bytes += share.totals[bucket - share.first].bytes;
            ++bucket;
        } while (bucket < share.last && bytes + share.totals[bucket - share.first].bytes <= group_bytes);
        while (chunk != share.chunks.end() && chunk->bucket < bucket) ++chunk;
        const std::span<const SpillChunk> chunks(begin, chunk);
        if (bytes <= group_bytes) {
            add_all(chunks, 0, last_key);
            continue;
        }
        // One bucket that is too large: its keys in equal ranges, each a pass over its chunks.
        const std::uint64_t width = last_key >> bucket_bits;
        const std::uint64_t first = bucket_bits == 0 ? 0 : first_bucket << (64 - bucket_bits);
        const std::uint64_t ranges = (bytes + group_bytes - 1) / group_bytes;
        const std::uint64_t step = width / ranges;
        for (std::uint64_t range = 0; range < ranges; ++range)
            add_all(chunks, first + range * step + (range > 0),
                    range + 1 < ranges ? first + (range + 1) * step : first + width);
    }
    writer.write();
    PROTALBERT_CHECK(writer.next().residue == share.end.residue && writer.next().sequence == share.end.sequence &&
                         writer.next().document == share.end.document,
                     "documents were lost between spill files and " + file.path());
    return writer.hash();
}

void write_attributes(Hdf5File& file, const CorpusStatistics& statistics, const CorpusDescription& description,
                      std::uint64_t hash) {
    write_format(file, "protalbert corpus", format_version);
    file.set_attribute("/", "seed", description.seed);
    file.set_attribute("/", "holdout", description.holdout);
    file.set_attribute("/", "part", description.part);
    file.set_attribute("/", "sources", description.sources);
    file.set_attribute("/", "hash", hash);
    file.set_attribute("/", "entropy", statistics.entropy());
    file.set_attribute("/", "sequences", statistics.sequences);
    file.set_attribute("/", "documents", statistics.documents);
    file.set_attribute("/", "residues", statistics.residues);
    file.set_attribute("/", "longest", statistics.longest);
}

}  // namespace

std::uint64_t write_corpus_file(const std::filesystem::path& path, const std::filesystem::path& output,
                                const SpillWriter& spill, const CorpusStatistics& statistics,
                                const CorpusDescription& description, std::uint64_t group_bytes,
                                const std::function<void(std::uint64_t, std::uint64_t)>& advance,
                                const Communicator& communicator, FailureBell& bell) {
    const Share share = deal_buckets(spill, communicator);
    const std::vector<std::string>& pieces = description.vocabulary->pieces;
    std::size_t longest_piece = 1;
    for (const std::string& piece : pieces) longest_piece = std::max(longest_piece, piece.size());

    Hdf5File file = Hdf5File::create(path.string(), communicator);
    file.create_dataset("/tokens", Element::uint8, {statistics.residues});
    file.create_dataset("/offsets", Element::uint64, {statistics.sequences + 1});
    file.create_dataset("/checksums", Element::uint32, {statistics.sequences});
    file.create_dataset("/documents", Element::uint64, {statistics.documents + 1});
    file.create_dataset("/composition", Element::uint64, {pieces.size()});
    file.create_strings("/vocabulary", pieces.size(), longest_piece);
    const std::size_t id_width = description.ids ? std::max<std::size_t>(1, statistics.longest_id) : 0;
    if (description.ids) file.create_strings("/ids", statistics.sequences, id_width);

    std::uint64_t hash = 0;
    bell.run([&] {
        const int bucket_bits = std::countr_zero(spill.totals().size());
        hash = write_share(file, output, share, bucket_bits, id_width, group_bytes, advance, bell);
        if (!communicator.root()) return;
        file.write_independent("/offsets", &statistics.residues, {statistics.sequences, 1});
        file.write_independent("/documents", &statistics.sequences, {statistics.documents, 1});
        file.write_independent("/composition", statistics.composition().data(), {0, pieces.size()});
    });
    file.write_strings("/vocabulary", communicator.root() ? pieces : std::vector<std::string>(), 0);
    communicator.sum(&hash, 1);
    std::string tail;
    for (const std::string& piece : pieces) tail += piece + '\n';
    hash = XXH3_64bits_withSeed(tail.data(), tail.size(), hash);
    write_attributes(file, statistics, description, hash);
    // What grows with the corpus is left out of the seal, which every opening reads: sequences have /checksums.
    std::vector<ByteRange> large;
    const auto leave_out = [&](const std::string& name, std::uint64_t bytes) {
        const std::uint64_t first = file.file_offset(name);
        large.push_back({first, first + bytes});
    };
    leave_out("/tokens", statistics.residues);
    leave_out("/offsets", (statistics.sequences + 1) * sizeof(std::uint64_t));
    leave_out("/checksums", statistics.sequences * sizeof(std::uint32_t));
    leave_out("/documents", (statistics.documents + 1) * sizeof(std::uint64_t));
    if (description.ids) leave_out("/ids", statistics.sequences * id_width);
    file.close();
    on_root(communicator, [&] { seal_file(path.string(), large); });
    return hash;
}

}  // namespace protalbert

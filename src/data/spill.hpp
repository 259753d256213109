#pragma once
// Temporary files of the external shuffle. Every rank appends the documents that it reads to one file, in buckets by
// the highest bits of their keys; later each bucket is gathered from the files of all ranks, sorted and written.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace protalbert {

/// A document on its way. Documents are ordered by (key, file, position), which is unique.
struct SpillDocument {
    std::uint64_t key = 0;                  ///< random
    std::uint32_t file = 0;                 ///< index of the input
    std::uint64_t position = 0;             ///< in the decompressed input
    std::vector<std::uint32_t> lengths;     ///< [sequences] in residues
    std::vector<std::uint8_t> tokens;       ///< [sum of lengths]
    std::vector<std::uint16_t> id_lengths;  ///< [sequences] in bytes, or empty
    std::string ids;                        ///< [sum of id_lengths]

    void clear() {
        lengths.clear();
        tokens.clear();
        id_lengths.clear();
        ids.clear();
    }
};

/// What a bucket holds.
struct BucketTotals {
    std::uint64_t documents = 0;
    std::uint64_t sequences = 0;
    std::uint64_t residues = 0;
    std::uint64_t bytes = 0;  ///< in spill files
};

/// Consecutive bytes of one bucket in one rank's spill file; documents are never divided.
struct SpillChunk {
    std::uint64_t bucket = 0;
    std::uint64_t rank = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

/// The spill file of a rank beside `output`.
std::filesystem::path spill_path(const std::filesystem::path& output, int rank);

/// Removes spill files that an interrupted run left beside `output` and returns their number. Throws InputError, and
/// removes none, when the run that wrote them is still at work and where the file system cannot tell.
int remove_stale_spills(const std::filesystem::path& output);

/// Writes one rank's spill file and removes it at its end.
class SpillWriter {
  public:
    /// `buckets`: a power of two. A bucket's buffer is written once it holds `chunk_bytes`.
    SpillWriter(const std::filesystem::path& output, int rank, std::uint64_t buckets, std::size_t chunk_bytes);
    ~SpillWriter();
    SpillWriter(const SpillWriter&) = delete;
    SpillWriter& operator=(const SpillWriter&) = delete;

    /// Throws Error when the disk is full.
    void add(const SpillDocument& document);
    /// Writes what is buffered; from then on other ranks may read.
    void finish();

    const std::vector<BucketTotals>& totals() const { return totals_; }  ///< [buckets]
    const std::vector<SpillChunk>& chunks() const { return chunks_; }

  private:
    void write(std::uint64_t bucket);

    std::filesystem::path path_;
    int rank_;
    int descriptor_ = -1;
    std::uint64_t file_bytes_ = 0;
    int bucket_bits_ = 0;
    std::size_t chunk_bytes_;
    std::vector<std::vector<std::byte>> buffers_;  // [buckets]
    std::vector<BucketTotals> totals_;             // [buckets]
    std::vector<SpillChunk> chunks_;
};

/// A document in memory read from spill files, as views of their bytes. The arrays need not be aligned.
struct SpilledDocument {
    std::uint64_t key;
    std::uint64_t position;
    std::uint32_t file;
    std::uint32_t sequences;
    std::uint64_t residues;
    const std::byte* lengths;     ///< uint32 [sequences]
    const std::byte* id_lengths;  ///< uint16 [sequences] when ids were kept
    const char* ids;
    const std::uint8_t* tokens;  ///< [residues]

    std::uint32_t length(std::uint32_t sequence) const;
    std::uint16_t id_length(std::uint32_t sequence) const;
};

/// Documents of a range of keys, gathered from the spill files of all ranks.
class SpillReader {
  public:
    explicit SpillReader(std::filesystem::path output) : output_(std::move(output)) {}
    /// Documents of `chunks` with first_key <= key <= last_key in their order. Valid until the next call. Throws Error
    /// when a spill file cannot be read.
    const std::vector<SpilledDocument>& read(std::span<const SpillChunk> chunks, std::uint64_t first_key,
                                             std::uint64_t last_key);

  private:
    std::filesystem::path output_;
    std::vector<std::byte> bytes_;
    std::vector<std::byte> chunk_;
    std::vector<SpilledDocument> documents_;
};

}  // namespace protalbert

#include "data/corpus.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>

#include "base/error.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"

namespace protalbert {
namespace {

constexpr std::int64_t newest_version = 1;

/// What rank 0 finds in the file, for all ranks.
struct Tables {
    std::uint64_t sequences = 0;
    std::uint64_t residues = 0;
    std::uint64_t hash = 0;
    double entropy = 0;
    std::uint64_t tokens_position = 0;
    std::uint64_t offsets_position = 0;
    std::uint64_t checksums_position = 0;
    std::uint64_t vocabulary_bytes = 0;
};

/// Length of a list of the given elements.
std::uint64_t list_length(const Hdf5File& file, const std::string& name, Element element) {
    const std::vector<std::uint64_t> shape = file.shape(name);
    if (shape.size() != 1 || file.element(name) != element)
        throw InputError(fmt::format("{} is no valid corpus: {} is not a list of {}; prepare it anew", file.path(),
                                     name,
                                     element == Element::uint8    ? "uint8"
                                     : element == Element::uint32 ? "uint32"
                                                                  : "uint64"));
    return shape[0];
}

/// Throws unless a table begins with 0 and ends with `last`.
void check_table(const Hdf5File& file, const std::string& name, std::uint64_t length, std::uint64_t last,
                 const char* what) {
    std::uint64_t ends[2] = {1, 0};
    if (length > 0) {
        file.read_independent(name, &ends[0], {0, 1});
        file.read_independent(name, &ends[1], {length - 1, 1});
    }
    if (length == 0 || ends[0] != 0 || ends[1] != last)
        throw InputError(
            fmt::format("{} is damaged: {} must run from 0 to the {} {}, not from {} to {}; prepare it anew",
                        file.path(), name, last, what, ends[0], ends[1]));
}

Tables inspect(const std::string& path, std::vector<std::string>& pieces) {
    const Hdf5File file = Hdf5File::open_alone(path);
    check_format(file, "protalbert corpus", newest_version);
    Tables tables;
    tables.residues = list_length(file, "/tokens", Element::uint8);
    const std::uint64_t offsets = list_length(file, "/offsets", Element::uint64);
    const std::uint64_t documents = list_length(file, "/documents", Element::uint64);
    if (offsets < 2 || documents < 2) throw InputError(fmt::format("{} holds no sequences; prepare it anew", path));
    tables.sequences = offsets - 1;
    check_table(file, "/offsets", offsets, tables.residues, "residues of /tokens");
    check_table(file, "/documents", documents, tables.sequences, "sequences of /offsets");
    tables.tokens_position = file.file_offset("/tokens");
    tables.offsets_position = file.file_offset("/offsets");
    const std::uint64_t end =
        std::max(tables.tokens_position + tables.residues, tables.offsets_position + offsets * sizeof(std::uint64_t));
    if (std::filesystem::file_size(path) < end)
        throw InputError(fmt::format("{} is incomplete: {} bytes of at least {}; copy or prepare it anew", path,
                                     std::filesystem::file_size(path), end));
    // A corpus made by other means may lack all three.
    if (file.exists("/checksums")) {
        if (list_length(file, "/checksums", Element::uint32) != tables.sequences)
            throw InputError(
                fmt::format("{} is damaged: /checksums and /offsets are of different numbers of "
                            "sequences; prepare it anew",
                            path));
        tables.checksums_position = file.file_offset("/checksums");
    }
    tables.hash = file.has_attribute("/", "hash") ? file.unsigned_attribute("/", "hash") : 0;
    tables.entropy = file.has_attribute("/", "entropy") ? file.number_attribute("/", "entropy")
                                                        : std::numeric_limits<double>::quiet_NaN();
    pieces = file.read_strings("/vocabulary");
    return tables;
}

/// Throws InputError when the file ends before `bytes` are read.
void read_at(int descriptor, void* data, std::uint64_t bytes, std::uint64_t position, const std::string& path) {
    auto* place = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t count = pread(descriptor, place, bytes, static_cast<off_t>(position));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            throw Error(fmt::format("reading {} failed at byte {}: {}", path, position, std::strerror(errno)));
        if (count == 0) throw InputError(fmt::format("{} ends at byte {}: it was cut off", path, position));
        place += count;
        position += static_cast<std::uint64_t>(count);
        bytes -= static_cast<std::uint64_t>(count);
    }
}

}  // namespace

Corpus::Corpus(const std::string& path, const Communicator& communicator) : path_(path) {
    Tables tables;
    std::string text;  // the pieces, one a line
    on_root(communicator, [&] {
        std::vector<std::string> pieces;
        tables = inspect(path, pieces);
        for (const std::string& piece : pieces) text += piece + '\n';
    });
    communicator.broadcast(&tables, sizeof tables, 0);
    text = communicator.broadcast(text, 0);
    std::vector<std::string> pieces;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = text.find('\n', begin);
        pieces.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    vocabulary_ = make_vocabulary(std::move(pieces), path + ": /vocabulary");
    sequences_ = tables.sequences;
    residues_ = tables.residues;
    hash_ = tables.hash;
    entropy_ = tables.entropy;
    tokens_position_ = tables.tokens_position;
    offsets_position_ = tables.offsets_position;
    checksums_position_ = tables.checksums_position;
    all_or_none(communicator, [&] {
        descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0)
            throw InputError(fmt::format("rank {} cannot open {}: {}; is its folder shared by all machines?",
                                         communicator.rank(), path, std::strerror(errno)));
    });
}

Corpus::~Corpus() {
    if (descriptor_ >= 0) close(descriptor_);
}

CorpusIndex Corpus::read_index(std::uint64_t first, std::uint64_t count) const {
    PROTALBERT_CHECK(first <= sequences_ && count <= sequences_ - first, "sequences of " + path_);
    CorpusIndex index{.first = first, .offsets = std::vector<std::uint64_t>(count + 1), .checksums = {}};
    read_at(descriptor_, index.offsets.data(), (count + 1) * sizeof(std::uint64_t),
            offsets_position_ + first * sizeof(std::uint64_t), path_);
    if (!std::is_sorted(index.offsets.begin(), index.offsets.end()) || index.offsets.back() > residues_)
        throw InputError(
            fmt::format("{} is damaged: /offsets decrease or leave the file between sequences {} and {}; "
                        "prepare it anew",
                        path_, first, first + count));
    if (checksums_position_ == 0) return index;
    index.checksums.resize(count);
    read_at(descriptor_, index.checksums.data(), count * sizeof(std::uint32_t),
            checksums_position_ + first * sizeof(std::uint32_t), path_);
    return index;
}

void Corpus::read(const CorpusIndex& index, std::uint64_t first, std::uint64_t count, Piece& piece) const {
    PROTALBERT_CHECK(first >= index.first && first + count <= index.first + index.count(), "the index of " + path_);
    const auto offsets = std::span(index.offsets).subspan(first - index.first, count + 1);
    piece.first = first;
    piece.offsets.resize(count + 1);
    for (std::uint64_t i = 0; i <= count; ++i) piece.offsets[i] = offsets[i] - offsets[0];
    piece.tokens.resize(piece.offsets.back());
    read_at(descriptor_, piece.tokens.data(), piece.tokens.size(), tokens_position_ + offsets[0], path_);
    std::uint8_t largest = 0;
    for (const std::uint8_t token : piece.tokens) largest = std::max(largest, token);
    if (largest >= vocabulary_.size())
        throw InputError(
            fmt::format("{} is damaged: token {} between sequences {} and {}, and the vocabulary has {} "
                        "pieces; prepare it anew",
                        path_, largest, first, first + count, vocabulary_.size()));
    if (index.checksums.empty()) return;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint8_t* const tokens = piece.tokens.data() + piece.offsets[i];
        const std::uint64_t length = piece.offsets[i + 1] - piece.offsets[i];
        const auto fits = [&](std::uint64_t begins_document) {
            const std::uint64_t hash = XXH3_64bits_withSeed(tokens, length, 2 * (first + i) + begins_document);
            return static_cast<std::uint32_t>(hash) == index.checksums[first - index.first + i];
        };
        if (!fits(1) && !fits(0))
            throw InputError(fmt::format("{} is damaged: the checksum of sequence {} is wrong; copy or prepare it anew",
                                         path_, first + i));
    }
}

}  // namespace protalbert

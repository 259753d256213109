// Files of proteins. First byte: format (2 bits), what to do with letters (2 bits), compression by this fuzzer (1 bit);
// then the file. However many ranks share the file, they read the same records.

#include <zlib.h>

#include "data/sequence_reader.hpp"
#include "fuzzing.hpp"

using namespace protalbert;
using namespace fuzzing;

namespace {

struct Read {
    std::string id;
    std::vector<std::uint8_t> tokens;
    std::uint64_t position;
    bool starts_document;
    bool operator==(const Read&) const = default;
};

/// What `ranks` ranks read, and what the first of them to refuse says.
struct Outcome {
    std::vector<Read> records;
    std::optional<std::string> refused;
};

Outcome read_with(const std::string& path, InputFormat format, InvalidLetters invalid, int ranks) {
    static const Vocabulary vocabulary = default_vocabulary();
    Outcome outcome;
    InputCounts counts;
    std::uint64_t residues = 0;
    outcome.refused = refusal([&] {
        for (const std::vector<InputPart>& parts : plan_input({path}, format, ranks))
            for (const InputPart& part : parts)
                read_sequences(part, vocabulary, invalid, counts, [&](const SequenceRecord& record) {
                    for (const std::uint8_t token : record.tokens) {
                        const std::string& piece = vocabulary.pieces.at(token);
                        require(
                            piece.size() == 1 && vocabulary.residue_ids[static_cast<unsigned char>(piece[0])] == token,
                            "a token is the id of a residue");
                    }
                    require(record.id.size() <= longest_id, "ids are bounded");
                    residues += record.tokens.size();
                    outcome.records.push_back({record.id, record.tokens, record.position, record.starts_document});
                });
    });
    require(counts.residues == residues && counts.records == outcome.records.size(), "counts are of what is delivered");
    require(outcome.refused || invalid == InvalidLetters::skip || counts.skipped_records == 0,
            "records are skipped where that is wanted");
    return outcome;
}

std::string compressed(std::string_view content) {
    z_stream stream{};
    require(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK, "zlib starts");
    std::string packed(deflateBound(&stream, content.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    stream.avail_in = static_cast<uInt>(content.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib compresses");
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static MemoryFile file;
    std::string_view bytes = text(data, size);
    const unsigned choice = take_byte(bytes);
    const auto format = static_cast<InputFormat>(choice % 4 % 3);
    const auto invalid = static_cast<InvalidLetters>(choice / 4 % 4 % 3);
    const bool compress = (choice / 16 & 1) != 0;
    const std::string& path = compress ? file.set(compressed(bytes)) : file.set(bytes);
    const Outcome whole = read_with(path, format, invalid, 1);
    const Outcome shared = read_with(path, format, invalid, 3);
    require(whole.refused == shared.refused, "three ranks refuse what one does: " + whole.refused.value_or("nothing") +
                                                 " / " + shared.refused.value_or("nothing"));
    require(whole.refused || whole.records == shared.records, "three ranks read what one does");
    if (!whole.refused) estimate_input(path);
    return 0;
}

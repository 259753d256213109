#include "data/vocabulary.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <unordered_map>

#include "base/error.hpp"
#include "base/file_system.hpp"

namespace protalbert {
namespace {

constexpr std::string_view amino_acids = "ACDEFGHIKLMNPQRSTVWY";
// Read as X, as ProtTrans does: selenocysteine, pyrrolysine and the ambiguous Z and B.
constexpr std::string_view replaced_letters = "UZOB";
// U+2581, which SentencePiece puts before a piece that begins a word.
constexpr std::string_view word_marker = "\xE2\x96\x81";
// Corpora store ids in a byte.
constexpr std::size_t largest_vocabulary = 256;
// A vocabulary is at most 256 short pieces; a SentencePiece model adds its normalisation tables (a megabyte at most).
constexpr std::size_t largest_file = std::size_t{64} << 20;

std::string read_whole_file(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream)
        throw InputError(
            fmt::format("cannot open the vocabulary {}: {}; {}", file, std::strerror(errno), path_advice(file)));
    std::string content;
    // As much as there is, not the most that there may be: that would be 64 MiB for a few hundred bytes.
    for (std::size_t piece = 4096; stream && content.size() <= largest_file; piece *= 2) {
        const std::size_t before = content.size();
        content.resize(before + std::min(piece, largest_file + 1 - before));
        stream.read(content.data() + before, static_cast<std::streamsize>(content.size() - before));
        content.resize(before + static_cast<std::size_t>(stream.gcount()));
    }
    if (stream.bad() || (stream.fail() && !stream.eof()))
        throw InputError(fmt::format("cannot read the vocabulary {}: is it a folder?", file));
    if (content.empty()) throw InputError(fmt::format("the vocabulary {} is empty", file));
    if (content.size() > largest_file)
        throw InputError(fmt::format("{} is larger than 64 MiB: it is no vocabulary", file));
    return content;
}

std::string without_marker(std::string piece) {
    if (piece.size() > word_marker.size() && piece.starts_with(word_marker)) piece.erase(0, word_marker.size());
    return piece;
}

/// A SentencePiece model is a protocol buffer that begins with field 1, a piece (byte 0x0A), and holds control bytes
/// (the lengths of its pieces); a text vocabulary has neither.
bool looks_like_sentencepiece(const std::string& content) {
    const bool control = std::any_of(content.begin(), content.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t';
    });
    return content.front() == '\n' && control;
}

std::vector<std::string> sentencepiece_pieces(const std::string& content, const std::string& file) {
    sentencepiece::SentencePieceProcessor processor;
    const auto status = processor.LoadFromSerializedProto(content);
    if (!status.ok())
        throw InputError(
            fmt::format("{} begins like a SentencePiece model but cannot be loaded: {}", file, status.error_message()));
    std::vector<std::string> pieces;
    for (int id = 0; id < processor.GetPieceSize(); ++id) pieces.push_back(processor.IdToPiece(id));
    return pieces;
}

std::vector<std::string> text_pieces(const std::string& content, const std::string& file) {
    std::vector<std::string> pieces;
    std::istringstream lines(content);
    std::size_t number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (line.empty())
            throw InputError(fmt::format("{}:{}: empty line; a vocabulary has one piece a line", file, number));
        for (const char c : line)
            if (static_cast<unsigned char>(c) <= ' ' || c == 0x7F)
                throw InputError(
                    fmt::format("{}:{}: a piece holds a space or control character (byte 0x{:02x}); a "
                                "vocabulary is text with one piece a line, or a SentencePiece model",
                                file, number, static_cast<unsigned char>(c)));
        pieces.push_back(std::move(line));
        if (pieces.size() > largest_vocabulary)
            throw InputError(fmt::format("{} has more than {} lines; a protein vocabulary has at most {} pieces", file,
                                         largest_vocabulary, largest_vocabulary));
    }
    return pieces;
}

}  // namespace

Vocabulary make_vocabulary(std::vector<std::string> pieces, const std::string& origin) {
    if (pieces.size() > largest_vocabulary)
        throw InputError(fmt::format("{} has {} pieces; a protein vocabulary has at most {}", origin, pieces.size(),
                                     largest_vocabulary));
    std::unordered_map<std::string, int> ids;
    for (std::string& piece : pieces) {
        piece = without_marker(std::move(piece));
        const int id = static_cast<int>(ids.size());
        const auto [place, fresh] = ids.emplace(piece, id);
        if (!fresh)
            throw InputError(
                fmt::format("{} has the piece {} twice, as ids {} and {}", origin, piece, place->second, id));
    }
    // ProtBert's files spell the first two with brackets.
    const auto find = [&](const std::string& name, const std::string& other_spelling) {
        auto place = ids.find(name);
        if (place == ids.end() && !other_spelling.empty()) place = ids.find(other_spelling);
        if (place == ids.end())
            throw InputError(
                fmt::format("{} has no piece {}; <pad> <unk> [CLS] [SEP] [MASK], the 20 amino acids and X "
                            "are needed, one piece each",
                            origin, name));
        return place->second;
    };

    Vocabulary vocabulary;
    vocabulary.pad = find("<pad>", "[PAD]");
    vocabulary.unknown = find("<unk>", "[UNK]");
    vocabulary.cls = find("[CLS]", "");
    vocabulary.sep = find("[SEP]", "");
    vocabulary.mask = find("[MASK]", "");
    vocabulary.x = find("X", "");
    vocabulary.residue_ids.fill(-1);
    vocabulary.replaced.fill(false);
    const auto set = [&](char letter, int id) {
        const int lower = std::tolower(static_cast<unsigned char>(letter));
        vocabulary.residue_ids[static_cast<unsigned char>(letter)] = static_cast<std::int16_t>(id);
        vocabulary.residue_ids[static_cast<std::size_t>(lower)] = static_cast<std::int16_t>(id);
        return lower;
    };
    for (const char letter : amino_acids) set(letter, find(std::string(1, letter), ""));
    set('X', vocabulary.x);
    for (const char letter : replaced_letters) {
        const int lower = set(letter, vocabulary.x);
        vocabulary.replaced[static_cast<unsigned char>(letter)] = true;
        vocabulary.replaced[static_cast<std::size_t>(lower)] = true;
    }
    vocabulary.pieces = std::move(pieces);
    return vocabulary;
}

Vocabulary default_vocabulary() {
    // Ids 0-4, L 13, S 14 and V 18 are ProtAlbert's, as are the eight symbols from 5 and the twenty-one letters from
    // 13; the places within are not published outside its spiece.model. Letters follow their frequency in UniProt.
    return make_vocabulary(
        {"<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "(", ")", "\"", "-", ".", "–", "£", "€", "L", "S", "A", "G",
         "E",     "V",     "K",     "R",     "T",      "I", "D", "P",  "N", "Q", "F", "Y", "H", "M", "C", "W", "X"},
        "the built-in vocabulary");
}

Vocabulary read_vocabulary(const std::string& file) {
    const std::string content = read_whole_file(file);
    return make_vocabulary(
        looks_like_sentencepiece(content) ? sentencepiece_pieces(content, file) : text_pieces(content, file), file);
}

}  // namespace protalbert

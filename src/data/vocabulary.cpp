#include "data/vocabulary.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <unordered_map>

#include "base/content.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/git_lfs.hpp"
#include "base/text.hpp"
#include "base/text_file.hpp"
#include "io/json_file.hpp"

namespace protalbert {
namespace {

constexpr std::string_view amino_acids = "ACDEFGHIKLMNPQRSTVWY";
// Read as X, as ProtTrans does: selenocysteine, pyrrolysine and the ambiguous Z and B.
constexpr std::string_view replaced_letters = "UZOB";
// U+2581, which SentencePiece puts before a piece that begins a word.
constexpr std::string_view word_marker = "\xE2\x96\x81";
// Corpora store ids in a byte.
constexpr std::size_t largest_vocabulary = 256;
constexpr std::size_t longest_shown = 40;  // bytes of a piece in a message
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
    while (piece.size() > word_marker.size() && piece.starts_with(word_marker)) piece.erase(0, word_marker.size());
    return piece;
}

/// A brace may be a piece, but not the first one: a tokenizer.json has a key behind it.
bool looks_like_json(std::string_view content) {
    content = without_byte_order_mark(content);
    const std::size_t brace = content.find_first_not_of(" \t\r\n");
    if (brace == std::string_view::npos || content[brace] != '{') return false;
    const std::size_t next = content.find_first_not_of(" \t\r\n", brace + 1);
    return next != std::string_view::npos && (content[next] == '"' || content[next] == '}');
}

std::vector<std::string> sentencepiece_pieces(const std::string& content, const std::string& file) {
    sentencepiece::SentencePieceProcessor processor;
    std::string failure;
    try {
        const auto status = processor.LoadFromSerializedProto(content);
        if (!status.ok()) failure = status.error_message();
    } catch (const std::exception& error) {  // the library's, for pieces that no model has
        failure = error.what();
    }
    if (!failure.empty())
        throw InputError(
            fmt::format("{} begins like a SentencePiece model but cannot be loaded ({}); copy or download it again",
                        file, failure));
    std::vector<std::string> pieces;
    for (int id = 0; id < processor.GetPieceSize(); ++id) pieces.push_back(processor.IdToPiece(id));
    return pieces;
}

using Json = nlohmann::ordered_json;

/// The pieces of a tokenizer.json by id: the model's, a table {piece: id} or a list [[piece, score], ...], and added
/// ones.
std::map<std::int64_t, std::string> tokenizer_ids(const Json& tokenizer, const std::string& file) {
    const auto refuse = [&](const char* why) {
        return InputError(fmt::format(
            "{} {}; a vocabulary is text with one piece a line, a SentencePiece model, or the tokenizer.json "
            "of a model whose pieces are residues",
            file, why));
    };
    const auto model = tokenizer.find("model");
    if (model == tokenizer.end() || !model->is_object() || !model->contains("vocab"))
        throw refuse("is JSON, but has no model.vocab");
    if (model->contains("merges") && !(*model)["merges"].empty())
        throw refuse("merges letters into pieces (BPE), where this program reads every residue as one piece");
    std::map<std::int64_t, std::string> pieces;
    const auto add = [&](const Json& id, const Json& piece) {
        if (!id.is_number_integer() || !piece.is_string()) throw refuse("has a piece that is no text, or no id for it");
        const auto [place, fresh] = pieces.try_emplace(id.get<std::int64_t>(), piece.get<std::string>());
        if (!fresh && place->second != piece.get<std::string>()) throw refuse("has two pieces of one id");
    };
    const Json& vocab = (*model)["vocab"];
    if (vocab.is_object()) {
        for (const auto& [piece, id] : vocab.items()) add(id, piece);
    } else {
        for (const Json& entry : vocab) {
            if (!entry.is_array() || entry.empty()) throw refuse("has a piece that is no text, or no id for it");
            add(static_cast<std::int64_t>(pieces.size()), entry[0]);
        }
    }
    if (const auto added = tokenizer.find("added_tokens"); added != tokenizer.end()) {
        for (const Json& token : *added) {
            if (token.is_object() && token.contains("id") && token.contains("content"))
                add(token["id"], token["content"]);
        }
    }
    return pieces;
}

std::vector<std::string> tokenizer_pieces(const std::string& content, const std::string& file) {
    // That of an English ALBERT has two megabytes.
    constexpr std::size_t most_bytes = std::size_t{8} << 20;
    if (content.size() > most_bytes)
        throw InputError(fmt::format("{} is larger than 8 MiB: it is no vocabulary", file));
    std::vector<std::string> pieces;
    for (const auto& [id, piece] : tokenizer_ids(parse_json_object(plain_text(content, file), file), file)) {
        if (id != std::ssize(pieces))
            throw InputError(
                fmt::format("{} has no piece of id {}; write the pieces into a text file, one a line in the "
                            "order of ids, and give that as the vocabulary",
                            file, pieces.size()));
        pieces.push_back(piece);
    }
    return pieces;
}

std::vector<std::string> text_pieces(const std::string& content, const std::string& file) {
    std::istringstream lines(plain_text(content, file));
    std::vector<std::string> pieces;
    for (std::string line; pieces.size() <= largest_vocabulary && std::getline(lines, line);) pieces.push_back(line);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (pieces[i].empty())
            throw InputError(fmt::format("{}:{}: empty line; a vocabulary has one piece a line", file, i + 1));
    }
    if (pieces.size() > largest_vocabulary)
        throw InputError(fmt::format("{} has more than {} lines; a protein vocabulary has at most {} pieces", file,
                                     largest_vocabulary, largest_vocabulary));
    return pieces;
}

}  // namespace

bool looks_like_sentencepiece(std::string_view content) {
    const bool control = std::any_of(content.begin(), content.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t';
    });
    return content.starts_with('\n') && control;
}

Vocabulary make_vocabulary(std::vector<std::string> pieces, const std::string& origin) {
    if (pieces.size() > largest_vocabulary)
        throw InputError(fmt::format("{} has {} pieces; a protein vocabulary has at most {}", origin, pieces.size(),
                                     largest_vocabulary));
    std::unordered_map<std::string, int> ids;
    for (std::string& piece : pieces) {
        piece = without_marker(std::move(piece));
        if (!is_utf8(piece))
            throw InputError(fmt::format("{}: the piece {} is not UTF-8; is this a vocabulary?", origin,
                                         valid_utf8(piece.substr(0, longest_shown))));
        const int id = static_cast<int>(ids.size());
        // Pieces travel and are stored as lines and as strings that end in zeros.
        for (const char c : piece)
            if (static_cast<unsigned char>(c) <= ' ' || c == 0x7F)
                throw InputError(
                    fmt::format("{}: the piece of id {} (line {} of a text) holds a space or control character (byte "
                                "0x{:02x}); a vocabulary has one piece a line, or is a SentencePiece model",
                                origin, id, id + 1, static_cast<unsigned char>(c)));
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
    if (is_git_lfs_pointer(content)) throw git_lfs_pointer(file, "vocabulary");
    if (looks_like_sentencepiece(content)) return make_vocabulary(sentencepiece_pieces(content, file), file);
    if (looks_like_json(content)) return make_vocabulary(tokenizer_pieces(content, file), file);
    return make_vocabulary(text_pieces(content, file), file);
}

}  // namespace protalbert

#pragma once
// The vocabulary: pieces in the order of their ids, and the map from letters to ids.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace protalbert {

struct Vocabulary {
    std::vector<std::string> pieces;   ///< [V] without the word marker; id = index
    int pad, unknown, cls, sep, mask;  ///< ids of <pad> <unk> [CLS] [SEP] [MASK]
    int x;                             ///< id of X, the unknown residue

    /// Id of each byte as a residue, -1 for anything that is not one. U Z O B give X, lower case counts as upper.
    std::array<std::int16_t, 256> residue_ids;
    /// Whether the byte is a residue that was replaced by X (U Z O B and their lower case).
    std::array<bool, 256> replaced;

    std::int64_t size() const { return static_cast<std::int64_t>(pieces.size()); }
};

/// The built-in vocabulary of input/vocabulary.txt: ProtAlbert's 34 pieces as far as they are known.
Vocabulary default_vocabulary();
/// One piece a line in the order of ids, a SentencePiece model (spiece.model) or a tokenizer.json without merges, told
/// apart by their contents. Throws InputError when a special piece or one of the 20 amino acids or X is missing, or V >
/// 256.
Vocabulary read_vocabulary(const std::string& file);
/// From the pieces stored in a corpus or checkpoint; `origin` names them in messages.
Vocabulary make_vocabulary(std::vector<std::string> pieces, const std::string& origin);

/// Whether a file's content is a SentencePiece model: a protocol buffer that begins with field 1, a piece (byte 0x0A),
/// and holds control bytes (the lengths of its pieces). A text has neither.
bool looks_like_sentencepiece(std::string_view content);

}  // namespace protalbert

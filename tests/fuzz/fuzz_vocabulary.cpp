// A vocabulary as text or as a SentencePiece model. What is read is complete, and its pieces make the same vocabulary.

#include "data/vocabulary.hpp"
#include "fuzzing.hpp"
#include "model/hugging_face_export.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static MemoryFile file;
    const std::string& path = file.set(text(data, size));
    refusal([&] {
        const Vocabulary vocabulary = read_vocabulary(path);
        require(vocabulary.size() <= 256, "ids fit in a byte");
        for (const int id :
             {vocabulary.pad, vocabulary.unknown, vocabulary.cls, vocabulary.sep, vocabulary.mask, vocabulary.x})
            require(id >= 0 && id < vocabulary.size(), "special pieces are there");
        for (const char letter : std::string("ACDEFGHIKLMNPQRSTVWYXUZOB"))
            require(vocabulary.residue_ids[static_cast<unsigned char>(letter)] >= 0, "residues are there");
        for (const std::int16_t id : vocabulary.residue_ids) require(id < vocabulary.size(), "residues are pieces");
        const Vocabulary again = make_vocabulary(vocabulary.pieces, "its pieces");
        require(again.residue_ids == vocabulary.residue_ids && again.pieces == vocabulary.pieces &&
                    again.mask == vocabulary.mask && again.pad == vocabulary.pad,
                "pieces make the same vocabulary");
        tokenizer_json(vocabulary);
    });
    return 0;
}

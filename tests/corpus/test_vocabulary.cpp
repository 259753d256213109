// The built-in vocabulary, vocabularies from text and from SentencePiece models, and what is refused.

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "data/vocabulary.hpp"
#include "sequence_files.hpp"

namespace protalbert {
namespace {

using corpus_test::Folder;
using corpus_test::message_of;

TEST(Vocabulary, BuiltInIsTheFileOfTheRepository) {
    const Vocabulary built_in = default_vocabulary();
    EXPECT_EQ(built_in.pieces, read_vocabulary(VOCABULARY_FILE).pieces);
    ASSERT_EQ(built_in.size(), 34);
    // What is known of ProtAlbert's own: a model card's output and the order of its special pieces and symbols.
    EXPECT_EQ(built_in.pieces[13], "L");
    EXPECT_EQ(built_in.pieces[14], "S");
    EXPECT_EQ(built_in.pieces[18], "V");
    EXPECT_EQ(built_in.pieces[12], "€");
    EXPECT_EQ(built_in.pad, 0);
    EXPECT_EQ(built_in.unknown, 1);
    EXPECT_EQ(built_in.cls, 2);
    EXPECT_EQ(built_in.sep, 3);
    EXPECT_EQ(built_in.mask, 4);
}

TEST(Vocabulary, MapsEveryByte) {
    const Vocabulary vocabulary = default_vocabulary();
    const std::string residues = "ACDEFGHIKLMNPQRSTVWYX", replaced = "UZOB";
    for (int byte = 0; byte < 256; ++byte) {
        const char upper = static_cast<char>(byte < 128 ? std::toupper(byte) : byte);
        const auto index = static_cast<std::size_t>(byte);
        if (residues.find(upper) != std::string::npos && byte != 0) {
            EXPECT_EQ(vocabulary.pieces[static_cast<std::size_t>(vocabulary.residue_ids[index])],
                      std::string(1, upper));
            EXPECT_FALSE(vocabulary.replaced[index]);
        } else if (replaced.find(upper) != std::string::npos && byte != 0) {
            EXPECT_EQ(vocabulary.residue_ids[index], vocabulary.x);
            EXPECT_TRUE(vocabulary.replaced[index]);
        } else {
            EXPECT_EQ(vocabulary.residue_ids[index], -1) << byte;
            EXPECT_FALSE(vocabulary.replaced[index]);
        }
    }
}

// A SentencePiece model by hand: pieces (field 1) of a name (1), a score (2) and a type (3: unknown 2, control 3), and
// a trainer specification (field 2) that says it is a word model (3: 3), as ProtAlbert's is no unigram model.
std::string sentencepiece_model(const std::vector<std::string>& pieces) {
    std::string model;
    const auto field = [](std::string& to, const std::string& content) {
        to += '\x0A';
        to += static_cast<char>(content.size());
        to += content;
    };
    for (const std::string& name : pieces) {
        std::string piece;
        field(piece, name);
        piece.append("\x15\x00\x00\x80\xBF", 5);
        if (name == "<unk>")
            piece += "\x18\x02";
        else if (name[0] == '<' || name[0] == '[')
            piece += "\x18\x03";
        field(model, piece);
    }
    return model.append("\x12\x02\x18\x03", 4);
}

TEST(Vocabulary, ReadsSentencePieceModels) {
    const Folder folder;
    // Another order than the built-in, and the marker of a word's beginning before the letters.
    std::vector<std::string> pieces = default_vocabulary().pieces, stored;
    std::swap(pieces[20], pieces[33]);
    for (std::size_t id = 0; id < pieces.size(); ++id) stored.push_back((id < 5 ? "" : "▁") + pieces[id]);
    const Vocabulary vocabulary = read_vocabulary(folder.write("spiece.model", sentencepiece_model(stored)));
    EXPECT_EQ(vocabulary.pieces, pieces);
    EXPECT_EQ(vocabulary.x, 20);
    EXPECT_EQ(vocabulary.residue_ids['u'], 20);

    const std::string damaged = sentencepiece_model(stored).substr(0, 100);
    corpus_test::message_of([&] { read_vocabulary(folder.write("damaged.model", damaged)); });
}

TEST(Vocabulary, ReadsTextWithMarkersAndWindowsLines) {
    const Folder folder;
    std::string text;
    for (const std::string& piece : default_vocabulary().pieces)
        text += (piece.size() == 1 ? "▁" : "") + piece + "\r\n";
    EXPECT_EQ(read_vocabulary(folder.write("text", text)).pieces, default_vocabulary().pieces);
    std::string spelt = text;
    spelt.replace(0, 5, "[PAD]");
    EXPECT_EQ(read_vocabulary(folder.write("protbert", spelt)).pad, 0);
}

TEST(Vocabulary, ReadsTextOfEverySystem) {
    const Folder folder;
    for (const char* end : {"\n", "\r\n", "\r"}) {
        for (const char* mark : {"", "\xEF\xBB\xBF"}) {
            for (const bool last : {true, false}) {
                std::string text = mark;
                for (const std::string& piece : default_vocabulary().pieces) text += piece + end;
                if (!last) text.resize(text.size() - std::string(end).size());
                EXPECT_EQ(read_vocabulary(folder.write("text", text)).pieces, default_vocabulary().pieces);
            }
        }
    }
}

/// A tokenizer.json of the built-in pieces: a table or a list of all but the last ones, which are added.
std::string tokenizer_of(bool table, std::size_t added, const nlohmann::ordered_json& merges = nullptr) {
    const std::vector<std::string> pieces = default_vocabulary().pieces;
    nlohmann::ordered_json tokenizer = {{"version", "1.0"}, {"added_tokens", nlohmann::ordered_json::array()}};
    nlohmann::ordered_json& model = tokenizer["model"];
    if (!merges.is_null()) model["merges"] = merges;
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        if (id + added >= pieces.size())
            tokenizer["added_tokens"].push_back({{"id", id}, {"content", pieces[id]}});
        else if (table)
            model["vocab"][pieces[id]] = id;
        else
            model["vocab"].push_back(nlohmann::ordered_json::array({(id < 13 ? "" : "▁") + pieces[id], -1.5}));
    }
    return tokenizer.dump(1);
}

TEST(Vocabulary, ReadsTokenizers) {
    const Folder folder;
    for (const bool table : {true, false}) {
        for (const std::size_t added : {0, 3})
            EXPECT_EQ(read_vocabulary(folder.write("tokenizer.json", tokenizer_of(table, added))).x,
                      default_vocabulary().x);
    }
    EXPECT_EQ(read_vocabulary(folder.write("t", tokenizer_of(true, 2, nlohmann::ordered_json::array()))).pieces,
              default_vocabulary().pieces);
    const auto refused = [&](const std::string& content) {
        return message_of([&] { read_vocabulary(folder.write("t", content)); });
    };
    EXPECT_MESSAGE(refused(tokenizer_of(true, 0, {"A L", "S A"})), "merges letters into pieces");
    EXPECT_MESSAGE(refused("{\"model_type\": \"albert\"}"), "no model.vocab");
    EXPECT_MESSAGE(refused("{\"model\": {\"vocab\": {\"A\": 1}}}"), "no piece of id 0");
    EXPECT_MESSAGE(refused("{\"model\": {\"vocab\": {\"A\": 0, \"B\": 0}}}"), "two pieces of one id");
    EXPECT_MESSAGE(refused("{\"model\": {\"vocab\": \"A\"}}"), "a piece that is no text");
    EXPECT_MESSAGE(refused("{\"model\": {\"vocab\": [[1, 2]]}}"), "a piece that is no text");
}

TEST(Vocabulary, RefusesWhatIsNone) {
    const Folder folder;
    const auto refused = [&](const std::string& content) {
        return message_of([&] { read_vocabulary(folder.write("v", content)); });
    };
    std::string good;
    for (const std::string& piece : default_vocabulary().pieces) good += piece + "\n";
    EXPECT_MESSAGE(message_of([&] { read_vocabulary(folder.path("missing").string()); }), "missing");
    message_of([&] { read_vocabulary(folder.path("").string()); });
    EXPECT_MESSAGE(refused(""), "empty");
    EXPECT_MESSAGE(refused("A\nC\n\nD\n"), ":3: empty line");
    EXPECT_MESSAGE(refused("A\nC D\n"), "line 2");
    EXPECT_MESSAGE(refused(good + "L\n"), "twice, as ids 13 and 34");
    std::string without = good;
    without.replace(without.find("W\n"), 2, "");
    EXPECT_MESSAGE(refused(without), "no piece W");
    std::string no_mask = good;
    no_mask.replace(no_mask.find("[MASK]"), 6, "[mask]");
    EXPECT_MESSAGE(refused(no_mask), "[MASK]");
    std::string many = good;
    for (int i = 0; i < 223; ++i) many += "piece" + std::to_string(i) + "\n";
    EXPECT_MESSAGE(refused(many), "256");
    many = good;
    for (int i = 0; i < 222; ++i) many += "piece" + std::to_string(i) + "\n";
    EXPECT_EQ(read_vocabulary(folder.write("v", many)).size(), 256);
    const std::string pointer = refused(
        "version https://git-lfs.github.com/spec/v1\noid "
        "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e"
        "2393\nsize 238\n");
    EXPECT_MESSAGE(pointer, "pointer of Git LFS, not the vocabulary");
    EXPECT_MESSAGE(pointer, "git lfs pull");
    EXPECT_MESSAGE(refused("\xFF\xFE<"), "iconv -f UTF-16");
    EXPECT_MESSAGE(refused(std::string("\x89PNG\r\n\x1A\n\0\0\0", 11)), "is a PNG image");
    EXPECT_MESSAGE(refused("<pad>\n<un\x02k>\n"), "control character");
}

}  // namespace
}  // namespace protalbert

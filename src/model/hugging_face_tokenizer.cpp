// The vocabulary as a tokenizer of Hugging Face's `tokenizers` library.

#include <nlohmann/json.hpp>

#include "model/hugging_face_export.hpp"

namespace protalbert {

std::string tokenizer_json(const Vocabulary& vocabulary) {
    using Json = nlohmann::ordered_json;
    const auto piece = [&](int id) { return vocabulary.pieces.at(static_cast<std::size_t>(id)); };
    Json vocab = Json::object();
    for (std::int64_t id = 0; id < vocabulary.size(); ++id) vocab[piece(static_cast<int>(id))] = id;

    Json added = Json::array();
    for (const int id : {vocabulary.pad, vocabulary.unknown, vocabulary.cls, vocabulary.sep, vocabulary.mask}) {
        added.push_back({{"id", id},
                         {"content", piece(id)},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", true}});
    }

    // One template for a sequence, one for a pair, in which the second has segment 1.
    const auto special = [&](int id, int segment) {
        return Json{{"SpecialToken", {{"id", piece(id)}, {"type_id", segment}}}};
    };
    const auto sequence = [](const char* name, int segment) {
        return Json{{"Sequence", {{"id", name}, {"type_id", segment}}}};
    };
    const Json single = {special(vocabulary.cls, 0), sequence("A", 0), special(vocabulary.sep, 0)};
    const Json pair = {special(vocabulary.cls, 0), sequence("A", 0), special(vocabulary.sep, 0), sequence("B", 1),
                       special(vocabulary.sep, 1)};
    Json specials = Json::object();
    for (const int id : {vocabulary.cls, vocabulary.sep})
        specials[piece(id)] = {{"id", piece(id)}, {"ids", {id}}, {"tokens", {piece(id)}}};

    const Json replace = {{"type", "Replace"}, {"pattern", {{"Regex", "[UZOB]"}}}, {"content", piece(vocabulary.x)}};
    // Words by spaces, then letters of words: a protein written without spaces is not one unknown word.
    const Json letters = {
        {"type", "Split"}, {"pattern", {{"Regex", "."}}}, {"behavior", "Isolated"}, {"invert", false}};

    Json json;
    json["version"] = "1.0";
    json["truncation"] = nullptr;
    json["padding"] = nullptr;
    json["added_tokens"] = added;
    json["normalizer"] = replace;
    json["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers", Json::array({Json{{"type", "WhitespaceSplit"}}, letters})}};
    json["post_processor"] = {
        {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
    json["decoder"] = nullptr;
    json["model"] = {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", piece(vocabulary.unknown)}};
    return json.dump(2);
}

}  // namespace protalbert

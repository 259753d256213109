#include "model/hugging_face_export.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "io/safetensors.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* projection_weight = "albert.encoder.embedding_hidden_mapping_in.weight";
constexpr std::string_view projection_prefix = "albert.encoder.embedding_hidden_mapping_in.";

void write_text(const fs::path& file, const std::string& text) {
    std::ofstream stream(file, std::ios::binary);
    stream << text;
    stream.close();
    if (!stream)
        throw Error(fmt::format("cannot write {}: {}{}", file.string(), std::strerror(errno), space_hint(file)));
    sync_to_disk(file);
}

std::string config_text(const ModelConfig& config, const Vocabulary& vocabulary) {
    Json json = Json::parse(to_json(config));
    // What transformers does not know is left out where it says nothing.
    json.erase("sharing");
    json.erase("projection");
    if (config.head_layer_norm_epsilon == config.layer_norm_epsilon) json.erase("head_layer_norm_eps");
    json["pad_token_id"] = vocabulary.pad;
    json["bos_token_id"] = vocabulary.cls;
    json["eos_token_id"] = vocabulary.sep;
    json["torch_dtype"] = "float32";
    return json.dump(2) + '\n';
}

/// Which piece plays which part, as both files of special tokens have it.
Json special_tokens(const Vocabulary& vocabulary) {
    const auto piece = [&](int id) { return vocabulary.pieces.at(static_cast<std::size_t>(id)); };
    return {{"bos_token", piece(vocabulary.cls)},     {"eos_token", piece(vocabulary.sep)},
            {"unk_token", piece(vocabulary.unknown)}, {"sep_token", piece(vocabulary.sep)},
            {"pad_token", piece(vocabulary.pad)},     {"cls_token", piece(vocabulary.cls)},
            {"mask_token", piece(vocabulary.mask)}};
}

void write_tokenizer(const fs::path& folder, const ModelConfig& config, const Vocabulary& vocabulary) {
    std::string pieces;
    for (const std::string& piece : vocabulary.pieces) pieces += piece + '\n';
    write_text(folder / "vocab.txt", pieces);
    write_text(folder / "tokenizer.json", tokenizer_json(vocabulary) + '\n');
    const Json specials = special_tokens(vocabulary);
    write_text(folder / "special_tokens_map.json", specials.dump(2) + '\n');
    Json settings = specials;
    settings["tokenizer_class"] = "PreTrainedTokenizerFast";
    settings["model_input_names"] = {"input_ids", "token_type_ids", "attention_mask"};
    settings["model_max_length"] = config.positions;
    settings["clean_up_tokenization_spaces"] = false;
    write_text(folder / "tokenizer_config.json", settings.dump(2) + '\n');
}

/// The model's own name of an exported parameter: the same, but for layers of which only one part is shared.
std::string own_name(const std::string& exported, const ModelConfig& config) {
    static const std::string layers = "albert.encoder.albert_layer_groups.";
    if (config.sharing == Sharing::all || !exported.starts_with(layers)) return exported;
    const std::size_t end = exported.find('.', layers.size());
    const std::int64_t iteration = std::stoll(exported.substr(layers.size(), end - layers.size()));
    const bool attention = exported.find(".attention.") != std::string::npos;
    const bool shared = config.sharing == (attention ? Sharing::attention : Sharing::ffn);
    return layers + std::to_string(shared ? group_of_iteration(config, iteration) : iteration) + exported.substr(end);
}

/// Weight [H, E] with E = H, or bias [H], of a projection that changes nothing.
void identity_projection(const Parameter& parameter, float* values) {
    std::fill_n(values, parameter.size, 0.0F);
    if (parameter.name != projection_weight) return;
    for (std::int64_t i = 0; i < parameter.shape[0]; ++i) values[i * parameter.shape[1] + i] = 1;
}

std::vector<TensorShape> shapes_of(const ParameterLayout& layout) {
    std::vector<TensorShape> shapes;
    for (const Parameter& parameter : layout.parameters) shapes.push_back({parameter.name, parameter.shape});
    return shapes;
}

}  // namespace

ModelConfig exported_config(const ModelConfig& config) {
    ModelConfig exported = config;
    exported.projection = true;
    if (config.sharing == Sharing::all) return exported;
    exported.sharing = Sharing::all;
    exported.groups = config.layers;
    return exported;
}

const std::vector<std::string>& exported_files() {
    static const std::vector<std::string> files{"config.json",    "model.safetensors",       "vocab.txt",
                                                "tokenizer.json", "special_tokens_map.json", "tokenizer_config.json",
                                                "spiece.model"};
    return files;
}

std::uint64_t exported_bytes(const ModelConfig& config) {
    return safetensors_bytes(shapes_of(make_parameter_layout(exported_config(config))));
}

void write_hugging_face(const fs::path& folder, const ModelConfig& config, const Vocabulary& vocabulary,
                        const ParameterReader& read, const std::string& sentencepiece_model) {
    const ModelConfig exported = exported_config(config);
    write_text(folder / "config.json", config_text(exported, vocabulary));
    write_tokenizer(folder, config, vocabulary);
    if (!sentencepiece_model.empty()) write_text(folder / "spiece.model", sentencepiece_model);

    const ParameterLayout own = make_parameter_layout(config);
    const ParameterLayout layout = make_parameter_layout(exported);
    SafetensorsWriter writer(folder / "model.safetensors", shapes_of(layout));
    std::vector<float> values;
    for (const Parameter& parameter : layout.parameters) {
        values.resize(static_cast<std::size_t>(parameter.size));
        if (!config.projection && parameter.name.starts_with(projection_prefix)) {
            identity_projection(parameter, values.data());
        } else {
            const Parameter* const source = own.find(own_name(parameter.name, config));
            PROTALBERT_CHECK(source != nullptr && source->shape == parameter.shape,
                             "every exported tensor is one's own");
            read(*source, values.data());
        }
        writer.write(values.data());
    }
    writer.finish();
    sync_to_disk(folder);
}

}  // namespace protalbert

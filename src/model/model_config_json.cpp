// The configuration as JSON, with the names of Hugging Face's AlbertConfig.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "model/model_config.hpp"

namespace protalbert {

namespace {

using Json = nlohmann::ordered_json;

struct IntegerKey {
    const char* key;   ///< the deck's
    const char* name;  ///< Hugging Face's
    std::int64_t ModelConfig::*member;
};

constexpr IntegerKey integer_keys[] = {
    {"layers", "num_hidden_layers", &ModelConfig::layers},
    {"hidden", "hidden_size", &ModelConfig::hidden},
    {"intermediate", "intermediate_size", &ModelConfig::intermediate},
    {"heads", "num_attention_heads", &ModelConfig::heads},
    {"embedding", "embedding_size", &ModelConfig::embedding},
    {"groups", "num_hidden_groups", &ModelConfig::groups},
    {"inner", "inner_group_num", &ModelConfig::inner},
    {"positions", "max_position_embeddings", &ModelConfig::positions},
    {"vocabulary", "vocab_size", &ModelConfig::vocabulary},
};

struct NumberKey {
    const char* key;
    const char* name;
    double ModelConfig::*member;
};

constexpr NumberKey number_keys[] = {
    {"layer_norm_epsilon", "layer_norm_eps", &ModelConfig::layer_norm_epsilon},
    {"head_layer_norm_epsilon", "head_layer_norm_eps", &ModelConfig::head_layer_norm_epsilon},
    {"initializer_range", "initializer_range", &ModelConfig::initializer_range},
};

/// The value of `name`, or `fallback` where there is none.
template <class T>
T read(const Json& json, const char* name, const T& fallback, const std::string& origin, const char* what) {
    const auto found = json.find(name);
    if (found == json.end()) return fallback;
    try {
        if constexpr (std::is_same_v<T, std::int64_t>) {
            if (!found->is_number_integer()) throw std::invalid_argument("not whole");
        }
        return found->get<T>();
    } catch (const std::exception&) {
        throw InputError(fmt::format("{}: {} must be {}, but is {}", origin, name, what, found->dump()));
    }
}

Gelu parse_activation(const std::string& name, const std::string& origin) {
    if (name == "gelu") return Gelu::erf;
    if (name == "gelu_new" || name == "gelu_tanh" || name == "gelu_pytorch_tanh") return Gelu::tanh;
    throw InputError(fmt::format("{}: hidden_act is \"{}\"; this program knows \"gelu\" (erf) and \"gelu_new\" (tanh)",
                                 origin, name));
}

Sharing parse_sharing(const std::string& name, const std::string& origin) {
    for (const Sharing sharing : {Sharing::all, Sharing::attention, Sharing::ffn, Sharing::none}) {
        if (name == sharing_name(sharing)) return sharing;
    }
    throw InputError(fmt::format("{}: sharing is \"{}\"; it must be one of all, attention, ffn, none", origin, name));
}

}  // namespace

std::string to_json(const ModelConfig& config) {
    Json json;
    json["architectures"] = {"AlbertForPreTraining"};
    json["model_type"] = "albert";
    for (const IntegerKey& key : integer_keys) json[key.name] = config.*key.member;
    json["type_vocab_size"] = 2;
    json["hidden_act"] = config.activation == Gelu::erf ? "gelu" : "gelu_new";
    for (const NumberKey& key : number_keys) json[key.name] = config.*key.member;
    json["sharing"] = sharing_name(config.sharing);
    json["projection"] = config.projection;
    // The model has no dropout; AlbertConfig's default for the classifier is not zero.
    for (const char* name : {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"}) {
        json[name] = 0;
    }
    return json.dump(2);
}

ModelConfig config_from_json(const std::string& text, const std::string& origin) {
    Json json;
    try {
        json = Json::parse(text);
    } catch (const Json::exception& error) {
        throw InputError(fmt::format("{}: the model's configuration is not valid JSON: {}", origin, error.what()));
    }
    if (!json.is_object()) throw InputError(fmt::format("{}: the model's configuration is no JSON object", origin));
    ModelConfig config;
    for (const char* name : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                             "embedding_size", "max_position_embeddings", "vocab_size"}) {
        if (!json.contains(name)) throw InputError(fmt::format("{}: the model's {} is missing", origin, name));
    }
    for (const IntegerKey& key : integer_keys) {
        config.*key.member = read(json, key.name, config.*key.member, origin, "a whole number");
    }
    for (const NumberKey& key : number_keys) {
        config.*key.member = read(json, key.name, config.*key.member, origin, "a number");
    }
    if (!json.contains("head_layer_norm_eps")) config.head_layer_norm_epsilon = config.layer_norm_epsilon;
    config.activation = parse_activation(read<std::string>(json, "hidden_act", "gelu_new", origin, "a string"), origin);
    config.sharing = parse_sharing(read<std::string>(json, "sharing", "all", origin, "a string"), origin);
    config.projection = read(json, "projection", true, origin, "true or false");
    if (const auto types = read<std::int64_t>(json, "type_vocab_size", 2, origin, "a whole number"); types != 2) {
        throw InputError(
            fmt::format("{}: type_vocab_size is {}; this program knows models with 2 segments", origin, types));
    }
    check_model_config(config, [&](const std::string& key) {
        for (const IntegerKey& known : integer_keys) {
            if (key == known.key) return origin + ": " + known.name;
        }
        return origin + ": " + key;
    });
    return config;
}

std::vector<std::string> differences(const ModelConfig& ours, const ModelConfig& theirs) {
    std::vector<std::string> lines;
    const auto compare = [&](const char* key, const auto& mine, const auto& other) {
        if (mine != other) lines.push_back(fmt::format("{}: {} against {}", key, mine, other));
    };
    for (const IntegerKey& key : integer_keys) compare(key.key, ours.*key.member, theirs.*key.member);
    for (const NumberKey& key : number_keys) compare(key.key, ours.*key.member, theirs.*key.member);
    compare("sharing", std::string(sharing_name(ours.sharing)), std::string(sharing_name(theirs.sharing)));
    compare("activation", std::string(activation_name(ours.activation)),
            std::string(activation_name(theirs.activation)));
    compare("projection", ours.projection, theirs.projection);
    return lines;
}

}  // namespace protalbert

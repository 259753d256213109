#include "model/model_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "base/error.hpp"

namespace protalbert {

namespace {

struct Preset {
    const char* name;
    std::int64_t layers, hidden, heads, embedding, positions;
    Sharing sharing;
};

// F = 4 H throughout. ProtAlbert: its config.json. ALBERT and BERT: tables 1 and 2 of the ALBERT paper, whose text sets
// A = H / 64; xlarge therefore has 32 heads (the released second version has 16, the same number of parameters).
// BERT is written as an ALBERT that shares nothing: E = H, no projection.
constexpr std::array presets{
    Preset{"prot_albert", 12, 4096, 64, 128, 40000, Sharing::all},
    Preset{"albert_base", 12, 768, 12, 128, 512, Sharing::all},
    Preset{"albert_large", 24, 1024, 16, 128, 512, Sharing::all},
    Preset{"albert_xlarge", 24, 2048, 32, 128, 512, Sharing::all},
    Preset{"albert_xxlarge", 12, 4096, 64, 128, 512, Sharing::all},
    Preset{"bert_base", 12, 768, 12, 768, 512, Sharing::none},
    Preset{"bert_large", 24, 1024, 16, 1024, 512, Sharing::none},
};

constexpr std::array sharings{Sharing::all, Sharing::attention, Sharing::ffn, Sharing::none};
constexpr std::array activations{Gelu::erf, Gelu::tanh};

// Far above every model there is; they keep products of sizes within 64 bits.
constexpr std::int64_t largest_size = 1 << 20;
constexpr std::int64_t largest_count = 1 << 12;
constexpr std::int64_t largest_table = std::int64_t{1} << 31;

template <class Values, class Name>
auto choose(Deck& deck, const std::string& key, typename Values::value_type fallback, const Values& values, Name name) {
    std::vector<std::string> names;
    for (const auto value : values) names.emplace_back(name(value));
    const std::string chosen = deck.choice(key, name(fallback), names);
    for (const auto value : values) {
        if (chosen == name(value)) return value;
    }
    return fallback;
}

}  // namespace

const char* sharing_name(Sharing sharing) {
    switch (sharing) {
        case Sharing::all:
            return "all";
        case Sharing::attention:
            return "attention";
        case Sharing::ffn:
            return "ffn";
        case Sharing::none:
            return "none";
    }
    return "?";
}

const char* activation_name(Gelu activation) { return activation == Gelu::erf ? "gelu" : "gelu_tanh"; }

std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Preset& preset : presets) names.emplace_back(preset.name);
    return names;
}

ModelConfig preset(const std::string& name) {
    for (const Preset& preset : presets) {
        if (name != preset.name) continue;
        ModelConfig config;
        config.layers = preset.layers;
        config.hidden = preset.hidden;
        config.intermediate = 4 * preset.hidden;
        config.heads = preset.heads;
        config.embedding = preset.embedding;
        config.positions = preset.positions;
        config.sharing = preset.sharing;
        config.projection = preset.embedding != preset.hidden;
        return config;
    }
    throw InputError(
        fmt::format("there is no model preset \"{}\"; choose one of {}", name, fmt::join(preset_names(), ", ")));
}

ModelConfig read_model_config(Deck& deck, std::int64_t vocabulary) {
    ModelConfig config = preset(deck.choice("model.preset", "prot_albert", preset_names()));
    config.vocabulary = deck.integer("model.vocabulary", vocabulary, 1, largest_table);
    config.layers = deck.integer("model.layers", config.layers, 1, largest_count);
    config.hidden = deck.integer("model.hidden", config.hidden, 1, largest_size);
    config.intermediate = deck.integer("model.intermediate", config.intermediate, 1, largest_size);
    config.heads = deck.integer("model.heads", config.heads, 1, largest_size);
    config.embedding = deck.integer("model.embedding", config.embedding, 1, largest_size);
    config.groups = deck.integer("model.groups", config.groups, 1, largest_count);
    config.inner = deck.integer("model.inner", config.inner, 1, largest_count);
    config.positions = deck.integer("model.positions", config.positions, 1, largest_table);
    config.sharing = choose(deck, "model.sharing", config.sharing, sharings, sharing_name);
    config.activation = choose(deck, "model.activation", config.activation, activations, activation_name);
    config.layer_norm_epsilon = deck.number("model.layer_norm_epsilon", config.layer_norm_epsilon, 0, 1);
    config.head_layer_norm_epsilon = deck.number("model.head_layer_norm_epsilon", config.layer_norm_epsilon, 0, 1);
    config.initializer_range = deck.number("model.initializer_range", config.initializer_range, 0, 1);
    config.projection = deck.flag("model.projection", config.embedding != config.hidden);
    check_model_config(config, [&deck](const std::string& key) { return deck.place("model." + key); });
    return config;
}

void check_model_config(const ModelConfig& config, const KeyPlace& place) {
    const auto require = [&](std::int64_t value, const char* key, std::int64_t largest) {
        if (value < 1 || value > largest) {
            throw InputError(
                fmt::format("{} is {}; it must be a whole number from 1 to {}", place(key), value, largest));
        }
    };
    require(config.layers, "layers", largest_count);
    require(config.hidden, "hidden", largest_size);
    require(config.intermediate, "intermediate", largest_size);
    require(config.heads, "heads", largest_size);
    require(config.embedding, "embedding", largest_size);
    require(config.groups, "groups", largest_count);
    require(config.inner, "inner", largest_count);
    require(config.positions, "positions", largest_table);
    require(config.vocabulary, "vocabulary", largest_table);
    if (config.hidden % config.heads != 0) {
        throw InputError(fmt::format("{} is {}, which {} heads do not divide; change hidden or heads", place("hidden"),
                                     config.hidden, config.heads));
    }
    if (config.groups > config.layers) {
        throw InputError(fmt::format("{} is {}, but there are only {} iterations; make it at most layers",
                                     place("groups"), config.groups, config.layers));
    }
    if (config.groups > 1 && config.sharing == Sharing::none) {
        throw InputError(
            fmt::format("{} is {}, but with sharing \"none\" every iteration has parameters of its own; "
                        "leave groups out, or share something",
                        place("groups"), config.groups));
    }
    if (!config.projection && config.embedding != config.hidden) {
        throw InputError(
            fmt::format("{} is false, but the embeddings have {} elements and the hidden states {}; make "
                        "them equal, or leave projection out",
                        place("projection"), config.embedding, config.hidden));
    }
}

}  // namespace protalbert

// The deck's [model] and the configuration as JSON.

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "model/model_config.hpp"

namespace protalbert::testing {

namespace {

ModelConfig read(const std::string& text) {
    Deck deck = Deck::parse(text, "deck.toml");
    const ModelConfig config = read_model_config(deck, 34);
    deck.refuse_unknown_keys();
    return config;
}

/// The message of the InputError that `action` throws.
template <class Action>
std::string error_of(const Action& action) {
    try {
        action();
    } catch (const InputError& error) {
        return error.what();
    }
    return "no error";
}

void expect_error(const std::string& deck, const std::vector<std::string>& parts) {
    const std::string message = error_of([&] { read(deck); });
    for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(ModelDeck, EmptyIsProtAlbert) {
    const ModelConfig config = read("");
    EXPECT_EQ(differences(config, preset("prot_albert")), std::vector<std::string>{});
    EXPECT_EQ(config.layers, 12);
    EXPECT_EQ(config.hidden, 4096);
    EXPECT_EQ(config.intermediate, 16384);
    EXPECT_EQ(config.head_size(), 64);
    EXPECT_EQ(config.positions, 40000);
    EXPECT_EQ(config.activation, Gelu::tanh);
    EXPECT_TRUE(config.projection);
}

TEST(ModelDeck, VocabularyMayHaveRowsToSpare) {
    EXPECT_EQ(read("").vocabulary, 34);
    EXPECT_EQ(read("[model]\nvocabulary = 40").vocabulary, 40);
    expect_error("[model]\nvocabulary = 0", {"deck.toml:2: model.vocabulary"});
}

TEST(ModelDeck, PresetWithOverrides) {
    const ModelConfig config = read(R"([model]
preset = "bert_base"
layers = 6
hidden = 768
heads = 4
inner = 2
positions = 2048
sharing = "attention"
activation = "gelu"
layer_norm_epsilon = 1e-5
initializer_range = 0.1
)");
    EXPECT_EQ(config.layers, 6);
    EXPECT_EQ(config.blocks(), 12);
    EXPECT_EQ(config.head_size(), 192);
    EXPECT_EQ(config.embedding, 768);
    EXPECT_EQ(config.positions, 2048);
    EXPECT_EQ(config.sharing, Sharing::attention);
    EXPECT_EQ(config.activation, Gelu::erf);
    EXPECT_EQ(config.layer_norm_epsilon, 1e-5);
    EXPECT_EQ(config.head_layer_norm_epsilon, 1e-5) << "follows the encoder's";
    EXPECT_EQ(config.initializer_range, 0.1);
    EXPECT_FALSE(config.projection) << "E = H";
}

TEST(ModelDeck, ProjectionFollowsSizesUnlessSaid) {
    EXPECT_TRUE(read("model.preset = 'bert_base'\nmodel.embedding = 128").projection);
    EXPECT_TRUE(read("model.preset = 'bert_base'\nmodel.projection = true").projection);
    EXPECT_EQ(read("model.head_layer_norm_epsilon = 1e-5").head_layer_norm_epsilon, 1e-5);
}

TEST(ModelDeck, ErrorsNameKeyAndPlace) {
    expect_error("[model]\nhidden = 100", {"deck.toml:2: model.hidden", "100", "64 heads"});
    expect_error("[model]\nlayers = 2\ngroups = 3", {"deck.toml:3: model.groups", "2 iterations"});
    expect_error("[model]\nsharing = 'none'\ngroups = 3", {"deck.toml:3: model.groups", "none"});
    expect_error("[model]\nprojection = false", {"deck.toml:2: model.projection", "128", "4096"});
    expect_error("[model]\npreset = 'prot_albrt'", {"deck.toml:2: model.preset", "did you mean \"prot_albert\""});
    expect_error("[model]\nsharing = 'some'", {"deck.toml:2: model.sharing"});
    expect_error("[model]\nactivation = 'relu'", {"deck.toml:2: model.activation", "gelu_tanh"});
    expect_error("[model]\nlayers = 0", {"deck.toml:2: model.layers"});
    expect_error("[model]\nheads = 1.5", {"deck.toml:2: model.heads"});
    expect_error("[model]\nlayer_norm_epsilon = -1", {"deck.toml:2: model.layer_norm_epsilon"});
    expect_error("[model]\nhiden = 5", {"deck.toml:2: model.hiden", "model.hidden"});
}

TEST(ModelPreset, UnknownNamesAll) {
    const std::string message = error_of([] { preset("albert_huge"); });
    EXPECT_NE(message.find("albert_huge"), std::string::npos);
    EXPECT_NE(message.find("albert_xxlarge"), std::string::npos);
}

TEST(ModelJson, RoundTrip) {
    for (const std::string& name : preset_names()) {
        ModelConfig config = preset(name);
        config.activation = Gelu::erf;
        config.layer_norm_epsilon = 1e-7;
        EXPECT_EQ(differences(config, config_from_json(to_json(config), "file")), std::vector<std::string>{}) << name;
    }
    ModelConfig other = preset("prot_albert");
    other.groups = 3;
    other.inner = 2;
    other.sharing = Sharing::ffn;
    other.head_layer_norm_epsilon = 1e-5;
    EXPECT_EQ(differences(other, config_from_json(to_json(other), "file")), std::vector<std::string>{});
    EXPECT_EQ(differences(other, preset("prot_albert")).size(), 4U);
    EXPECT_EQ(differences(other, preset("prot_albert")).front(), "groups: 3 against 1");
}

// The published file, complete: no model_type, no layer_norm_eps.
TEST(ModelJson, ProtAlbertsOwn) {
    const ModelConfig config = config_from_json(R"({"attention_probs_dropout_prob": 0, "hidden_act": "gelu",
        "hidden_dropout_prob": 0, "embedding_size": 128, "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 16384, "max_position_embeddings": 40000, "num_attention_heads": 64,
        "num_hidden_layers": 12, "num_hidden_groups": 1, "net_structure_type": 0, "layers_to_keep": [],
        "gap_size": 0, "num_memory_blocks": 0, "inner_group_num": 1, "down_scale_factor": 1, "type_vocab_size": 2,
        "vocab_size": 34})",
                                                "config.json");
    EXPECT_EQ(differences(config, preset("prot_albert")),
              std::vector<std::string>{"activation: gelu against gelu_tanh"});
    EXPECT_EQ(config.layer_norm_epsilon, 1e-12);
}

TEST(ModelJson, ErrorsNameFileAndKey) {
    const auto expect = [](const std::string& json, const std::vector<std::string>& parts) {
        const std::string message = error_of([&] { config_from_json(json, "config.json"); });
        for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    const std::string good = to_json(preset("albert_base"));
    const auto changed = [&good](const std::string& from, const std::string& to) {
        std::string json = good;
        const auto found = json.find(from);
        EXPECT_NE(found, std::string::npos) << from;
        return json.replace(found, from.size(), to);
    };
    expect("{", {"config.json", "JSON"});
    expect("[]", {"config.json", "object"});
    expect("{}", {"config.json", "hidden_size", "missing"});
    expect(changed("\"hidden_size\": 768", "\"hidden_size\": \"big\""), {"config.json", "hidden_size", "whole number"});
    expect(changed("\"hidden_size\": 768", "\"hidden_size\": 768.5"), {"hidden_size", "768.5"});
    expect(changed("\"hidden_size\": 768", "\"hidden_size\": 770"), {"config.json: hidden_size", "12 heads"});
    expect(changed("\"num_hidden_layers\": 12", "\"num_hidden_layers\": -1"), {"num_hidden_layers", "-1"});
    expect(changed("gelu_new", "relu"), {"hidden_act", "relu"});
    expect(changed("\"type_vocab_size\": 2", "\"type_vocab_size\": 3"), {"type_vocab_size", "3"});
    expect(changed("\"sharing\": \"all\"", "\"sharing\": \"most\""), {"sharing", "most"});
}

}  // namespace

}  // namespace protalbert::testing

// Names, counts and places of the parameters, and their initial values.

#include <cmath>
#include <set>

#include "model/cost.hpp"
#include "model/parameters.hpp"
#include "model_helpers.hpp"

namespace protalbert::testing {

namespace {

/// Elements of the parameters whose name starts with `prefix`.
std::int64_t count(const ModelConfig& config, const std::string& prefix) {
    std::int64_t elements = 0;
    for (const Parameter& parameter : make_parameter_layout(config).parameters) {
        if (parameter.name.starts_with(prefix)) elements += parameter.size;
    }
    return elements;
}

// protalbert.md, section 1: the published pytorch_model.bin holds 224,347,300 parameters.
TEST(ParameterCounts, ProtAlbert) {
    const ModelConfig config = preset("prot_albert");
    EXPECT_EQ(count(config, "albert.embeddings.word_embeddings"), 4352);
    EXPECT_EQ(count(config, "albert.embeddings.position_embeddings"), 5120000);
    EXPECT_EQ(count(config, "albert.embeddings.token_type_embeddings"), 256);
    EXPECT_EQ(count(config, "albert.embeddings.LayerNorm"), 256);
    EXPECT_EQ(count(config, "albert.encoder.embedding_hidden_mapping_in"), 528384);
    const std::string layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.";
    EXPECT_EQ(count(config, layer + "attention.LayerNorm"), 8192);
    EXPECT_EQ(count(config, layer + "attention."), 67125248 + 8192);
    EXPECT_EQ(count(config, layer + "ffn"), 134238208);
    EXPECT_EQ(count(config, layer + "full_layer_layer_norm"), 8192);
    EXPECT_EQ(count(config, "albert.encoder.albert_layer_groups"), 201379840);
    EXPECT_EQ(count(config, "albert.pooler"), 16781312);
    EXPECT_EQ(count(config, "predictions."), 524706);
    EXPECT_EQ(count(config, "sop_classifier."), 8194);
    EXPECT_EQ(count(config, "albert."), 223814400);
    EXPECT_EQ(make_parameter_layout(config).count(), 224347300);
}

// Tables 1, 3 and 4 of the ALBERT paper as the official code counts them: 30,000 pieces, with pooler, without heads.
TEST(ParameterCounts, PaperTables) {
    const auto counted = [](ModelConfig config) {
        config.vocabulary = 30000;
        return count(config, "albert.");
    };
    EXPECT_EQ(counted(preset("bert_base")), 109081344);
    EXPECT_EQ(counted(preset("bert_large")), 334607360);
    EXPECT_EQ(counted(preset("albert_base")), 11683584);
    EXPECT_EQ(counted(preset("albert_large")), 17683968);
    EXPECT_EQ(counted(preset("albert_xlarge")), 58724864);
    EXPECT_EQ(counted(preset("albert_xxlarge")), 222595584);

    struct Row {
        Sharing sharing;
        std::int64_t embedding;
        double millions;
    };
    for (const Row& row :
         {Row{Sharing::none, 64, 87.65}, Row{Sharing::none, 128, 89.65}, Row{Sharing::none, 256, 93.65},
          Row{Sharing::none, 768, 109.08}, Row{Sharing::all, 64, 9.68}, Row{Sharing::all, 128, 11.68},
          Row{Sharing::all, 256, 15.69}, Row{Sharing::all, 768, 31.11}, Row{Sharing::attention, 768, 83.08},
          Row{Sharing::ffn, 768, 57.12}, Row{Sharing::attention, 128, 63.65}, Row{Sharing::ffn, 128, 37.69}}) {
        ModelConfig config = preset("albert_base");
        config.sharing = row.sharing;
        config.embedding = row.embedding;
        config.projection = config.embedding != config.hidden;
        EXPECT_NEAR(static_cast<double>(counted(config)) * 1e-6, row.millions, 0.005)
            << sharing_name(row.sharing) << " " << row.embedding;
    }
}

std::vector<ModelConfig> several_configs() {
    std::vector<ModelConfig> configs;
    for (const Sharing sharing : {Sharing::all, Sharing::attention, Sharing::ffn, Sharing::none}) {
        ModelConfig config = small_config();
        config.sharing = sharing;
        config.layers = 4;
        config.inner = 2;
        config.groups = sharing == Sharing::none ? 1 : 2;
        configs.push_back(config);
    }
    return configs;
}

TEST(ParameterLayoutTest, NoTwoOverlapAndPaddingIsShort) {
    for (const ModelConfig& config : several_configs()) {
        const ParameterLayout layout = make_parameter_layout(config);
        std::set<std::string> names;
        std::int64_t end = 0;
        for (const Parameter& parameter : layout.parameters) {
            EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
            EXPECT_GE(parameter.offset, end) << parameter.name;
            EXPECT_LT(parameter.offset - end, 16) << parameter.name;
            std::int64_t size = 1;
            for (const std::int64_t extent : parameter.shape) size *= extent;
            EXPECT_EQ(parameter.size, size);
            end = parameter.offset + parameter.size;
            EXPECT_EQ(layout.find(parameter.name), &parameter);
        }
        EXPECT_GE(layout.size, end);
        EXPECT_LT(layout.size - end, 16);
        EXPECT_EQ(layout.find("albert"), nullptr);
    }
}

// Each part is stored where the header says, its query, key and value without a gap, every product's weight on a cache
// line; a shared part under its group, one that is not under its iteration.
TEST(ParameterLayoutTest, PartsAreWhereTheirNamesSay) {
    for (const ModelConfig& config : several_configs()) {
        const ParameterLayout layout = make_parameter_layout(config);
        const std::int64_t H = config.hidden;
        for (std::int64_t block = 0; block < config.blocks(); ++block) {
            const auto b = static_cast<std::size_t>(block);
            const auto& attention = layout.attention[static_cast<std::size_t>(layout.attention_of_block[b])];
            const auto& feed_forward = layout.feed_forward[static_cast<std::size_t>(layout.feed_forward_of_block[b])];
            const std::int64_t iteration = block / config.inner;
            const auto place = [&](Sharing part, const std::string& name) {
                const bool shared = config.sharing == Sharing::all || config.sharing == part;
                const std::int64_t group = shared ? group_of_iteration(config, iteration) : iteration;
                const Parameter* found =
                    layout.find("albert.encoder.albert_layer_groups." + std::to_string(group) + ".albert_layers." +
                                std::to_string(block % config.inner) + "." + name);
                EXPECT_NE(found, nullptr) << name;
                return found == nullptr ? -1 : found->offset;
            };
            const auto in_attention = [&](const std::string& name) {
                return place(Sharing::attention, "attention." + name);
            };
            EXPECT_EQ(attention.qkv.weight, in_attention("query.weight"));
            EXPECT_EQ(attention.qkv.weight + H * H, in_attention("key.weight"));
            EXPECT_EQ(attention.qkv.weight + 2 * H * H, in_attention("value.weight"));
            EXPECT_EQ(attention.qkv.bias, in_attention("query.bias"));
            EXPECT_EQ(attention.qkv.bias + H, in_attention("key.bias"));
            EXPECT_EQ(attention.qkv.bias + 2 * H, in_attention("value.bias"));
            EXPECT_EQ(attention.output.weight, in_attention("dense.weight"));
            EXPECT_EQ(attention.output.bias, in_attention("dense.bias"));
            EXPECT_EQ(attention.norm.gamma, in_attention("LayerNorm.weight"));
            EXPECT_EQ(attention.norm.beta, in_attention("LayerNorm.bias"));
            EXPECT_EQ(feed_forward.in.weight, place(Sharing::ffn, "ffn.weight"));
            EXPECT_EQ(feed_forward.in.bias, place(Sharing::ffn, "ffn.bias"));
            EXPECT_EQ(feed_forward.out.weight, place(Sharing::ffn, "ffn_output.weight"));
            EXPECT_EQ(feed_forward.out.bias, place(Sharing::ffn, "ffn_output.bias"));
            EXPECT_EQ(feed_forward.norm.gamma, place(Sharing::ffn, "full_layer_layer_norm.weight"));
            EXPECT_EQ(feed_forward.norm.beta, place(Sharing::ffn, "full_layer_layer_norm.bias"));
            for (const std::int64_t offset : {attention.qkv.weight, attention.output.weight, feed_forward.in.weight,
                                              feed_forward.out.weight, attention.end, feed_forward.end}) {
                EXPECT_EQ(offset % 16, 0);
            }
        }
    }
}

TEST(ParameterLayoutTest, OnlyMatricesAndTablesAreRegularised) {
    for (const Parameter& parameter : make_parameter_layout(small_config()).parameters) {
        EXPECT_EQ(parameter.regularised, parameter.shape.size() == 2) << parameter.name;
    }
}

TEST(InitialParameters, TruncatedNormal) {
    ModelConfig config = small_config();
    config.hidden = 192;
    config.intermediate = 768;
    config.initializer_range = 0.05;
    const ParameterLayout layout = make_parameter_layout(config);
    const std::vector<float> values = initial_parameters(layout, config, 3);
    double sum = 0;
    double squares = 0;
    double most = 0;
    std::int64_t n = 0;
    for (const Parameter& parameter : layout.parameters) {
        for (std::int64_t i = 0; i < parameter.size; ++i) {
            const double value = values[static_cast<std::size_t>(parameter.offset + i)];
            if (parameter.shape.size() == 1) {
                ASSERT_EQ(value, parameter.initializer == Initializer::ones ? 1 : 0) << parameter.name;
                continue;
            }
            sum += value;
            squares += value * value;
            most = std::max(most, std::abs(value));
            ++n;
        }
    }
    // Deviation of a normal distribution cut at two deviations: 0.8796 of the whole one's. Five standard errors.
    const double deviation = 0.8796 * config.initializer_range;
    const double count = static_cast<double>(n);
    EXPECT_NEAR(sum / count, 0, 5 * deviation / std::sqrt(count));
    EXPECT_NEAR(std::sqrt(squares / count), deviation, 5 * deviation / std::sqrt(2 * count));
    EXPECT_LE(most, 2 * config.initializer_range * (1 + 1e-6));
    EXPECT_GT(most, 1.99 * config.initializer_range);
}

TEST(InitialParameters, AFunctionOfSeedNameAndElement) {
    const ModelConfig config = small_config();
    ModelConfig other = config;
    other.layers = 5;
    other.positions = 55;
    other.sharing = Sharing::none;
    const ParameterLayout layout = make_parameter_layout(config);
    const ParameterLayout other_layout = make_parameter_layout(other);
    const std::vector<float> values = initial_parameters(layout, config, 3);
    const std::vector<float> other_values = initial_parameters(other_layout, other, 3);
    EXPECT_EQ(values, initial_parameters(layout, config, 3));
    EXPECT_NE(values, initial_parameters(layout, config, 4));
    for (const Parameter& parameter : layout.parameters) {
        const Parameter* same = other_layout.find(parameter.name);
        ASSERT_NE(same, nullptr) << parameter.name;
        EXPECT_TRUE(std::equal(values.begin() + parameter.offset, values.begin() + parameter.offset + parameter.size,
                               other_values.begin() + same->offset))
            << parameter.name;
    }
    const float* query = values.data() + layout.attention[0].qkv.weight;
    EXPECT_FALSE(std::equal(query, query + 33 * 33, query + 33 * 33)) << "query and key differ";
}

TEST(ParameterTable, NamesTheTotals) {
    const ModelConfig config = preset("prot_albert");
    const std::string table = parameter_table(make_parameter_layout(config), config);
    for (const char* part : {"224,347,300", "223,814,400", "5,120,000", "[16384, 4096]", "12 iterations"}) {
        EXPECT_NE(table.find(part), std::string::npos) << part << " in\n" << table;
    }
}

// performance.md, section 1: forward GFLOP a token (to its digits), TFLOP a sequence forward and backward.
TEST(Cost, ProtAlbert) {
    const ModelConfig config = preset("prot_albert");
    EXPECT_NEAR(forward_flops(config, 512) / 512 * 1e-9, 4.93, 0.005);
    EXPECT_NEAR(forward_flops(config, 2048) / 2048 * 1e-9, 5.24, 0.006);
    EXPECT_NEAR(training_flops(config, 512) * 1e-12, 7.58, 0.01);
    EXPECT_NEAR(training_flops(config, 2048) * 1e-12, 32.2, 0.05);
}

}  // namespace

}  // namespace protalbert::testing

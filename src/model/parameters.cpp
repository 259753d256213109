#include "model/parameters.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace protalbert {

namespace {

/// Elements between two block starts: a cache line of 64 bytes, which every vector load and every copy of a block in
/// half precision is happy with.
constexpr std::int64_t block_alignment = 16;

class LayoutBuilder {
  public:
    explicit LayoutBuilder(ParameterLayout& layout) : layout_(layout) {}

    /// Places a parameter and returns its offset. `follows`: without a gap behind the one before.
    std::int64_t add(const std::string& name, std::vector<std::int64_t> shape, Initializer initializer,
                     bool follows = false) {
        Parameter parameter;
        parameter.name = name;
        parameter.size = 1;
        for (const std::int64_t extent : shape) parameter.size *= extent;
        parameter.shape = std::move(shape);
        parameter.offset = follows ? end_ : aligned(end_);
        parameter.initializer = initializer;
        parameter.regularised = name.find("LayerNorm") == std::string::npos &&
                                name.find("layer_norm") == std::string::npos && name.find("bias") == std::string::npos;
        end_ = parameter.offset + parameter.size;
        layout_.size = aligned(end_);
        layout_.parameters.push_back(std::move(parameter));
        return layout_.parameters.back().offset;
    }
    std::int64_t add_table(const std::string& name, std::int64_t rows, std::int64_t columns) {
        return add(name + ".weight", {rows, columns}, Initializer::truncated_normal);
    }
    DenseOffsets add_dense(const std::string& name, std::int64_t out, std::int64_t in) {
        const std::int64_t weight = add(name + ".weight", {out, in}, Initializer::truncated_normal);
        return {weight, add(name + ".bias", {out}, Initializer::zeros)};
    }
    NormOffsets add_norm(const std::string& name, std::int64_t features) {
        const std::int64_t gamma = add(name + ".weight", {features}, Initializer::ones);
        return {gamma, add(name + ".bias", {features}, Initializer::zeros)};
    }
    AttentionOffsets add_attention(const std::string& layer, std::int64_t H) {
        const std::string attention = layer + ".attention.";
        AttentionOffsets offsets;
        offsets.qkv.weight = add(attention + "query.weight", {H, H}, Initializer::truncated_normal);
        add(attention + "key.weight", {H, H}, Initializer::truncated_normal, true);
        add(attention + "value.weight", {H, H}, Initializer::truncated_normal, true);
        offsets.qkv.bias = add(attention + "query.bias", {H}, Initializer::zeros);
        add(attention + "key.bias", {H}, Initializer::zeros, true);
        add(attention + "value.bias", {H}, Initializer::zeros, true);
        offsets.output = add_dense(attention + "dense", H, H);
        offsets.norm = add_norm(attention + "LayerNorm", H);
        offsets.end = layout_.size;
        return offsets;
    }
    FeedForwardOffsets add_feed_forward(const std::string& layer, std::int64_t H, std::int64_t F) {
        FeedForwardOffsets offsets;
        offsets.in = add_dense(layer + ".ffn", F, H);
        offsets.out = add_dense(layer + ".ffn_output", H, F);
        offsets.norm = add_norm(layer + ".full_layer_layer_norm", H);
        offsets.end = layout_.size;
        return offsets;
    }

  private:
    static std::int64_t aligned(std::int64_t offset) {
        return (offset + block_alignment - 1) / block_alignment * block_alignment;
    }

    ParameterLayout& layout_;
    std::int64_t end_ = 0;
};

/// Both parts of every block, each stored once under (group, inner layer); a part that is not shared has the iteration
/// as its group.
void add_encoder(LayoutBuilder& builder, ParameterLayout& layout, const ModelConfig& config) {
    const bool shares_attention = config.sharing == Sharing::all || config.sharing == Sharing::attention;
    const bool shares_feed_forward = config.sharing == Sharing::all || config.sharing == Sharing::ffn;
    using Place = std::pair<std::int64_t, std::int64_t>;
    const auto layer_name = [](const Place& place) {
        return fmt::format("albert.encoder.albert_layer_groups.{}.albert_layers.{}", place.first, place.second);
    };
    std::map<Place, int> attention;
    std::map<Place, int> feed_forward;
    for (std::int64_t iteration = 0; iteration < config.layers; ++iteration) {
        const std::int64_t group = group_of_iteration(config, iteration);
        for (std::int64_t inner = 0; inner < config.inner; ++inner) {
            const Place attention_place{shares_attention ? group : iteration, inner};
            const auto [a, new_attention] =
                attention.try_emplace(attention_place, static_cast<int>(layout.attention.size()));
            if (new_attention) {
                layout.attention.push_back(builder.add_attention(layer_name(attention_place), config.hidden));
            }
            layout.attention_of_block.push_back(a->second);

            const Place feed_forward_place{shares_feed_forward ? group : iteration, inner};
            const auto [f, new_feed_forward] =
                feed_forward.try_emplace(feed_forward_place, static_cast<int>(layout.feed_forward.size()));
            if (new_feed_forward) {
                layout.feed_forward.push_back(
                    builder.add_feed_forward(layer_name(feed_forward_place), config.hidden, config.intermediate));
            }
            layout.feed_forward_of_block.push_back(f->second);
        }
    }
}

}  // namespace

std::int64_t group_of_iteration(const ModelConfig& config, std::int64_t iteration) {
    // In floating point and in this order: where layers / groups is no whole number, transformers' rounding now and
    // then gives the group before the exact quotient's (iteration 9 of 18 with 14 groups: 6, not 7).
    const double iterations = static_cast<double>(config.layers) / static_cast<double>(config.groups);
    return static_cast<std::int64_t>(static_cast<double>(iteration) / iterations);
}

ParameterLayout make_parameter_layout(const ModelConfig& config, ModelPart part) {
    const std::int64_t H = config.hidden;
    const std::int64_t E = config.embedding;
    ParameterLayout layout;
    LayoutBuilder builder(layout);
    layout.word = builder.add_table("albert.embeddings.word_embeddings", config.vocabulary, E);
    layout.position = builder.add_table("albert.embeddings.position_embeddings", config.positions, E);
    layout.segment = builder.add_table("albert.embeddings.token_type_embeddings", 2, E);
    layout.embedding_norm = builder.add_norm("albert.embeddings.LayerNorm", E);
    if (config.projection) layout.projection = builder.add_dense("albert.encoder.embedding_hidden_mapping_in", H, E);
    add_encoder(builder, layout, config);
    if (part == ModelPart::encoder) return layout;
    layout.pooler = builder.add_dense("albert.pooler", H, H);
    layout.masked_bias = builder.add("predictions.bias", {config.vocabulary}, Initializer::zeros);
    layout.masked = builder.add_dense("predictions.dense", E, H);
    layout.masked_norm = builder.add_norm("predictions.LayerNorm", E);
    layout.sentence = builder.add_dense("sop_classifier.classifier", 2, H);
    return layout;
}

std::int64_t ParameterLayout::count() const {
    std::int64_t elements = 0;
    for (const Parameter& parameter : parameters) elements += parameter.size;
    return elements;
}

std::vector<Variable> ParameterLayout::variables() const {
    std::vector<Variable> list;
    for (const Parameter& parameter : parameters) {
        list.push_back({parameter.offset, parameter.size, parameter.regularised});
    }
    return list;
}

const Parameter* ParameterLayout::find(const std::string& name) const {
    for (const Parameter& parameter : parameters) {
        if (parameter.name == name) return &parameter;
    }
    return nullptr;
}

}  // namespace protalbert

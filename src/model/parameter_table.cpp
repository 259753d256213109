// The table of parameters that a program prints at its start.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/progress.hpp"
#include "model/parameters.hpp"

namespace protalbert {

namespace {

/// A line of the table: tensors that a reader thinks of as one thing.
struct Part {
    const char* title;
    std::vector<std::string> names;  ///< of which a tensor's name must contain one
    std::int64_t tensors = 0;
    std::int64_t elements = 0;
    std::vector<std::int64_t> shape{};  ///< of the one with most dimensions
};

std::string count(std::int64_t number) { return format_count(static_cast<std::uint64_t>(number)); }

}  // namespace

std::string parameter_table(const ParameterLayout& layout, const ModelConfig& config) {
    // The first part whose name fits gets a tensor.
    std::vector<Part> parts{
        {"word embeddings", {"word_embeddings"}},
        {"position embeddings", {"position_embeddings"}},
        {"segment embeddings", {"token_type_embeddings"}},
        {"embedding layer norm", {"embeddings.LayerNorm"}},
        {"projection", {"embedding_hidden_mapping_in"}},
        {"attention query, key, value", {"attention.query", "attention.key", "attention.value"}},
        {"attention output", {"attention.dense"}},
        {"attention layer norm", {"attention.LayerNorm"}},
        {"feed-forward in", {".ffn."}},
        {"feed-forward out", {".ffn_output."}},
        {"feed-forward layer norm", {"full_layer_layer_norm"}},
        {"pooler", {"albert.pooler"}},
        {"masked-residue head", {"predictions."}},
        {"sentence head", {"sop_classifier."}},
    };
    std::int64_t encoder = 0;  // embeddings and layers
    std::int64_t pooler = 0;
    std::int64_t heads = 0;
    for (const Parameter& parameter : layout.parameters) {
        for (Part& part : parts) {
            const bool belongs = std::any_of(part.names.begin(), part.names.end(), [&](const std::string& name) {
                return parameter.name.find(name) != std::string::npos;
            });
            if (!belongs) continue;
            if (part.tensors == 0 || parameter.shape.size() > part.shape.size()) part.shape = parameter.shape;
            ++part.tensors;
            part.elements += parameter.size;
            break;
        }
        (parameter.name.starts_with("albert.pooler") ? pooler
         : parameter.name.starts_with("albert.")     ? encoder
                                                     : heads) += parameter.size;
    }
    std::string table = fmt::format("{:<30} {:>8} {:>16} {:>15}\n", "parameters", "tensors", "largest", "elements");
    for (const Part& part : parts) {
        if (part.tensors == 0) continue;
        table += fmt::format("{:<30} {:>8} {:>16} {:>15}\n", part.title, part.tensors,
                             fmt::format("[{}]", fmt::join(part.shape, ", ")), count(part.elements));
    }
    const auto total = [&](const char* title, std::int64_t elements) {
        table += fmt::format("{:<56} {:>15}\n", title, count(elements));
    };
    total("embeddings and encoder", encoder);
    total("with pooler", encoder + pooler);
    total("with both heads", encoder + pooler + heads);
    table += fmt::format(
        "{} iterations of {} inner layer{} in {} group{}, sharing \"{}\": {} blocks run, {} attention "
        "and {} feed-forward parts stored",
        config.layers, config.inner, config.inner == 1 ? "" : "s", config.groups, config.groups == 1 ? "" : "s",
        sharing_name(config.sharing), config.blocks(), layout.attention.size(), layout.feed_forward.size());
    return table;
}

}  // namespace protalbert

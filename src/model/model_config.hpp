#pragma once
// The architecture: ALBERT with every option, and the presets.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/deck.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

/// Which parameters the iterations share: both parts of the layer, attention alone, the feed-forward part alone, none.
enum class Sharing { all, attention, ffn, none };

struct ModelConfig {
    std::int64_t layers = 12;           ///< L, iterations
    std::int64_t hidden = 4096;         ///< H
    std::int64_t intermediate = 16384;  ///< F
    std::int64_t heads = 64;            ///< A
    std::int64_t embedding = 128;       ///< E
    std::int64_t groups = 1;            ///< iteration i uses group i / (layers / groups)
    std::int64_t inner = 1;             ///< layers run in turn in each iteration
    std::int64_t positions = 40000;     ///< P
    std::int64_t vocabulary = 34;       ///< V
    Sharing sharing = Sharing::all;
    Gelu activation = Gelu::tanh;
    double layer_norm_epsilon = 1e-12;
    double head_layer_norm_epsilon =
        1e-12;  ///< of the masked-residue head; 1e-5 in transformers of version 4 and before
    double initializer_range = 0.02;
    bool projection = true;  ///< E -> H; the official code has none when E = H, transformers keeps one even then

    std::int64_t head_size() const { return hidden / heads; }
    std::int64_t blocks() const { return layers * inner; }  ///< layers run in one forward pass
};

/// "prot_albert", "albert_base", "albert_large", "albert_xlarge", "albert_xxlarge", "bert_base", "bert_large".
/// Throws InputError listing the presets.
ModelConfig preset(const std::string& name);
std::vector<std::string> preset_names();

/// The deck's [model]: a preset (without one prot_albert) with any key overridden. V is `vocabulary`, the
/// corpus' pieces, where the deck has no rows to spare. Throws InputError for sizes that cannot be (hidden not a
/// multiple of heads, groups beyond layers ...), naming the key.
ModelConfig read_model_config(Deck& deck, std::int64_t vocabulary);

/// Where the value of a deck's key ("hidden", without "model.") came from, for messages.
using KeyPlace = std::function<std::string(const std::string& key)>;
/// Throws InputError unless the sizes fit together.
void check_model_config(const ModelConfig& config, const KeyPlace& place);

/// JSON with Hugging Face's names (hidden_size, num_hidden_layers ...) and ours where it has none.
std::string to_json(const ModelConfig& config);
/// Reads what to_json wrote, or Hugging Face's config.json: sizes must be there, the rest has AlbertConfig's defaults.
/// `origin` names the file in messages. Throws InputError naming the key.
ModelConfig config_from_json(const std::string& json, const std::string& origin);
/// "key: ours against theirs" for each difference.
std::vector<std::string> differences(const ModelConfig& ours, const ModelConfig& theirs);

const char* sharing_name(Sharing sharing);     ///< as in the deck
const char* activation_name(Gelu activation);  ///< as in the deck

}  // namespace protalbert

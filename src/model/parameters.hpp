#pragma once
// Every parameter of a model: Hugging Face's name, shape, and place in one float32 array. Gradients and moments are
// arrays of the same layout.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "model/model_config.hpp"

namespace protalbert {

enum class Initializer { zeros, ones, truncated_normal };

struct Parameter {
    std::string name;  ///< as in transformers' AlbertForPreTraining
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0;  ///< first element in the array
    std::int64_t size = 0;    ///< elements
    Initializer initializer = Initializer::zeros;
    bool regularised = true;  ///< false for names with LayerNorm, layer_norm or bias
};

// Offsets into the parameter array, which starts every block on a cache line. Query, key and value are contiguous, so
// that one product computes all three.
struct DenseOffsets {
    std::int64_t weight = -1, bias = -1;
};
struct NormOffsets {
    std::int64_t gamma = -1, beta = -1;
};
struct AttentionOffsets {
    DenseOffsets qkv;      ///< [3H, H], [3H]
    DenseOffsets output;   ///< [H, H], [H]
    NormOffsets norm;      ///< [H]
    std::int64_t end = 0;  ///< first element behind this part
};
struct FeedForwardOffsets {
    DenseOffsets in;   ///< [F, H], [F]
    DenseOffsets out;  ///< [H, F], [H]
    NormOffsets norm;  ///< [H]
    std::int64_t end = 0;
};

struct ParameterLayout {
    std::vector<Parameter> parameters;
    std::int64_t size = 0;  ///< elements of the array, padding between parameters included (zeros)

    std::int64_t word = 0, position = 0, segment = 0;
    NormOffsets embedding_norm;
    DenseOffsets projection;                       ///< [H, E], [H]; -1 without one
    std::vector<AttentionOffsets> attention;       ///< distinct attention parts
    std::vector<FeedForwardOffsets> feed_forward;  ///< distinct feed-forward parts
    std::vector<int> attention_of_block;           ///< [L * inner] index into `attention`
    std::vector<int> feed_forward_of_block;        ///< [L * inner] index into `feed_forward`
    // Not in an encoder alone:
    DenseOffsets pooler;  ///< [H, H], [H]
    DenseOffsets masked;  ///< [E, H], [E]
    NormOffsets masked_norm;
    std::int64_t masked_bias = 0;  ///< [V]; the decoder's weight is `word`
    DenseOffsets sentence;         ///< [2, H], [2]

    std::int64_t count() const;               ///< elements of all parameters, without padding
    std::vector<Variable> variables() const;  ///< for the optimiser, in the order of `parameters`
    const Parameter* find(const std::string& name) const;
};

/// Which parameters a model has: all, or those that its vectors need (no pooler, no heads).
enum class ModelPart { whole, encoder };

ParameterLayout make_parameter_layout(const ModelConfig& config, ModelPart part = ModelPart::whole);

/// Initial values on the host, [layout.size]: truncated normal (at two standard deviations of initializer_range) for
/// matrices and tables, zeros for biases and beta, ones for gamma; each value a function of (seed, parameter's name and
/// element), so that sharing or the number of layers does not change the others. As google-research/albert modeling.py.
std::vector<float> initial_parameters(const ParameterLayout& layout, const ModelConfig& config, std::uint64_t seed);
/// The same of one parameter, into `values` [parameter.size].
void initialise(float* values, const Parameter& parameter, const ModelConfig& config, std::uint64_t seed);
/// The group of an iteration, 0 .. groups - 1, as transformers computes it.
std::int64_t group_of_iteration(const ModelConfig& config, std::int64_t iteration);

/// The table printed at the start: parts with shapes and counts, totals for encoder, pooler and heads.
std::string parameter_table(const ParameterLayout& layout, const ModelConfig& config);

}  // namespace protalbert

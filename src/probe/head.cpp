#include "probe/head.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/random.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// Most channels of a convolution's output.
std::int64_t widest(const HeadLayout& layout) {
    std::int64_t channels = layout.hidden.out;
    for (const Convolution& output : layout.outputs) channels = std::max(channels, output.out);
    return channels;
}

/// out [T, convolution.out] = the convolution of x [T, convolution.in].
void convolve(const Head& head, const Convolution& convolution, Activations out, Activations taps, Activations x,
              const PackedSequences& sequences, Stream stream) {
    const Weight weight{reinterpret_cast<std::byte*>(head.at(convolution.weight)), sizeof(float)};
    head.backend->linear(taps, x, weight, {}, sequences.tokens, convolution.window * convolution.out, convolution.in,
                         stream);
    head.backend->window_sum(out, taps, head.at(convolution.bias), sequences, convolution.window, convolution.out,
                             stream);
}

/// Gradients of a convolution's parameters from dout [T, out] and x [T, in]; leaves the taps' gradients in `taps`.
void convolve_backward_parameters(const Head& head, const Convolution& convolution, float* gradients, Activations dout,
                                  Activations x, const HeadWorkspace& workspace, const PackedSequences& sequences,
                                  Stream stream) {
    Backend& backend = *head.backend;
    backend.window_sum_backward(workspace.taps, dout, sequences, convolution.window, convolution.out, stream);
    backend.linear_backward_weight(gradients + convolution.weight, workspace.tap_biases, workspace.taps, x, false,
                                   sequences.tokens, convolution.window * convolution.out, convolution.in, stream);
    // The middle tap passes every row of dout on, so that its column sums are the bias' gradient.
    backend.copy(gradients + convolution.bias, workspace.tap_biases + convolution.window / 2 * convolution.out,
                 static_cast<std::size_t>(convolution.out) * sizeof(float), stream);
}

}  // namespace

HeadConfig head_config(Task task, std::int64_t features, const std::vector<LabelKind>& kinds) {
    HeadConfig config;
    config.task = task;
    config.features = features;
    config.window = task == Task::secondary_structure ? 7 : 1;
    config.kinds = kinds;
    return config;
}

HeadLayout make_head_layout(const HeadConfig& config) {
    // Every array starts on a cache line.
    constexpr std::int64_t line = 64 / sizeof(float);
    HeadLayout layout;
    const auto place = [&](const std::string& name, std::int64_t in, std::int64_t out) {
        Convolution convolution{name, in, out, config.window, layout.size, 0};
        convolution.bias = (convolution.weight + convolution.weight_size() + line - 1) / line * line;
        layout.size = (convolution.bias + out + line - 1) / line * line;
        return convolution;
    };
    layout.hidden = place("hidden", config.features, config.channels);
    for (const LabelKind& kind : config.kinds)
        layout.outputs.push_back(place(kind.name, config.channels, kind.count()));
    return layout;
}

std::vector<Convolution> HeadLayout::all() const {
    std::vector<Convolution> convolutions{hidden};
    convolutions.insert(convolutions.end(), outputs.begin(), outputs.end());
    return convolutions;
}

std::vector<Variable> HeadLayout::variables() const {
    std::vector<Variable> variables;
    for (const Convolution& convolution : all()) {
        variables.push_back({convolution.weight, convolution.weight_size(), false});
        variables.push_back({convolution.bias, convolution.out, false});
    }
    return variables;
}

std::vector<float> initial_head(const HeadLayout& layout, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(layout.size), 0.0F);
    std::uint64_t number = 0;
    for (const Convolution& convolution : layout.all()) {
        const double bound = 1 / std::sqrt(static_cast<double>(convolution.window * convolution.in));
        RandomStream random(seed, Purpose::head, 0, number++);
        const auto fill = [&](std::int64_t first, std::int64_t count) {
            for (std::int64_t i = first; i < first + count; ++i)
                values[static_cast<std::size_t>(i)] = static_cast<float>((2 * random.uniform() - 1) * bound);
        };
        fill(convolution.weight, convolution.weight_size());
        fill(convolution.bias, convolution.out);
    }
    return values;
}

std::vector<float> to_file_order(const float* weight, const Convolution& convolution) {
    const auto& [name, in, out, window, first, bias] = convolution;
    std::vector<float> values(static_cast<std::size_t>(convolution.weight_size()));
    for (std::int64_t w = 0; w < window; ++w)
        for (std::int64_t i = 0; i < out * in; ++i)
            values[static_cast<std::size_t>(i * window + w)] = weight[w * out * in + i];
    return values;
}

std::vector<float> from_file_order(const float* weight, const Convolution& convolution) {
    const auto& [name, in, out, window, first, bias] = convolution;
    std::vector<float> values(static_cast<std::size_t>(convolution.weight_size()));
    for (std::int64_t w = 0; w < window; ++w)
        for (std::int64_t i = 0; i < out * in; ++i)
            values[static_cast<std::size_t>(w * out * in + i)] = weight[i * window + w];
    return values;
}

Head make_head(const HeadConfig& config, const std::vector<float>& values, Backend& backend) {
    Head head{config, make_head_layout(config), &backend, {}};
    head.parameters = DeviceMemory(backend, values.size() * sizeof(float));
    backend.upload(head.parameters.data(), values.data(), values.size() * sizeof(float), default_stream);
    backend.synchronize(default_stream);
    return head;
}

std::vector<float> head_values(const Head& head) {
    std::vector<float> values(static_cast<std::size_t>(head.layout.size));
    head.backend->download(values.data(), head.parameters.data(), values.size() * sizeof(float), default_stream);
    head.backend->synchronize(default_stream);
    return values;
}

HeadWorkspace make_head_workspace(const Head& head, std::int64_t T, bool training) {
    HeadWorkspace workspace;
    const std::int64_t W = head.config.window, channels = head.config.channels, most = widest(head.layout);
    PROTALBERT_CHECK(T > 0, "a rank without rows computes nothing");
    const auto lay_out = [&](Arena& arena) {
        workspace.hidden = arena.activations(T * channels);
        workspace.taps = arena.activations(T * W * most);
        workspace.logits.clear();
        for (const Convolution& output : head.layout.outputs)
            workspace.logits.push_back(arena.activations(T * output.out));
        if (!training) return;
        workspace.dhidden = arena.activations(T * channels);
        workspace.tap_biases = arena.floats(W * most);
    };
    Arena sizes(nullptr, sizeof(float));
    lay_out(sizes);
    workspace.memory = DeviceMemory(*head.backend, sizes.bytes());
    Arena arena(workspace.memory.data(), sizeof(float));
    lay_out(arena);
    return workspace;
}

void head_forward(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, const Dropout& dropout,
                  Stream stream) {
    const PackedSequences& sequences = batch.sequences;
    convolve(head, head.layout.hidden, workspace.hidden, workspace.taps, batch.features, sequences, stream);
    head.backend->relu_dropout(workspace.hidden, workspace.hidden, batch.rows, dropout, sequences.tokens,
                               head.config.channels, stream);
    for (std::size_t k = 0; k < workspace.logits.size(); ++k)
        convolve(head, head.layout.outputs[k], workspace.logits[k], workspace.taps, workspace.hidden, sequences,
                 stream);
}

void head_losses(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, LossSums* sums,
                 const std::vector<double>& scales, Stream stream) {
    for (std::size_t k = 0; k < workspace.logits.size(); ++k)
        head.backend->cross_entropy(sums + k, workspace.logits[k], workspace.logits[k], batch.labels[k], scales[k],
                                    batch.sequences.tokens, head.layout.outputs[k].out, stream);
}

void head_backward(const Head& head, const HeadBatch& batch, const HeadWorkspace& workspace, float* gradients,
                   Stream stream) {
    Backend& backend = *head.backend;
    const PackedSequences& sequences = batch.sequences;
    const std::int64_t T = sequences.tokens, channels = head.config.channels;
    for (std::size_t k = 0; k < workspace.logits.size(); ++k) {
        const Convolution& output = head.layout.outputs[k];
        convolve_backward_parameters(head, output, gradients, workspace.logits[k], workspace.hidden, workspace,
                                     sequences, stream);
        const Weight weight{reinterpret_cast<std::byte*>(head.at(output.weight)), sizeof(float)};
        backend.linear_backward_data(workspace.dhidden, workspace.taps, weight,
                                     k > 0 ? workspace.dhidden : Activations{}, T, output.window * output.out, channels,
                                     stream);
    }
    backend.relu_dropout_backward(workspace.dhidden, workspace.dhidden, workspace.hidden, head.config.dropout,
                                  T * channels, stream);
    convolve_backward_parameters(head, head.layout.hidden, gradients, workspace.dhidden, batch.features, workspace,
                                 sequences, stream);
}

}  // namespace protalbert

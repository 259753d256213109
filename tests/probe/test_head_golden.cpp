// Heads against PyTorch: logits, losses, gradients and parameters after steps of Adam (make_golden.py).

#include <gtest/gtest.h>

#include <cmath>

#include "io/hdf5.hpp"
#include "probe/head.hpp"
#include "probe/head_batch.hpp"
#include "probe/training.hpp"

namespace protalbert {
namespace {

template <class T>
std::vector<T> read_all(const Hdf5File& file, const std::string& name) {
    const std::vector<std::uint64_t> shape = file.shape(name);
    std::size_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;
    std::vector<T> values(elements);
    EXPECT_EQ(element_size(file.element(name)), sizeof(T)) << name;
    file.read(name, values.data(), {0, shape.at(0)});
    return values;
}

/// An array of the layout from PyTorch's tensors.
std::vector<float> read_parameters(const Hdf5File& file, const std::string& group, const HeadLayout& layout) {
    std::vector<float> values(static_cast<std::size_t>(layout.size), 0.0F);
    for (const Convolution& convolution : layout.all()) {
        const std::string name = group + "/" + convolution.name;
        const std::vector<float> weight = from_file_order(read_all<float>(file, name + ".weight").data(), convolution);
        const std::vector<float> bias = read_all<float>(file, name + ".bias");
        std::copy(weight.begin(), weight.end(), values.begin() + convolution.weight);
        std::copy(bias.begin(), bias.end(), values.begin() + convolution.bias);
    }
    return values;
}

/// |got - want| <= tolerance (|want| + root mean square of want).
void expect_close(const std::vector<float>& got, const std::vector<float>& want, double tolerance,
                  const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    double squares = 0;
    for (const float value : want) squares += static_cast<double>(value) * value;
    const double scale = std::sqrt(squares / static_cast<double>(want.size()));
    for (std::size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], tolerance * (std::fabs(want[i]) + scale)) << what << ", element " << i;
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, LogitsLossesGradientsAndSteps) {
    const Hdf5File file = Hdf5File::open_alone(GOLDEN_FILE);
    const std::string group = std::string("/") + GetParam();
    HeadConfig config;
    config.task = file.exists(group + "/labels/location") ? Task::localization : Task::secondary_structure;
    config.features = static_cast<std::int64_t>(file.shape(group + "/features").at(1));
    config.window = file.integer_attribute(group, "window");
    config.dropout = file.number_attribute(group, "dropout");
    for (const LabelKind& kind : label_kinds(config.task))
        if (file.exists(group + "/labels/" + kind.name)) config.kinds.push_back(kind);
    const HeadLayout layout = make_head_layout(config);
    const auto backend = make_backend("cpu", Precision::float32, 2);
    Head head = make_head(config, read_parameters(file, group + "/parameters", layout), *backend);

    const std::vector<float> features = read_all<float>(file, group + "/features");
    const std::vector<std::int64_t> rows = read_all<std::int64_t>(file, group + "/rows");
    const std::vector<std::int64_t> offsets = read_all<std::int64_t>(file, group + "/offsets");
    const std::int64_t T = offsets.back();
    DeviceMemory device_features, device_rows, device_offsets;
    std::vector<DeviceMemory> device_labels(config.kinds.size());
    HeadBatch batch;
    batch.sequences = {static_cast<std::int64_t>(offsets.size()) - 1, T,
                       upload_values(device_offsets, offsets, *backend, {}), offsets.data()};
    upload_values(device_features, features, *backend, {});
    batch.features = {device_features.data(), sizeof(float)};
    batch.rows = upload_values(device_rows, rows, *backend, {});
    std::vector<double> scales;
    for (std::size_t k = 0; k < config.kinds.size(); ++k) {
        const std::vector<std::int32_t> labels =
            read_all<std::int32_t>(file, group + "/labels/" + config.kinds[k].name);
        batch.labels.push_back(upload_values(device_labels[k], labels, *backend, {}));
        const auto labelled =
            std::count_if(labels.begin(), labels.end(), [](std::int32_t label) { return label >= 0; });
        ASSERT_LT(labelled, T) << "the case has rows without label";
        scales.push_back(1 / static_cast<double>(labelled));
    }

    const std::vector<double> losses = read_all<double>(file, group + "/losses");
    const std::size_t K = config.kinds.size();
    const HeadWorkspace workspace = make_head_workspace(head, T, true);
    const std::size_t bytes = static_cast<std::size_t>(layout.size) * sizeof(float);
    DeviceMemory gradients(*backend, bytes), m(*backend, bytes), v(*backend, bytes);
    DeviceMemory sums(*backend, K * sizeof(LossSums));
    const auto download = [&](const DeviceMemory& memory) {
        std::vector<float> values(static_cast<std::size_t>(layout.size));
        backend->download(values.data(), memory.data(), bytes, {});
        backend->synchronize({});
        return values;
    };
    // A few hundred float32 products behind each number; measured at most 2e-6 of the tensor's size. A wrong term shows
    // at 1e-2 or more.
    const double tolerance = 1e-5;
    for (std::int64_t step = 1; step <= static_cast<std::int64_t>(losses.size() / K); ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        backend->set_zero(sums.data(), sums.bytes(), {});
        head_forward(head, batch, workspace,
                     {file.unsigned_attribute(group, "seed"), static_cast<std::uint32_t>(step), config.dropout}, {});
        for (std::size_t k = 0; k < K && step == 1; ++k) {
            std::vector<float> logits(static_cast<std::size_t>(T * config.kinds[k].count()));
            backend->download(logits.data(), workspace.logits[k].data, logits.size() * sizeof(float), {});
            backend->synchronize({});
            expect_close(logits, read_all<float>(file, group + "/logits/" + config.kinds[k].name), tolerance, "logits");
        }
        head_losses(head, batch, workspace, sums.as<LossSums>(), scales, {});
        std::vector<LossSums> got(K);
        backend->download(got.data(), sums.data(), sums.bytes(), {});
        backend->synchronize({});
        for (std::size_t k = 0; k < K; ++k) {
            const double want = losses[static_cast<std::size_t>(step - 1) * K + k];
            EXPECT_NEAR(got[k].loss * scales[k], want, 1e-6 * (1 + want)) << config.kinds[k].name;
        }
        head_backward(head, batch, workspace, gradients.as<float>(), {});
        if (step == 1) {
            const std::vector<float> ours = download(gradients);
            const std::vector<float> theirs = read_parameters(file, group + "/gradients", layout);
            for (const Convolution& c : layout.all()) {
                const auto part = [&](const std::vector<float>& all, std::int64_t first, std::int64_t count) {
                    return std::vector<float>(all.begin() + first, all.begin() + first + count);
                };
                expect_close(part(ours, c.weight, c.weight_size()), part(theirs, c.weight, c.weight_size()), tolerance,
                             c.name + ".weight");
                expect_close(part(ours, c.bias, c.out), part(theirs, c.bias, c.out), tolerance, c.name + ".bias");
            }
        }
        backend->adamw(head.parameters.as<float>(), nullptr, m.as<float>(), v.as<float>(), gradients.as<float>(),
                       layout.variables(), adam_step(file.number_attribute(group, "learning_rate"), step), {});
        // Adam divides by the gradient's size, so that small gradients' rounding grows to a part of a step of 1e-3:
        // compare with that step.
        const std::vector<float> after = head_values(head);
        const std::vector<float> want = read_parameters(file, group + "/after/" + std::to_string(step), layout);
        for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(after[i], want[i], 1e-5) << "parameter " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Heads, Golden, ::testing::Values("structure", "one_kind", "localization"));

}  // namespace
}  // namespace protalbert

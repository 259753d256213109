// Steps of several ranks, replayed from their dumps by one rank alone and in double precision: losses and gradients do
// not depend on who computes what, and the update is the official one.

#include <cmath>
#include <numeric>

#include "../foundation/mpi_main.hpp"
#include "base/error.hpp"
#include "io/hdf5.hpp"
#include "training_run.hpp"

namespace protalbert {
namespace {

using namespace train_test;

template <class Value>
std::vector<Value> read_all(const Hdf5File& file, const std::string& name) {
    const std::uint64_t rows = file.shape(name).at(0);
    std::vector<Value> values(rows);
    file.read(name, values.data(), {0, rows});
    return values;
}

PackedBatch read_batch(const Hdf5File& file, bool sentence_task) {
    PackedBatch batch;
    batch.tokens = read_all<std::int32_t>(file, "/tokens");
    batch.segments = read_all<std::int32_t>(file, "/segments");
    batch.positions = read_all<std::int32_t>(file, "/positions");
    batch.cu_seqlens = read_all<std::int64_t>(file, "/cu_seqlens");
    batch.masked_positions = read_all<std::int64_t>(file, "/masked_positions");
    batch.masked_labels = read_all<std::int32_t>(file, "/masked_labels");
    batch.samples = read_all<std::uint64_t>(file, "/samples");
    batch.sentence_labels.assign(batch.samples.size(), -1);
    EXPECT_EQ(file.exists("/sentence_labels"), sentence_task);
    if (sentence_task) batch.sentence_labels = read_all<std::int32_t>(file, "/sentence_labels");
    batch.places.resize(batch.samples.size());
    std::iota(batch.places.begin(), batch.places.end(), 0U);
    return batch;
}

/// An array of the layout, by its parameters' names.
std::vector<float> read_array(const Hdf5File& file, const std::string& folder, const ParameterLayout& layout) {
    std::vector<float> values(static_cast<std::size_t>(layout.size), 0.0F);
    for (const Parameter& parameter : layout.parameters) {
        const std::vector<std::uint64_t> shape = file.shape(folder + parameter.name);
        EXPECT_TRUE(std::equal(shape.begin(), shape.end(), parameter.shape.begin(), parameter.shape.end()))
            << parameter.name;
        file.read(folder + parameter.name, values.data() + parameter.offset, {0, shape.at(0)});
    }
    return values;
}

double norm(const std::vector<float>& values, std::int64_t first, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = first; i < first + count; ++i) sum += static_cast<double>(values[i]) * values[i];
    return std::sqrt(sum);
}

/// google-research/albert lamb_optimizer.py (or optimization.py's AdamW), one variable after another in double
/// precision; m and v are updated.
std::vector<double> official_update(const ParameterLayout& layout, const std::vector<float>& before,
                                    const std::vector<float>& gradients, std::vector<float> m, std::vector<float> v,
                                    double learning_rate, double clip, double decay, OptimizerKind kind) {
    const double global_norm = norm(gradients, 0, layout.size);
    const double factor = clip > 0 ? clip / std::max(global_norm, clip) : 1.0;  // tf.clip_by_global_norm
    std::vector<double> after(before.begin(), before.end());
    for (const Parameter& parameter : layout.parameters) {
        const auto excluded = [&](const char* part) { return parameter.name.find(part) != std::string::npos; };
        const bool regularised = !excluded("LayerNorm") && !excluded("layer_norm") && !excluded("bias");
        std::vector<double> update(static_cast<std::size_t>(parameter.size));
        double squares = 0;
        for (std::int64_t i = 0; i < parameter.size; ++i) {
            const std::int64_t at = parameter.offset + i;
            const double gradient = factor * gradients[at];
            const double next_m = 0.9 * m[at] + 0.1 * gradient;
            const double next_v = 0.999 * v[at] + 0.001 * gradient * gradient;
            update[i] = next_m / (std::sqrt(next_v) + 1e-6) + (regularised ? decay * before[at] : 0.0);
            squares += update[i] * update[i];
        }
        const double weight_norm = norm(before, parameter.offset, parameter.size), update_norm = std::sqrt(squares);
        const bool trusted = kind == OptimizerKind::lamb && regularised && weight_norm > 0 && update_norm > 0;
        const double rate = learning_rate * (trusted ? weight_norm / update_norm : 1.0);
        for (std::int64_t i = 0; i < parameter.size; ++i) after[parameter.offset + i] -= rate * update[i];
    }
    return after;
}

/// Trains up to and with `step`, and replays that step.
void replay(TrainSettings settings, const ModelConfig& config, std::int64_t step, const std::string& corpus,
            const std::filesystem::path& folder, const Communicator& world) {
    settings.schedule.steps = step + 1;
    const std::string dump = (folder / "dump.h5").string();
    TinyRun run(settings, config, corpus, world);
    run.begin({.resume = "never", .init = {}});
    ASSERT_EQ(run.train({.step = step, .file = dump}), exit_done);

    const bool sentence_task = settings.sample.objective != Objective::none;
    const Hdf5File file = Hdf5File::open(dump, world);
    const PackedBatch batch = read_batch(file, sentence_task);
    EXPECT_EQ(batch.sequence_count(), settings.global_batch);
    EXPECT_EQ(batch.cu_seqlens.back(), batch.token_count());
    for (const std::int64_t position : batch.masked_positions) EXPECT_LT(position, batch.token_count());

    // The whole batch at once, on every rank by itself.
    const ParameterLayout& layout = run.state.model.layout;
    const std::vector<float> before = read_array(file, "/parameters/before/", layout);
    const auto m = read_array(file, "/optimizer/m/before/", layout);
    const auto v = read_array(file, "/optimizer/v/before/", layout);
    Model model = make_model(config, *run.backend);
    set_parameters(model, before);
    const auto workspace =
        make_training_workspace(model, batch.token_count(), batch.sequence_count(), batch.masked_count());
    DeviceMemory sums(*run.backend, 2 * sizeof(LossSums)), device_gradients(*run.backend, layout.size * sizeof(float));
    DeviceBatch device;
    upload_batch(device, batch, *run.backend, {});
    const auto sentences = std::count_if(batch.sentence_labels.begin(), batch.sentence_labels.end(),
                                         [](std::int32_t label) { return label >= 0; });
    forward_backward(model, device, *workspace, device_gradients.as<float>(),
                     {sums.as<LossSums>(), sums.as<LossSums>() + 1}, 1.0 / static_cast<double>(batch.masked_count()),
                     sentences > 0 ? 1.0 / static_cast<double>(sentences) : 0.0, {}, {});
    run.backend->synchronize({});

    // Losses: sums of float32 logits' cross-entropies in another order. 1e-6 is eight roundings of a float32.
    const double mlm = sums.as<LossSums>()[0].loss / static_cast<double>(batch.masked_count());
    const double sop = sentences > 0 ? sums.as<LossSums>()[1].loss / static_cast<double>(sentences) : 0.0;
    EXPECT_NEAR(file.number_attribute("/", "mlm_loss"), mlm, 1e-6 * mlm);
    EXPECT_NEAR(file.number_attribute("/", "sop_loss"), sop, 1e-6);
    EXPECT_DOUBLE_EQ(file.number_attribute("/", "loss"),
                     file.number_attribute("/", "mlm_loss") + file.number_attribute("/", "sop_loss"));
    EXPECT_EQ(file.unsigned_attribute("/", "step"), static_cast<std::uint64_t>(step));
    EXPECT_EQ(file.number_attribute("/", "learning_rate"), learning_rate(settings.schedule, step));

    // Gradients: float32 sums over some hundred tokens in another order and other micro-batches.
    const auto gradients = read_array(file, "/gradients/", layout);
    const float* expected = device_gradients.as<float>();
    const std::vector<float> whole(expected, expected + layout.size);
    const double gradient_norm = norm(whole, 0, layout.size);
    EXPECT_NEAR(file.number_attribute("/", "gradient_norm"), gradient_norm, 1e-5 * gradient_norm);
    for (const Parameter& parameter : layout.parameters) {
        std::vector<float> difference(static_cast<std::size_t>(parameter.size));
        for (std::int64_t i = 0; i < parameter.size; ++i)
            difference[i] = gradients[parameter.offset + i] - whole[parameter.offset + i];
        // The key's bias has no effect on the loss, so that its gradient is rounding alone: hence the global part.
        EXPECT_LE(norm(difference, 0, parameter.size),
                  1e-5 * norm(whole, parameter.offset, parameter.size) + 1e-6 * gradient_norm)
            << parameter.name;
    }

    // The update, from the dumped gradients: m, v, u and w are stored in float32, each rounded once (6e-8 relative).
    const auto after = read_array(file, "/parameters/after/", layout);
    const auto official = official_update(layout, before, gradients, m, v, learning_rate(settings.schedule, step),
                                          settings.clip, settings.weight_decay, settings.optimizer);
    for (const Parameter& parameter : layout.parameters) {
        double largest_move = 0, largest_error = 0, largest_value = 0;
        for (std::int64_t i = parameter.offset; i < parameter.offset + parameter.size; ++i) {
            largest_move = std::max(largest_move, std::abs(official[i] - before[i]));
            largest_error = std::max(largest_error, std::abs(official[i] - after[i]));
            largest_value = std::max(largest_value, std::abs(official[i]));
        }
        EXPECT_LE(largest_error, 1e-5 * largest_move + 1.2e-7 * largest_value) << parameter.name;
        const bool used = sentence_task || (parameter.name.find("pooler") == std::string::npos &&
                                            parameter.name.find("sop_classifier") == std::string::npos);
        if (used && learning_rate(settings.schedule, step) > 0) {
            EXPECT_GT(largest_move, 0) << parameter.name;
        }
    }
}

class Replay : public testing::Test {
  protected:
    Replay() : world_(Communicator::world()), folder_(make_shared_folder("train_replay")) {
        corpus_ = (folder_ / "corpus.h5").string();
        loader_test::write_corpus(corpus_, loader_test::random_proteins(100), world_);
    }
    ~Replay() override { remove_shared_folder(folder_); }

    const Communicator world_;
    const std::filesystem::path folder_;
    std::string corpus_;
};

TEST_F(Replay, LambWithClipping) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.clip = 0.1;  // below the gradients' norm
    for (const std::int64_t step : {0, 1, 5}) replay(settings, tiny_config(), step, corpus_, folder_, world_);
}

TEST_F(Replay, LambWithoutClipping) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.clip = 0;
    settings.weight_decay = 0.3;
    settings.schedule.warmup = 0;
    ModelConfig config = tiny_config();
    config.sharing = Sharing::none;
    for (const std::int64_t step : {0, 3}) replay(settings, config, step, corpus_, folder_, world_);
}

TEST_F(Replay, RanksWithoutASequence) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.global_batch = 2;  // with 3 and 7 ranks most have nothing to compute
    replay(settings, tiny_config(), 3, corpus_, folder_, world_);
}

TEST_F(Replay, AdamW) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.optimizer = OptimizerKind::adamw;
    settings.sample.objective = Objective::nsp;
    replay(settings, tiny_config(), 4, corpus_, folder_, world_);
}

TEST_F(Replay, WithoutSentences) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.sample.objective = Objective::none;
    replay(settings, tiny_config(), 3, corpus_, folder_, world_);
}

}  // namespace
}  // namespace protalbert

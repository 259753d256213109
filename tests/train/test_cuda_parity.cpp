// The tiny model trained by the CUDA backend, on a GPU or emulated, beside the CPU backend: losses, gradients and
// steps. With several ranks the gradients are summed through the host's memory.

#include <cmath>
#include <cstdlib>

#include "../foundation/mpi_main.hpp"
#include "base/error.hpp"
#include "comm/local_gpu.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "train/train_memory.hpp"
#include "training_run.hpp"

namespace protalbert {
namespace {

using namespace train_test;

/// Heads of 32 features: attention runs on the tensor cores in bfloat16.
ModelConfig parity_config() {
    ModelConfig config = tiny_config();
    config.hidden = 64;
    config.heads = 2;
    config.intermediate = 96;
    config.embedding = 16;
    return config;
}

/// Three in the emulation, which is slow; tests/gpu.sh asks for 20.
int parity_steps() {
    const char* const text = std::getenv("PROTALBERT_TEST_STEPS");
    return text != nullptr ? std::atoi(text) : 3;
}

struct Trajectory {
    std::vector<double> losses, norms;            ///< of each step, this rank's losses
    std::vector<float> gradients, start, finish;  ///< of the first step; parameters before and after all
};

Trajectory train(const std::string& device, Precision precision, const std::string& corpus_file,
                 const std::filesystem::path& folder, const Communicator& world) {
    TrainSettings settings = tiny_settings(folder / "run");
    settings.global_batch = 5;
    settings.batch_tokens = 130;  // several micro-batches
    TinyRun run(settings, parity_config(), corpus_file, world, device, precision);
    set_parameters(run.state.model, initial_parameters(run.state.model.layout, run.state.model.config, 1));
    StepWorkspace workspace = make_step_workspace(run.state.model, micro_batch_limits(settings), false, world);
    const LoaderSettings loader{
        .sample = settings.sample, .global_batch = settings.global_batch, .batch_tokens = settings.batch_tokens};
    const int steps = parity_steps();
    const std::vector<StepBatch> batches = BatchLoader::validation_batches(
        run.corpus, static_cast<std::uint64_t>(steps * settings.global_batch), loader,
        [](std::int64_t length) { return static_cast<double>(length); }, world);
    Trajectory trajectory;
    trajectory.start = get_parameters(run.state.model);
    for (const StepBatch& batch : batches) {
        const StepOutcome outcome = compute_gradients(run.state, batch, workspace);
        trajectory.losses.push_back(outcome.losses.masked_loss + outcome.losses.sentence_loss);
        trajectory.norms.push_back(outcome.gradient_norm);
        if (trajectory.gradients.empty()) trajectory.gradients = download_array(run.state.gradients, run.state.model);
        update_parameters(run.state, workspace, settings, 2e-3);
    }
    trajectory.finish = get_parameters(run.state.model);
    return trajectory;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    return std::sqrt(sum);
}

double length(const std::vector<float>& a) { return distance(a, std::vector<float>(a.size(), 0.0F)); }

/// Largest relative differences: of each loss and norm, of the first gradient, and of the way that the parameters went.
struct Tolerances {
    double loss, gradient, way;
};

void compare(Precision precision, const Tolerances& tolerances) {
    if (cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_cuda_parity");
    const std::string file = (folder / "corpus.h5").string();
    loader_test::write_corpus(file, loader_test::random_proteins(100), world);
    const Trajectory want = train("cpu", Precision::float32, file, folder, world);
    const Trajectory got = train("cuda", precision, file, folder, world);
    ASSERT_EQ(got.losses.size(), want.losses.size());
    for (std::size_t step = 0; step < want.losses.size(); ++step) {
        EXPECT_NEAR(got.losses[step], want.losses[step], tolerances.loss * want.losses[step]) << "step " << step;
        EXPECT_NEAR(got.norms[step], want.norms[step], tolerances.gradient * want.norms[step]) << "step " << step;
    }
    const double gradient = distance(got.gradients, want.gradients) / length(want.gradients);
    const double way = distance(got.finish, want.finish) / distance(want.finish, want.start);
    EXPECT_LE(gradient, tolerances.gradient);
    EXPECT_LE(way, tolerances.way);
    if (world.root())
        std::printf("%zu steps: gradient differs by %.2e, the way of the parameters by %.2e\n", want.losses.size(),
                    gradient, way);
}

/// Both are float32: they differ by the order of sums, a few 2^-24 each, and by what an optimiser makes of that where a
/// gradient is close to zero.
TEST(CudaParity, Float32) { compare(Precision::float32, {.loss = 1e-6, .gradient = 2e-6, .way = 1e-5}); }

/// bfloat16 rounds each activation and weight by up to 2^-9 = 0.2 %, some fifty times on the way through three layers
/// and back, which adds up to a few per cent of a gradient; the update divides each element by its size, so that small
/// elements carry their errors in full.
TEST(CudaParity, Bfloat16) { compare(Precision::bfloat16, {.loss = 5e-3, .gradient = 2e-2, .way = 0.1}); }

/// Bytes that are free on the device.
struct FreeMemory {
    std::size_t reserved;                 ///< when the run's memory is taken
    std::size_t made;                     ///< when the run is made
    std::vector<std::size_t> after_step;  ///< of each step
    bool nccl;                            ///< whether NCCL has taken memory of its own
};

FreeMemory free_memory_of_run(const TrainSettings& settings, const Corpus& corpus, const Communicator& world) {
    const std::unique_ptr<Backend> backend = make_rank_backend("cuda", Precision::bfloat16, world);
    reserve_train_memory(parity_config(), settings, *backend, world);
    FreeMemory free{.reserved = backend->memory()->free, .made = 0, .after_step = {}, .nccl = false};
    TrainState state = make_train_state(parity_config(), *backend);
    set_parameters(state.model, initial_parameters(state.model.layout, state.model.config, 1));
    StepWorkspace workspace =
        make_step_workspace(state.model, micro_batch_limits(settings), settings.reproducible, world);
    free.made = backend->memory()->free;
    free.nccl = workspace.reduction.description().starts_with("NCCL");
    const LoaderSettings loader{.sample = settings.sample,
                                .global_batch = settings.global_batch,
                                .batch_tokens = settings.batch_tokens,
                                .blocks = {},
                                .reproducible = settings.reproducible};
    for (const StepBatch& batch : BatchLoader::validation_batches(
             corpus, 26, loader, [](std::int64_t length) { return static_cast<double>(length); }, world)) {
        compute_gradients(state, batch, workspace);
        update_parameters(state, workspace, settings, 1e-3);
        free.after_step.push_back(backend->memory()->free);
    }
    return free;
}

/// The formula covers every array of a run: once its memory is taken, neither making the run nor its steps take more.
TEST(CudaMemory, OneBlockHoldsARun) {
    if (cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_cuda_memory");
    const std::string file = (folder / "corpus.h5").string();
    loader_test::write_corpus(file, loader_test::random_proteins(100), world);
    const Corpus corpus(file, world);
    for (const bool reproducible : {false, true}) {
        SCOPED_TRACE(testing::Message() << "reproducible " << reproducible);
        TrainSettings settings = tiny_settings(folder / "run");
        settings.reproducible = reproducible;
        // A GPU takes memory for a kernel's code when the process first runs it, and keeps it: the second run counts.
        free_memory_of_run(settings, corpus, world);
        const FreeMemory free = free_memory_of_run(settings, corpus, world);
        // NCCL's own memory is none of the formula's.
        if (!free.nccl) {
            EXPECT_EQ(free.made, free.reserved);
        }
        // The first update leaves the optimiser's table of variables behind.
        ASSERT_GT(free.after_step.size(), 1U);
        for (const std::size_t after_step : free.after_step) EXPECT_EQ(after_step, free.after_step.front());
    }
}

/// Freeing memory waits for the device, which may be in a sum over ranks that another rank never joins.
TEST(CudaMemory, AnExceptionDoesNotWaitForTheDevice) {
    if (cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    constexpr std::size_t bytes = std::size_t{16} << 20;  // several of the 2 MiB that a GPU takes memory in
    const std::unique_ptr<Backend> backend = make_backend("cuda", Precision::float32, 1);
    const std::size_t before = backend->memory()->free;
    { const DeviceMemory freed(*backend, bytes); }
    EXPECT_EQ(backend->memory()->free, before);
    try {
        const DeviceMemory left(*backend, bytes);
        throw Error("another rank is lost");
    } catch (const Error&) {
        EXPECT_LE(backend->memory()->free + bytes, before);
    }
}

TEST(CudaMemory, TooLargeABatchIsToldWhatFits) {
    if (cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    TrainSettings settings = tiny_settings("nowhere");
    const std::unique_ptr<Backend> backend = make_backend("cuda", Precision::bfloat16, 1);
    ModelConfig config = parity_config();
    config.layers = 12;
    settings.batch_tokens = std::int64_t{1} << 30;
    settings.global_batch = 1 << 20;
    std::int64_t fits = 0;
    try {
        reserve_train_memory(config, settings, *backend, Communicator::world());
        FAIL() << "no error";
    } catch (const InputError& error) {
        const std::string text = error.what();
        const std::string before = "train.batch_tokens = ";
        fits = std::atoll(text.c_str() + text.rfind(before) + before.size());
        EXPECT_NE(text.find("more than"), std::string::npos) << text;
    }
    ASSERT_GT(fits, 0);
    settings.batch_tokens = fits;
    EXPECT_LE(train_memory_bytes(config, settings, 2), backend->memory()->free);
    settings.batch_tokens = fits + 256;  // the next step of the search
    EXPECT_THROW(reserve_train_memory(config, settings, *backend, Communicator::world()), InputError);
}

}  // namespace
}  // namespace protalbert

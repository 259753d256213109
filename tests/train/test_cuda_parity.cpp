// The tiny model trained by the CUDA backend, on a GPU or emulated, and by the CPU in bfloat16, beside the CPU in
// float32: losses, gradients and steps. With several ranks the gradients are summed through the host's memory. On a GPU
// it is to run alone: it watches the memory that is free there.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>

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

/// Steps that are compared tightly: in those that follow, what rounding did to the parameters may have grown.
constexpr int tight_steps = 3;

/// PROTALBERT_TEST_STEPS in all, or the tight ones alone.
int parity_steps() {
    const char* const text = std::getenv("PROTALBERT_TEST_STEPS");
    return text != nullptr ? std::max(std::atoi(text), tight_steps) : tight_steps;
}

struct Trajectory {
    std::vector<double> losses, norms;            ///< of each step, this rank's losses
    std::vector<float> gradients;                 ///< of the first step
    std::vector<float> start, tight_end, finish;  ///< parameters before, after the tight steps, and after all
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
        if (std::ssize(trajectory.losses) == tight_steps) trajectory.tight_end = get_parameters(run.state.model);
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

/// Largest relative differences: of each loss, of each gradient's norm and the first gradient, and of the way that the
/// parameters went.
struct Tolerances {
    double loss, gradient, way;
};

/// `tight` for the first steps, `loose` for those that follow and for the whole way.
void compare(const std::string& device, Precision precision, const Tolerances& tight, const Tolerances& loose) {
    if (device == "cuda" && cuda_devices().count == 0) GTEST_SKIP() << cuda_devices().none;
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_cuda_parity");
    const std::string file = (folder / "corpus.h5").string();
    loader_test::write_corpus(file, loader_test::random_proteins(100), world);
    const Trajectory want = train("cpu", Precision::float32, file, folder, world);
    const Trajectory got = train(device, precision, file, folder, world);
    ASSERT_EQ(got.losses.size(), want.losses.size());
    for (std::size_t step = 0; step < want.losses.size(); ++step) {
        const Tolerances& tolerances = step < tight_steps ? tight : loose;
        EXPECT_NEAR(got.losses[step], want.losses[step], tolerances.loss * want.losses[step]) << "step " << step;
        EXPECT_NEAR(got.norms[step], want.norms[step], tolerances.gradient * want.norms[step]) << "step " << step;
    }
    const double gradient = distance(got.gradients, want.gradients) / length(want.gradients);
    const auto way = [&](std::vector<float> Trajectory::*end) {
        return distance(got.*end, want.*end) / distance(want.*end, want.start);
    };
    const double tight_way = way(&Trajectory::tight_end), whole_way = way(&Trajectory::finish);
    EXPECT_LE(gradient, tight.gradient);
    EXPECT_LE(tight_way, tight.way);
    EXPECT_LE(whole_way, loose.way);
    if (world.root())
        std::printf(
            "%zu steps: gradient differs by %.2e, the way of the parameters by %.2e after %d steps, %.2e after all\n",
            want.losses.size(), gradient, tight_way, tight_steps, whole_way);
}

// What rounding may do to a step. LAMB's update of an element is m / (sqrt(v) + 1e-6), in the first step
// 0.1 g / (0.032 |g| + 1e-6) for a gradient g: 3.2 with g's sign where |g| is far above 3e-5, 1e5 g far below. The
// errors of all elements of a variable are alike, r of the size of its gradient; where g is that size they hardly show,
// but near zero they do.
//
// The key bias adds the same to all scores of a query, which softmax takes away: its gradient is zero but for rounding
// noise, and so is the way that it goes, without any effect on losses or other gradients.

/// The CPU and the GPU are both float32 and differ by the order of sums and the last bits of functions.
///
/// Tight. A logit of size one goes through some 50 roundings of up to 2^-24: 3e-6 if all of them pointed the same way,
/// which is 1e-6 of a residue's loss, ln 34. Twice as many lead to a gradient: 6e-7 of its size when they walk at
/// random, 2e-6 is three times that. Where gradients g are distributed normally with a deviation of 5e-3, as those of
/// biases are, an error of r moves an update by r 5e-3 3e-5 / (|g| + 3e-5)^2 of its size, in the mean square over all
/// elements by 6.5 r: a way of 6.5 x 2e-6.
///
/// Loose. Differences may grow, for each step hands them on to the next one's gradient: 1e-4 of a loss is what ten
/// times the tight way, all of it along the gradient, would make. The key bias's noise is 2^-24 of terms no larger than
/// the clipped gradient, one; 20 steps that all go in its direction take its 64 elements by 2e-3 x 12 x 2^-24 / 1e-6
/// each, 0.5 % of the way of all parameters: 1e-2 is twice that. A mistake in the update's formula is larger.
TEST(CudaParity, Float32) {
    compare("cuda", Precision::float32, {.loss = 1e-6, .gradient = 2e-6, .way = 1.3e-5},
            {.loss = 1e-4, .gradient = 1e-3, .way = 1e-2});
}

/// bfloat16 rounds each activation and weight by up to 2^-9, 8e-4 in the mean square.
///
/// Tight. 25 roundings on the way to a logit walk by 4e-3 of its size: if those of all residues went the same way, 1e-3
/// of the loss, of which 5e-3 leaves room for logits of size four. 50 on the way to a gradient walk by 6e-3; 2e-2 is
/// three times that. An error of r in a normally distributed gradient turns the sign of r / pi of its elements, and
/// with it all of their update: a way of sqrt(4 r / pi), 0.16 for 2e-2.
///
/// Loose. Each step's errors are its own, so that the way's grow no faster than the way: 0.16 as before. Of that
/// difference, 0.36 over some 900 elements of biases and norms, which go furthest, the part along a gradient of size
/// 1.5 is a 900^(-1/2) if it has no preferred direction: it changes a residue's loss by 0.4 %.
TEST(CudaParity, Bfloat16) {
    compare("cuda", Precision::bfloat16, {.loss = 5e-3, .gradient = 2e-2, .way = 0.16},
            {.loss = 5e-3, .gradient = 5e-2, .way = 0.16});
}

/// As above, but that activations are rounded on their way into products alone: not more often than on a GPU.
TEST(CpuParity, Bfloat16) {
    compare("cpu", Precision::bfloat16, {.loss = 5e-3, .gradient = 2e-2, .way = 0.16},
            {.loss = 5e-3, .gradient = 5e-2, .way = 0.16});
}

/// Bytes that are free on the device.
struct FreeMemory {
    std::size_t reserved;                 ///< when the run's memory is taken
    std::size_t made;                     ///< when the run is made
    std::vector<std::size_t> after_step;  ///< of each step
    bool nccl;                            ///< whether NCCL has taken memory of its own

    /// Whether the run took nothing beyond what was reserved. NCCL's own memory is none of the formula's, and the first
    /// update leaves the optimiser's table of variables behind.
    bool steady() const {
        return (nccl || made == reserved) && std::all_of(after_step.begin(), after_step.end(),
                                                         [&](std::size_t free) { return free == after_step.front(); });
    }
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
        // What is free is the whole device's, not this run's. A GPU takes memory for a kernel's code when the process
        // first runs it, and another process takes and returns memory when it likes: both miss some of several runs,
        // while a run that takes more than it reserved does so each time.
        constexpr int most_runs = 5;
        FreeMemory free = free_memory_of_run(settings, corpus, world);
        for (int run = 1; run < most_runs && world.maximum(std::int64_t{!free.steady()}) > 0; ++run)
            free = free_memory_of_run(settings, corpus, world);
        ASSERT_GT(free.after_step.size(), 1U);
        EXPECT_TRUE(free.steady()) << "in none of " << most_runs << " runs; of the last, free bytes when reserved "
                                   << free.reserved << ", when made " << free.made << ", after steps "
                                   << testing::PrintToString(free.after_step)
                                   << ". Does another process use the GPU all the time?";
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

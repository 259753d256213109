// After the first step nothing of a batch's size is allocated: not by the model, the backend or the optimiser.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "../foundation/mpi_main.hpp"
#include "train/train_step.hpp"
#include "training_run.hpp"

namespace {

/// The largest block asked for while `watching`, in bytes.
std::atomic<bool> watching{false};
std::atomic<std::size_t> largest{0};

void note(std::size_t bytes) {
    if (!watching) return;
    std::size_t known = largest;
    while (bytes > known && !largest.compare_exchange_weak(known, bytes)) {
    }
}

}  // namespace

// The program's two ways to memory: operator new, and aligned_alloc for the backend's arrays.
void* operator new(std::size_t bytes) {
    note(bytes);
    if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
    note(bytes);
    void* memory = nullptr;
    return posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}

namespace protalbert {
namespace {

using namespace train_test;

/// Names of kernels and the like, a line of text at most: no array of a batch.
constexpr std::size_t small = 128;

TEST(Allocations, NoneAfterTheFirstStep) {
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_allocations");
    const std::string file = (folder / "corpus.h5").string();
    loader_test::write_corpus(file, loader_test::random_proteins(200), world);
    {
        TrainSettings settings = tiny_settings(folder / "run");
        settings.global_batch = 64;
        TinyRun run(settings, tiny_config(), file, world);
        run.begin();
        StepWorkspace workspace = make_step_workspace(run.state.model, micro_batch_limits(settings), false, world);
        const LoaderSettings loader{
            .sample = settings.sample, .global_batch = settings.global_batch, .batch_tokens = settings.batch_tokens};
        const std::vector<StepBatch> batches = BatchLoader::validation_batches(
            run.corpus, 200, loader, [](std::int64_t length) { return static_cast<double>(length); }, world);
        ASSERT_GE(batches.size(), 3U);
        const auto step = [&](const StepBatch& batch) {
            compute_gradients(run.state, batch, workspace);
            update_parameters(run.state, workspace, settings, 1e-3);
        };
        step(batches[0]);
        step(batches[0]);
        largest = 0;
        watching = true;
        step(batches[0]);
        watching = false;
        EXPECT_LE(largest, small) << "bytes in one block";
    }
    remove_shared_folder(folder);
}

}  // namespace
}  // namespace protalbert

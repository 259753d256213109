#include "data/batch_loader.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.hpp"
#include "base/timeline.hpp"
#include "comm/program.hpp"
#include "data/epoch_order.hpp"
#include "data/step_assembly.hpp"
#include "data/step_items.hpp"
#include "data/window.hpp"

namespace protalbert {

namespace {

/// A failing rank must say so within seconds, and its thread's step usually ends within a fraction of one.
constexpr std::chrono::seconds longest_wait_when_failing{2};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void check_settings(const Corpus& corpus, const LoaderSettings& settings) {
    check_sample_settings(settings.sample);
    if (settings.global_batch < 1)
        throw InputError(fmt::format("train.global_batch is {}; set it to at least 1", settings.global_batch));
    if (settings.batch_tokens < 1)
        throw InputError(fmt::format("train.batch_tokens is {}; set it to at least 1", settings.batch_tokens));
    if (corpus.sequences() == 0)
        throw InputError(fmt::format("{} has no sequences; prepare it from input that has some", corpus.path()));
}

}  // namespace

/// What the thread works with. The caller's side and the thread's meet in the members below the mutex alone.
struct BatchLoader::State {
    const Corpus& corpus;
    const LoaderSettings settings;
    const SampleCost cost;
    const Communicator communicator;
    const EpochOrder order;
    CorpusIndex index;  // of the sequences that this rank reads

    struct LoadedWindow {
        std::uint32_t epoch;
        std::uint64_t number;
        Window window;
    };
    std::list<LoadedWindow> windows;  // those of the step prepared last; a list, because items point into it

    StepBatch current;  // the caller's
    StepBatch next;     // the thread's while it is busy

    std::mutex mutex;
    std::condition_variable changed;
    bool busy = false;  // the thread has to prepare `wanted`
    bool stopping = false;
    std::uint64_t wanted = 0;
    std::optional<std::uint64_t> prepared;  // the step in `next`
    std::exception_ptr error;
    std::thread thread;

    State(const Corpus& corpus_, const LoaderSettings& settings_, SampleCost cost_, const Communicator& communicator_)
        : corpus(corpus_),
          settings(settings_),
          cost(std::move(cost_)),
          communicator(communicator_.duplicate()),
          order(make_epoch_order(corpus_.sequences(), corpus_.residues(), settings_.sample.seed, settings_.blocks)) {
        all_or_none(communicator, [&] {
            const Span span(Lane::io, "read index");
            const Range own = read_by(order, communicator.rank(), communicator.ranks());
            index = corpus.read_index(own.first, own.count);
        });
    }

    const Window& window_for(const WindowPart& part) {
        for (const LoadedWindow& loaded : windows)
            if (loaded.epoch == window_epoch(order, part) && loaded.number == part.window) return loaded.window;
        Window window = window_of_blocks(order, part.epoch, part.window, communicator.ranks());
        read_window(window, corpus, &index, communicator);
        windows.push_back({window_epoch(order, part), part.window, std::move(window)});
        return windows.back().window;
    }

    void prepare(std::uint64_t step) {
        const Span span(Lane::data, "next batch");
        const auto start = std::chrono::steady_clock::now();
        const auto parts = parts_of_step(order, step, static_cast<std::uint64_t>(settings.global_batch));
        // Windows that are used up go before others come.
        windows.remove_if([&](const LoadedWindow& loaded) {
            return std::none_of(parts.begin(), parts.end(), [&](const WindowPart& part) {
                return loaded.epoch == window_epoch(order, part) && loaded.number == part.window;
            });
        });
        std::vector<StepItem> items;
        items.reserve(static_cast<std::size_t>(settings.global_batch));
        for (const WindowPart& part : parts) append_items(items, order, part, window_for(part));
        assemble_step(next, step, items, settings, cost, corpus.vocabulary(), communicator);
        next.seconds = seconds_since(start);
    }

    void work() {
        std::unique_lock lock(mutex);
        for (;;) {
            changed.wait(lock, [&] { return busy || stopping; });
            // A step asked for is finished even when stopping: the other ranks count on this one.
            if (!busy) return;
            const std::uint64_t step = wanted;
            lock.unlock();
            std::exception_ptr caught;
            try {
                prepare(step);
            } catch (...) {
                caught = std::current_exception();
            }
            lock.lock();
            busy = false;
            error = caught;
            if (!caught) prepared = step;
            changed.notify_all();
        }
    }

    /// With the lock held and the thread at rest.
    void ask_for(std::uint64_t step) {
        prepared.reset();
        wanted = step;
        busy = true;
        changed.notify_all();
    }
};

BatchLoader::BatchLoader(const Corpus& corpus, const LoaderSettings& settings, SampleCost cost,
                         const Communicator& communicator) {
    check_settings(corpus, settings);
    int thread_level = MPI_THREAD_SINGLE;
    check_mpi(MPI_Query_thread(&thread_level), "MPI_Query_thread");
    if (thread_level < MPI_THREAD_MULTIPLE)
        throw Error(
            "this MPI does not let several threads call it (MPI_THREAD_MULTIPLE), which the batch loader needs; "
            "use one built with thread support");
    state_ = std::make_unique<State>(corpus, settings, std::move(cost), communicator);
    state_->thread = std::thread([state = state_.get()] { state->work(); });
}

BatchLoader::~BatchLoader() {
    {
        std::unique_lock lock(state_->mutex);
        state_->stopping = true;
        state_->changed.notify_all();
        // The other ranks finish the step under way with this one, unless they have failed before they asked for it.
        auto at_rest = [&] { return !state_->busy; };
        if (unwinding() && !state_->changed.wait_for(lock, longest_wait_when_failing, at_rest)) {
            state_->thread.detach();
            lock.unlock();
            static_cast<void>(state_.release());  // the thread's until the process ends
            return;
        }
    }
    state_->thread.join();
}

const StepBatch& BatchLoader::get(std::uint64_t step) {
    State& state = *state_;
    std::unique_lock lock(state.mutex);
    auto at_rest = [&] { return !state.busy; };
    state.changed.wait(lock, at_rest);
    if (!state.error && state.prepared != step) {
        state.ask_for(step);
        state.changed.wait(lock, at_rest);
    }
    if (state.error) std::rethrow_exception(state.error);
    std::swap(state.current, state.next);
    state.ask_for(step + 1);
    return state.current;
}

std::vector<StepBatch> BatchLoader::validation_batches(const Corpus& corpus, std::uint64_t sequences,
                                                       const LoaderSettings& settings, const SampleCost& cost,
                                                       const Communicator& communicator) {
    check_settings(corpus, settings);
    sequences = std::min(sequences, corpus.sequences());
    const auto ranks = static_cast<std::uint64_t>(communicator.ranks());
    std::vector<StepBatch> batches;
    for (std::uint64_t first = 0; first < sequences; first += static_cast<std::uint64_t>(settings.global_batch)) {
        const auto start = std::chrono::steady_clock::now();
        const std::uint64_t count = std::min(sequences - first, static_cast<std::uint64_t>(settings.global_batch));
        Window window;
        window.run_length = (count + ranks - 1) / ranks;
        window.count = count;
        for (std::uint64_t at = 0; at < count; at += window.run_length) {
            window.readers.push_back(static_cast<int>(window.first.size()));
            window.first.push_back(first + at);
        }
        read_window(window, corpus, nullptr, communicator);
        std::vector<StepItem> items;
        for (std::uint64_t place = 0; place < count; ++place)
            items.push_back({.window = &window, .epoch = 0, .place = place, .partner = (place + 1) % count});
        StepBatch& batch = batches.emplace_back();
        assemble_step(batch, batches.size() - 1, items, settings, cost, corpus.vocabulary(), communicator);
        batch.seconds = seconds_since(start);
    }
    return batches;
}

}  // namespace protalbert

#include "train/train_memory.hpp"

#include <fmt/format.h>

#include <functional>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "model/cost.hpp"
#include "model/model.hpp"
#include "train/train_step.hpp"

namespace protalbert {

std::size_t train_memory_bytes(const ModelConfig& config, const TrainSettings& settings, std::int64_t element_bytes) {
    const ParameterLayout layout = make_parameter_layout(config);
    const auto elements = static_cast<std::size_t>(layout.size);
    const MicroBatchLimits limits = micro_batch_limits(settings);
    const MemoryEstimate estimate =
        training_memory(config, limits.tokens, limits.sequences, limits.masked, element_bytes);
    constexpr std::size_t float_arrays = 4;  // parameters, gradients, two moments
    std::size_t bytes = float_arrays * allocated_bytes(elements * sizeof(float));
    if (element_bytes != sizeof(float)) bytes += allocated_bytes(elements * static_cast<std::size_t>(element_bytes));
    bytes += allocated_bytes(static_cast<std::size_t>(estimate.activations));
    bytes += allocated_bytes(device_batch_bytes(limits.tokens, limits.sequences, limits.masked));
    bytes += allocated_bytes(sizeof(StepResults));
    if (settings.reproducible)
        bytes += allocated_bytes(elements * sizeof(std::int64_t)) + allocated_bytes(sizeof(float));
    return bytes;
}

namespace {

/// The largest batch, in steps of 256 tokens, whose memory `fits`; 0 where a sequence of the deck's length does not.
std::int64_t largest_batch(const TrainSettings& settings, const std::function<bool(std::int64_t)>& fits) {
    constexpr std::int64_t step = 256;
    std::int64_t known = 0, too_many = settings.batch_tokens / step + 1;
    while (too_many - known > 1) {
        const std::int64_t middle = (known + too_many) / 2;
        (fits(middle * step) ? known : too_many) = middle;
    }
    return known * step >= settings.sample.max_length ? known * step : 0;
}

std::string text(std::size_t bytes) { return format_bytes(static_cast<double>(bytes)); }

/// Where memory is the machine's own nobody can take it at once; a system that has too little ends a rank without a
/// word. Collective.
void warn_of_little_memory(const TrainSettings& settings, const std::function<std::size_t(std::int64_t)>& needed,
                           const Communicator& communicator) {
    const std::size_t share = memory_for_rank(communicator);
    const std::size_t bytes = needed(settings.batch_tokens);
    if (bytes <= share || !communicator.root()) return;
    const std::int64_t fits = largest_batch(settings, [&](std::int64_t tokens) { return needed(tokens) <= share; });
    log_warning(
        fmt::format("train.batch_tokens = {} needs {} of memory a rank, and a machine has {} left for each of its "
                    "ranks: the system may end one. {}",
                    settings.batch_tokens, text(bytes), text(share),
                    fits > 0 ? fmt::format("train.batch_tokens = {} fits", fits)
                             : std::string("Take fewer ranks a machine, of more cores each")));
}

}  // namespace

void reserve_train_memory(const ModelConfig& config, const TrainSettings& settings, Backend& backend,
                          const Communicator& communicator) {
    const auto needed = [&](std::int64_t batch_tokens) {
        TrainSettings smaller = settings;
        smaller.batch_tokens = batch_tokens;
        return train_memory_bytes(config, smaller, backend.element_bytes());
    };
    const std::size_t own = backend.own_bytes(make_parameter_layout(config).size, true);
    const std::optional<MemorySize> memory = backend.memory();
    if (!memory) {
        const auto with_own = [&](std::int64_t batch_tokens) { return needed(batch_tokens) + own; };
        return warn_of_little_memory(settings, with_own, communicator);
    }
    // 1.5 GiB for what CUDA loads when kernels run first. Between ranks NCCL, which comes later, takes about 1.6 GB for
    // the buffers of a communicator, more where there are faster links (NCCL's issues 864 and 986), and loads kernels
    // too: 4 GiB in all.
    const std::size_t others = communicator.ranks() > 1 ? std::size_t{4} << 30 : std::size_t{3} << 29;
    const std::size_t available = memory->free > others ? memory->free - others : 0;
    const std::size_t bytes = needed(settings.batch_tokens);
    if (bytes > available) {
        const std::int64_t fits =
            largest_batch(settings, [&](std::int64_t tokens) { return needed(tokens) <= available; });
        const std::string advice =
            fits > 0
                ? fmt::format("train.batch_tokens = {} fits", fits)
                : fmt::format(
                      "no batch of a sequence of data.max_length = {} tokens fits; take a GPU with more memory, or "
                      "shorter sequences",
                      settings.sample.max_length);
        throw InputError(
            fmt::format("train.batch_tokens = {} needs {} of GPU memory, {} more than the {} that are free: {}",
                        settings.batch_tokens, text(bytes), text(bytes - available), text(available), advice));
    }
    log_information(fmt::format("GPU memory: {} taken for the run, of {} free; {} beside it for the kernels' own work",
                                text(bytes), text(memory->free), text(own)));
    backend.reserve(bytes);
}

}  // namespace protalbert

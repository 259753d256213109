#include "train/train_memory.hpp"

#include <fmt/format.h>

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

void reserve_train_memory(const ModelConfig& config, const TrainSettings& settings, Backend& backend, int ranks) {
    const std::optional<MemorySize> memory = backend.memory();
    if (!memory) return;
    // 1.5 GiB for what CUDA loads when kernels run first. Between ranks NCCL, which comes later, takes about 1.6 GB for
    // the buffers of a communicator, more where there are faster links (NCCL's issues 864 and 986), and loads kernels
    // too: 4 GiB in all.
    const std::size_t others = ranks > 1 ? std::size_t{4} << 30 : std::size_t{3} << 29;
    const std::size_t available = memory->free > others ? memory->free - others : 0;
    const auto needed = [&](std::int64_t batch_tokens) {
        TrainSettings smaller = settings;
        smaller.batch_tokens = batch_tokens;
        return train_memory_bytes(config, smaller, backend.element_bytes());
    };
    const std::size_t bytes = needed(settings.batch_tokens);
    const auto text = [](std::size_t n) { return format_bytes(static_cast<double>(n)); };
    if (bytes > available) {
        // The largest batch that fits, in steps of 256 tokens.
        constexpr std::int64_t step = 256;
        std::int64_t fits = 0, too_many = settings.batch_tokens / step + 1;
        while (too_many - fits > 1) {
            const std::int64_t middle = (fits + too_many) / 2;
            (needed(middle * step) <= available ? fits : too_many) = middle;
        }
        const std::string advice =
            fits > 0 && fits * step >= settings.sample.max_length
                ? fmt::format("train.batch_tokens = {} fits", fits * step)
                : fmt::format(
                      "no batch of a sequence of data.max_length = {} tokens fits; take a GPU with more memory, or "
                      "shorter sequences",
                      settings.sample.max_length);
        throw InputError(
            fmt::format("train.batch_tokens = {} needs {} of GPU memory, {} more than the {} that are free: {}",
                        settings.batch_tokens, text(bytes), text(bytes - available), text(available), advice));
    }
    log_information(fmt::format("GPU memory: {} taken for the run, of {} free; {} beside it for the kernels' own work",
                                text(bytes), text(memory->free), text(backend.own_bytes())));
    backend.reserve(bytes);
}

}  // namespace protalbert

#pragma once
// The device memory of a training run, taken before it starts.

#include <cstddef>

#include "comm/communicator.hpp"
#include "kernels/backend.hpp"
#include "model/model_config.hpp"
#include "train/train_settings.hpp"

namespace protalbert {

/// Bytes of everything that make_train_state and make_step_workspace allocate on the device.
std::size_t train_memory_bytes(const ModelConfig& config, const TrainSettings& settings, std::int64_t element_bytes);

/// Takes that memory at once where the device has its own, and says how much it is. Throws InputError, with what is
/// missing and the train.batch_tokens that would fit, where there is not enough. On a CPU, where nothing can be taken
/// at once, it warns instead. Collective.
void reserve_train_memory(const ModelConfig& config, const TrainSettings& settings, Backend& backend,
                          const Communicator& communicator);

}  // namespace protalbert

#pragma once
// The weights of a model folder as Hugging Face lays it out: one file or several with an index.

#include <filesystem>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

/// The tensors of model.safetensors, model.safetensors.index.json, pytorch_model.bin or pytorch_model.bin.index.json:
/// of the first that the folder has, as in transformers. Throws InputError when there is none, and for a damaged one or
/// an index that does not fit its files.
std::vector<StoredTensor> list_weights(const std::filesystem::path& folder);

}  // namespace protalbert

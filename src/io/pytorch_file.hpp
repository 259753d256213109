#pragma once
// Files of PyTorch's torch.save that hold a state dict: the ZIP layout (since PyTorch 1.6) and the older one, a
// sequence of pickles followed by the elements. Nothing in them is executed (pickle.hpp).

#include <filesystem>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

/// The tensors of a state dict by name. Throws InputError naming file and tensor for whatever is no such file, is
/// damaged, or has tensors that reach beyond their elements.
std::vector<StoredTensor> list_pytorch_file(const std::filesystem::path& file);

}  // namespace protalbert

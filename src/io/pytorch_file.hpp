#pragma once
// Files of PyTorch's torch.save that hold a state dict: the ZIP layout (since PyTorch 1.6) and the older one, a
// sequence of pickles followed by the elements. Nothing in them is executed (pickle.hpp).

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

struct PytorchTensors {
    std::vector<StoredTensor> tensors;
    std::string key;  ///< of the dict that holds them, "a.b" within another one; empty: they are the file's own dict
};

/// The tensors of a state dict by name. Of dicts within dicts, as training scripts save them, the one that has a tensor
/// whose name is `wanted` is taken (without `wanted`: any tensor). Throws InputError naming file and tensor for
/// whatever is no such file, is damaged, has tensors that reach beyond their elements, or has several such dicts.
PytorchTensors list_pytorch_file(const std::filesystem::path& file,
                                 const std::function<bool(std::string_view)>& wanted = {});

}  // namespace protalbert

#pragma once
// The weights of a model folder as Hugging Face lays it out: one file or several with an index.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

struct Weights {
    std::vector<StoredTensor> tensors;
    std::vector<std::string> remarks;  ///< what a person should know about where they were found
};

/// The tensors of model.safetensors, model.safetensors.index.json, pytorch_model.bin or pytorch_model.bin.index.json:
/// of the first that the folder has, as in transformers. `wanted` tells which of several dicts in a file of PyTorch is
/// the model's (pytorch_file.hpp). Throws InputError when there is none, with what there is instead, and for a damaged
/// one or an index that does not fit its files.
Weights list_weights(const std::filesystem::path& folder, const std::function<bool(std::string_view)>& wanted = {});

/// What a folder has that looks like a model and is none that this program reads, and what to do about it: an adapter,
/// weights of other programs, weights under other names, links to nothing. Empty when there is nothing of the kind.
std::string describe_other_weights(const std::filesystem::path& folder);

}  // namespace protalbert

#pragma once
// Names of tensors in files of weights, and what transformers calls the same tensors: wrappers of models put words
// before them or between, and older programs called parts of them otherwise.

#include <string>
#include <string_view>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

/// Whether a stored name is, whatever is before it, that of word embeddings, which every ALBERT model has.
bool names_word_embeddings(std::string_view stored);

struct ModelNames {
    std::vector<std::string> names;    ///< of each stored tensor, with or without `albert.`; empty: not of the model
    std::vector<std::string> remarks;  ///< what was left out or read otherwise, for people
};

/// Drops the words of PyTorch's wrappers (`module`, `_orig_mod` and others) wherever they stand, and what the word
/// embeddings have before `albert.` or their own name; a tensor without that is not of the model. A layer norm's
/// `gamma` and `beta` become `weight` and `bias`. `place` names the weights in messages. Throws InputError for weights
/// of several models, and for two tensors that come to the same name.
ModelNames model_names(const std::vector<StoredTensor>& tensors, const std::string& place);

}  // namespace protalbert

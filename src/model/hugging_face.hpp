#pragma once
// Model folders as Hugging Face's transformers lays them out: config.json, weights, and a vocabulary. Opening
// one reads everything but the weights, which are then read parameter by parameter.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/vocabulary.hpp"
#include "io/stored_tensor.hpp"
#include "model/model_config.hpp"
#include "model/parameters.hpp"

namespace protalbert {

struct HuggingFaceFolder {
    std::filesystem::path path;
    ModelConfig config;     ///< with projection, which transformers has even where E = H
    Vocabulary vocabulary;  ///< of config.vocabulary pieces or fewer: tables may have rows without a piece behind them
    ParameterLayout layout;
    std::vector<std::optional<StoredTensor>> sources;  ///< of each of layout.parameters; nothing: absent
    std::vector<std::string> absent;   ///< names of parameters of the pooler and heads that are not there
    std::vector<std::string> unused;   ///< names of tensors that the model has no place for
    std::vector<std::string> remarks;  ///< what was found otherwise than usual
};

/// Whether a path is a folder with a config.json and without checkpoints of this program.
bool is_hugging_face_folder(const std::filesystem::path& path);

/// Opens a folder and finds every parameter in its weights, with or without the prefix `albert.` and what wrappers put
/// before it (weight_names.hpp). Pooler and heads may be absent as a whole. `vocabulary`: a file to take instead of the
/// folder's. Throws InputError naming file, key and tensors for an architecture that is not ALBERT's, missing tensors,
/// other shapes and types, damaged files, and a weight of pooler or heads that is NaN or infinite.
HuggingFaceFolder open_hugging_face(const std::filesystem::path& folder, const std::string& vocabulary = "");

/// Fills `values` [size of layout.parameters[index]], as at a fresh start for an absent one. Throws InputError naming
/// the tensor when one is NaN or infinite.
void read_parameter(const HuggingFaceFolder& folder, std::size_t index, float* values);

/// What a person should know: tensors found under other names, absent or not used, and rows without a piece. Empty when
/// everything has its place.
std::vector<std::string> remarks(const HuggingFaceFolder& folder);

/// "a, b, c and 7 more".
std::string list_names(const std::vector<std::string>& names);

}  // namespace protalbert

#pragma once
// Writes model folders that Hugging Face's transformers loads offline: AlbertForPreTraining.from_pretrained and
// AutoTokenizer.from_pretrained.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/vocabulary.hpp"
#include "model/model_config.hpp"
#include "model/parameters.hpp"

namespace protalbert {

/// Fills `values` [parameter.size] with a parameter of the model that is written.
using ParameterReader = std::function<void(const Parameter& parameter, float* values)>;

/// The same model in transformers' terms: with a projection, and with layers shared by groups of iterations alone. What
/// only attention or only feed-forward parts share is written out for every iteration.
ModelConfig exported_config(const ModelConfig& config);

/// Files that write_hugging_face may make, spiece.model last.
const std::vector<std::string>& exported_files();
/// Bytes of the weights' file.
std::uint64_t exported_bytes(const ModelConfig& config);

/// Fills the empty `folder`: config.json, model.safetensors, and the tokenizer as transformers reads it
/// (tokenizer.json), as this program does (vocab.txt) and, when its bytes are given, as spiece.model. One parameter is
/// in memory at a time. Everything is on disk at the end. Throws Error when something cannot be written.
void write_hugging_face(const std::filesystem::path& folder, const ModelConfig& config, const Vocabulary& vocabulary,
                        const ParameterReader& read, const std::string& sentencepiece_model = "");

/// tokenizer.json of the `tokenizers` library: residues separated by spaces or not, U Z O B read as X, [CLS] before and
/// [SEP] behind each sequence.
std::string tokenizer_json(const Vocabulary& vocabulary);

}  // namespace protalbert

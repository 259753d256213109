#include "model/hugging_face.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/finite.hpp"
#include "io/checkpoint.hpp"
#include "io/json_file.hpp"
#include "io/weight_files.hpp"
#include "model/weight_names.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view prefix = "albert.";
// A config.json is a page of text.
constexpr std::size_t most_config_bytes = std::size_t{1} << 20;
// Weights and biases of query, key, value, dense, ffn and ffn_output, and of two layer norms.
constexpr std::int64_t tensors_of_layer = 16;
// The seed of parameters that a folder lacks: the same at every import.
constexpr std::uint64_t absent_seed = 0;

/// The architecture. What config.json leaves out has the defaults of transformers' AlbertConfig, and what transformers
/// does not know is not looked at.
ModelConfig read_config(const fs::path& file) {
    Json json = read_json_object(file, "configuration", most_config_bytes);
    const auto require = [&](const char* key, const Json& value, const char* advice) {
        if (const auto found = json.find(key); found != json.end() && *found != value)
            throw InputError(fmt::format("{}: {} is {}; {}", file.string(), key, found->dump(), advice));
    };
    require("model_type", "albert", "only ALBERT models can be read");
    require("position_embedding_type", "absolute", "only absolute positions can be read");
    require("tie_word_embeddings", true, "the masked-residue head of this program shares the word embeddings");
    const Json defaults = {{"vocab_size", 30000},           {"embedding_size", 128},     {"hidden_size", 4096},
                           {"num_hidden_layers", 12},       {"num_attention_heads", 64}, {"intermediate_size", 16384},
                           {"max_position_embeddings", 512}};
    for (const auto& [key, value] : defaults.items()) {
        if (!json.contains(key)) json[key] = value;
    }
    json.erase("sharing");
    json.erase("projection");
    return config_from_json(json.dump(), file.string());
}

/// Whether a table of `rows` is that of `pieces`, padded to a multiple of 8, 16, 32 ... 256, as GPUs like it.
bool is_padded(std::int64_t rows, std::int64_t pieces) {
    for (std::int64_t multiple = 8; multiple <= 256; multiple *= 2) {
        if (rows == (pieces + multiple - 1) / multiple * multiple) return true;
    }
    return false;
}

Vocabulary read_folder_vocabulary(const fs::path& folder, const std::string& given, const ModelConfig& config) {
    fs::path file = given;
    for (const char* name : {"spiece.model", "vocab.txt", "tokenizer.json"}) {
        if (file.empty() && fs::exists(folder / name)) file = folder / name;
    }
    if (file.empty())
        throw InputError(
            fmt::format("{} has neither spiece.model nor vocab.txt nor tokenizer.json; convert it with "
                        "protalbert_convert --vocabulary FILE",
                        folder.string()));
    Vocabulary vocabulary = read_vocabulary(file.string());
    const std::int64_t pieces = vocabulary.size();
    if (pieces != config.vocabulary && !is_padded(config.vocabulary, pieces))
        throw InputError(
            fmt::format("{} has {} pieces, but the model of {} has {} (vocab_size){}", file.string(), pieces,
                        folder.string(), config.vocabulary,
                        pieces > config.vocabulary
                            ? "; they do not belong together"
                            : ", which is no multiple of 8 that follows; they do not belong together, or a piece was "
                              "added elsewhere: convert it with protalbert_convert --vocabulary FILE, one piece a line "
                              "for every row"));
    return vocabulary;
}

/// Names under which weights may hold a parameter. Of tied tensors transformers keeps either one.
std::vector<std::string> names_of(const std::string& parameter) {
    std::vector<std::string> names{parameter};
    if (parameter.starts_with(prefix)) names.push_back(parameter.substr(prefix.size()));
    if (parameter == "albert.embeddings.word_embeddings.weight") names.emplace_back("predictions.decoder.weight");
    if (parameter == "predictions.bias") names.emplace_back("predictions.decoder.bias");
    return names;
}

/// Tensors that are no parameters of their own: tied ones, and buffers that older versions of transformers stored.
bool is_redundant(std::string_view name) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    return name == "predictions.decoder.weight" || name == "predictions.decoder.bias" ||
           name == "embeddings.position_ids" || name == "embeddings.token_type_ids";
}

/// The part of the model that weights may lack as a whole; empty for what they must have.
std::string_view optional_part(const std::string& parameter) {
    for (const std::string_view part : {"albert.pooler.", "predictions.", "sop_classifier."}) {
        if (parameter.starts_with(part)) return part;
    }
    return "";
}

/// What is said when weights lack parameters of the model.
InputError lacking(const std::vector<std::string>& missing, const std::vector<StoredTensor>& tensors,
                   const fs::path& folder) {
    const bool adapter = std::any_of(tensors.begin(), tensors.end(), [](const StoredTensor& tensor) {
        return tensor.name.find(".lora_") != std::string::npos || tensor.name.find(".base_layer.") != std::string::npos;
    });
    return InputError(fmt::format(
        "the weights in {} lack {}; {}", folder.string(), list_names(missing),
        adapter ? "an adapter lies beside them: in Python, model.merge_and_unload().save_pretrained(NEW) writes the "
                  "model with the adapter in it"
                : "are they of the model of config.json, and whole?"));
}

/// Finds the sources of all parameters. Throws InputError for missing ones, other shapes and types that are not read.
void find_sources(HuggingFaceFolder& folder, const std::vector<StoredTensor>& tensors) {
    ModelNames model = model_names(tensors, folder.path.string());
    std::move(model.remarks.begin(), model.remarks.end(), std::back_inserter(folder.remarks));
    std::map<std::string, const StoredTensor*> by_name;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (model.names[i].empty())
            folder.unused.push_back(tensors[i].name);
        else
            by_name[model.names[i]] = &tensors[i];
    }
    std::set<const StoredTensor*> used;
    std::set<std::string_view> parts;  // of which something is there
    for (const Parameter& parameter : folder.layout.parameters) {
        const StoredTensor* source = nullptr;
        for (const std::string& name : names_of(parameter.name)) {
            if (const auto found = by_name.find(name); source == nullptr && found != by_name.end())
                source = found->second;
        }
        folder.sources.push_back(source ? std::optional(*source) : std::nullopt);
        if (source == nullptr) {
            folder.absent.push_back(parameter.name);
            continue;
        }
        used.insert(source);
        parts.insert(optional_part(parameter.name));
        require_readable_type(*source);
        if (source->shape != parameter.shape)
            throw InputError(fmt::format("{}: tensor {} has shape {}, but config.json makes it {}",
                                         source->file.string(), source->name, shape_text(source->shape),
                                         shape_text(parameter.shape)));
    }
    std::vector<std::string> missing;
    for (const std::string& name : folder.absent) {
        const std::string_view part = optional_part(name);
        if (part.empty() || parts.contains(part)) missing.push_back(name);
    }
    if (!missing.empty()) throw lacking(missing, tensors, folder.path);
    for (const auto& [name, tensor] : by_name) {
        if (!used.contains(tensor) && !is_redundant(name)) folder.unused.push_back(tensor->name);
    }
}

/// Tensors of PyTorch may share their elements; parameters that are larger together than their files would let a small
/// file fill the memory.
void check_sizes(const HuggingFaceFolder& folder) {
    std::set<fs::path> files;
    std::uint64_t needed = 0;
    for (const auto& source : folder.sources) {
        if (!source) continue;
        files.insert(source->file);
        needed += static_cast<std::uint64_t>(source->elements()) * element_bytes(source->element).value_or(1);
    }
    std::uint64_t stored = 0;
    for (const fs::path& file : files) stored += fs::file_size(file);
    if (needed > stored)
        throw InputError(
            fmt::format("the weights in {} have {} bytes, but their tensors {}: parameters that share their "
                        "elements are not read",
                        folder.path.string(), stored, needed));
}

/// Pooler and heads, which not every program reads: a weight in them that is no number tells of a damaged file as well.
void check_optional_parts(const HuggingFaceFolder& folder) {
    std::vector<float> values;
    for (std::size_t i = 0; i < folder.sources.size(); ++i) {
        const Parameter& parameter = folder.layout.parameters[i];
        if (!folder.sources[i] || optional_part(parameter.name).empty()) continue;
        values.resize(static_cast<std::size_t>(parameter.size));
        read_parameter(folder, i, values.data());
    }
}

}  // namespace

bool is_hugging_face_folder(const fs::path& path) {
    std::error_code error;
    return fs::is_directory(path, error) && fs::exists(path / "config.json", error) && list_checkpoints(path).empty();
}

HuggingFaceFolder open_hugging_face(const fs::path& path, const std::string& vocabulary) {
    HuggingFaceFolder folder;
    folder.path = path;
    folder.config = read_config(path / "config.json");
    if (fs::exists(path / "adapter_config.json"))
        throw InputError(fmt::format("{}: {}; for the model without it, move adapter_config.json away", path.string(),
                                     describe_other_weights(path)));
    Weights weights = list_weights(path, names_word_embeddings);
    const std::vector<StoredTensor>& tensors = weights.tensors;
    folder.remarks = std::move(weights.remarks);
    // Before a layout of billions of parameters is made for a few numbers in a text.
    if (folder.config.groups * folder.config.inner > std::ssize(tensors) / tensors_of_layer)
        throw InputError(fmt::format(
            "{}/config.json describes {} groups of {} inner layers, {} tensors each, but the weights hold {} "
            "tensors; they do not belong together, or some are missing",
            path.string(), folder.config.groups, folder.config.inner, tensors_of_layer, tensors.size()));
    folder.layout = make_parameter_layout(folder.config);
    find_sources(folder, tensors);
    check_sizes(folder);
    folder.vocabulary = read_folder_vocabulary(path, vocabulary, folder.config);
    check_optional_parts(folder);
    if (const std::int64_t pieces = folder.vocabulary.size(); pieces < folder.config.vocabulary)
        folder.remarks.push_back(
            fmt::format("{}: the vocabulary's tables have {} rows for {} pieces: the others are kept and not used",
                        path.string(), folder.config.vocabulary, pieces));
    return folder;
}

void read_parameter(const HuggingFaceFolder& folder, std::size_t index, float* values) {
    const auto& source = folder.sources.at(index);
    if (!source) {
        initialise(values, folder.layout.parameters.at(index), folder.config, absent_seed);
    } else if (!read_tensor(*source, values)) {
        throw InputError(fmt::format(
            "{}: tensor {}: {}; {}", source->file.string(), source->name, describe_not_finite(values, source->shape),
            source->element == "float16"
                ? "a weight beyond 65504 becomes infinite in float16: save the model in float32 or "
                  "bfloat16, or take an earlier one if its training had diverged"
                : "the file was damaged, or the training run that wrote it had diverged: download it again, or "
                  "take an earlier one"));
    }
}

std::vector<std::string> remarks(const HuggingFaceFolder& folder) {
    std::vector<std::string> lines = folder.remarks;
    if (!folder.absent.empty())
        lines.push_back(fmt::format("{} has no {}: initialised as at a fresh start", folder.path.string(),
                                    list_names(folder.absent)));
    if (!folder.unused.empty())
        lines.push_back(fmt::format("{}: the model has no place for {}: not used", folder.path.string(),
                                    list_names(folder.unused)));
    return lines;
}

std::string list_names(const std::vector<std::string>& names) {
    constexpr std::size_t most = 12;  // a pooler and both heads; more fill the screen
    const std::size_t shown = std::min(most, names.size());
    std::string text =
        fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
    if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
    return text;
}

}  // namespace protalbert

// What is said about folders whose weights this program does not find or read.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "io/weight_files.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

/// The names in a folder, sorted; those of links to nothing apart.
struct Names {
    std::vector<std::string> files;
    std::vector<std::string> dangling;
    std::vector<std::string> folders;
};

Names names_in(const fs::path& folder) {
    Names names;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        std::error_code unknown;
        const std::string name = entry.path().filename().string();
        if (entry.is_directory(unknown))
            names.folders.push_back(name);
        else
            (entry.exists(unknown) ? names.files : names.dangling).push_back(name);
    }
    for (auto* list : {&names.files, &names.dangling, &names.folders}) std::sort(list->begin(), list->end());
    return names;
}

/// "a, b, c ...".
std::string some(const std::vector<std::string>& names) {
    constexpr std::ptrdiff_t most = 6;
    const auto shown = std::min(most, std::ssize(names));
    return fmt::format("{}{}", fmt::join(names.begin(), names.begin() + shown, ", "),
                       std::ssize(names) > most ? " ..." : "");
}

bool has_suffix(const std::string& name, std::initializer_list<const char*> suffixes) {
    return std::any_of(suffixes.begin(), suffixes.end(), [&](const char* suffix) { return name.ends_with(suffix); });
}

bool is_index(const std::string& name) { return name.ends_with(".json") && name.find(".index.") != std::string::npos; }

bool is_part(const std::string& name) { return name.find("-of-") != std::string::npos; }

/// Weights in a form that is read, or an index of them. The state of a training has names of its own.
bool is_weights(const std::string& name) {
    static constexpr const char* others[] = {"training_args", "optimizer", "scheduler",
                                             "scaler",        "rng_state", "random_states"};
    const bool form = is_index(name) || has_suffix(name, {".safetensors", ".pth", ".pt", ".ckpt", ".bin"}) ||
                      name.find(".safetensors.") != std::string::npos;
    return form && std::none_of(std::begin(others), std::end(others),
                                [&](const char* start) { return name.starts_with(start); });
}

/// The name under which such a file is found.
std::string expected_name(const std::string& name) {
    return std::string(name.find("safetensors") != std::string::npos ? "model.safetensors" : "pytorch_model.bin") +
           (is_index(name) ? ".index.json" : "");
}

/// What to do about weights under other names; empty when there are none, or one that is found.
std::string describe_names(const Names& names, const fs::path& folder) {
    std::vector<std::string> weights;
    std::copy_if(names.files.begin(), names.files.end(), std::back_inserter(weights), is_weights);
    // An index goes before the parts that it names.
    std::stable_partition(weights.begin(), weights.end(), is_index);
    if (weights.empty() || std::any_of(weights.begin(), weights.end(),
                                       [](const std::string& name) { return name == expected_name(name); }))
        return "";
    const std::string& first = weights.front();
    if (is_part(first))
        return fmt::format("its {} are parts of the weights, whose index is missing: download {}.index.json, too",
                           some(weights), expected_name(first));
    return fmt::format("its {} would be read under the name {}: ln -s {} {}", some(weights), expected_name(first),
                       first, (folder / expected_name(first)).string());
}

/// What to do about weights of other frameworks; empty when there are none.
std::string describe_frameworks(const Names& names, const fs::path& folder) {
    for (const std::string& name : names.files) {
        const bool flax = name.ends_with(".msgpack");
        if (flax || name.starts_with("tf_model"))
            return fmt::format(
                "{} is of {}, which is not read: look for PyTorch's weights of the same model, or convert it with "
                "transformers 4: AlbertForPreTraining.from_pretrained(\"{}\", {}=True).save_pretrained(NEW)",
                name, flax ? "Flax" : "TensorFlow", folder.string(), flax ? "from_flax" : "from_tf");
        if (name.find(".ckpt") != std::string::npos && has_suffix(name, {".index", ".meta"}))
            return fmt::format(
                "{} is of TensorFlow, which is not read: look for PyTorch's weights of the same model, or convert it "
                "with transformers 4: python -m transformers.models.albert."
                "convert_albert_original_tf_checkpoint_to_pytorch --help",
                name);
    }
    const auto onnx = std::find_if(names.files.begin(), names.files.end(),
                                   [](const std::string& name) { return name.ends_with(".onnx"); });
    if (onnx != names.files.end() ||
        std::find(names.folders.begin(), names.folders.end(), "onnx") != names.folders.end())
        return "it holds the model for ONNX, which is not read: download model.safetensors or pytorch_model.bin of the "
               "same model";
    return "";
}

}  // namespace

std::string describe_other_weights(const fs::path& folder) {
    const Names names = names_in(folder);
    const auto has = [&](const char* name) {
        return std::find(names.files.begin(), names.files.end(), name) != names.files.end();
    };
    if (has("adapter_config.json"))
        return "it holds an adapter (adapter_config.json), not a model: in Python, "
               "model.merge_and_unload().save_pretrained(NEW) writes the model with the adapter in it; give that "
               "folder";
    if (!names.dangling.empty())
        return fmt::format(
            "its {} {} to nothing: copy the folder with cp -rL from where it is whole, or download it "
            "again",
            some(names.dangling), names.dangling.size() == 1 ? "is a link" : "are links");
    const std::string renamed = describe_names(names, folder);
    return renamed.empty() ? describe_frameworks(names, folder) : renamed;
}

}  // namespace protalbert

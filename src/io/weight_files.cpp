#include "io/weight_files.hpp"

#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "io/json_file.hpp"
#include "io/pytorch_file.hpp"
#include "io/safetensors.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

// Some hundred bytes a tensor, as in a safetensors header.
constexpr std::size_t most_index_bytes = std::size_t{4} << 20;

using List = std::function<std::vector<StoredTensor>(const fs::path&)>;

/// The tensors of all files that the index names.
std::vector<StoredTensor> list_shards(const fs::path& index, const List& list) {
    const nlohmann::ordered_json json = read_json_object(index, "index of weights", most_index_bytes);
    const auto map = json.find("weight_map");
    if (map == json.end() || !map->is_object())
        throw InputError(fmt::format("{} has no weight_map; it is no index of weights", index.string()));
    std::map<std::string, std::set<std::string>> files;  // tensors of each
    for (const auto& [tensor, file] : map->items()) {
        const std::string name = file.is_string() ? file.get<std::string>() : "";
        // Beside the index and nowhere else.
        if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
            throw InputError(fmt::format("{}: tensor {} is said to be in {}, which is no file name", index.string(),
                                         tensor, file.dump()));
        files[name].insert(tensor);
    }
    std::vector<StoredTensor> tensors;
    std::map<std::string, std::string> found;  // tensor, file
    for (const auto& [file, expected] : files) {
        for (StoredTensor& tensor : list(index.parent_path() / file)) {
            const auto [other, fresh] = found.try_emplace(tensor.name, file);
            if (!fresh)
                throw InputError(fmt::format("{}: tensor {} is both in {} and in {}", index.string(), tensor.name,
                                             other->second, file));
            tensors.push_back(std::move(tensor));
        }
        for (const std::string& tensor : expected) {
            if (const auto place = found.find(tensor); place == found.end() || place->second != file)
                throw InputError(
                    fmt::format("{} says that tensor {} is in {}, but it is not; copy or download the folder again",
                                index.string(), tensor, file));
        }
    }
    return tensors;
}

}  // namespace

Weights list_weights(const fs::path& folder, const std::function<bool(std::string_view)>& wanted) {
    Weights weights;
    const auto list_pytorch = [&](const fs::path& file) {
        PytorchTensors found = list_pytorch_file(file, wanted);
        if (!found.key.empty())
            weights.remarks.push_back(
                fmt::format("{} holds more than a model: its weights are those under {}", file.string(), found.key));
        return std::move(found.tensors);
    };
    struct Form {
        const char* name;
        List list;
    };
    for (const Form& form : {Form{"model.safetensors", list_safetensors}, Form{"pytorch_model.bin", list_pytorch}}) {
        const fs::path file = folder / form.name;
        const fs::path index = file.string() + ".index.json";
        if (!fs::exists(file) && !fs::exists(index)) continue;
        weights.tensors = fs::exists(file) ? form.list(file) : list_shards(index, form.list);
        return weights;
    }
    const std::string instead = describe_other_weights(folder);
    throw InputError(fmt::format("{} has neither model.safetensors nor pytorch_model.bin (nor an index of several); {}",
                                 folder.string(), instead.empty() ? "copy or download the weights" : instead));
}

}  // namespace protalbert

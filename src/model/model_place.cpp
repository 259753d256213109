#include "model/model_place.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/git_lfs.hpp"
#include "base/log.hpp"
#include "io/checkpoint.hpp"
#include "io/weight_files.hpp"
#include "model/hugging_face.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view cached_model = "models--";

std::vector<fs::path> folders_in(const fs::path& folder) {
    std::vector<fs::path> found;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
        std::error_code unknown;
        if (entry.is_directory(unknown)) found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::vector<std::string> names_of(const std::vector<fs::path>& paths) {
    std::vector<std::string> names;
    for (const fs::path& path : paths) names.push_back(path.filename().string());
    return names;
}

/// The first bytes of a file; empty when there is none to read.
std::string start_of(const fs::path& file) {
    std::array<char, 64> bytes{};
    std::error_code error;
    if (!fs::is_regular_file(file, error)) return "";
    std::ifstream stream(file, std::ios::binary);
    stream.read(bytes.data(), bytes.size());
    return {bytes.data(), static_cast<std::size_t>(stream.gcount())};
}

// The hub's cache.

/// The snapshot that is meant of a model's folder in the cache.
fs::path snapshot_of(const fs::path& model) {
    std::string main = start_of(model / "refs" / "main");
    while (!main.empty() && std::isspace(static_cast<unsigned char>(main.back()))) main.pop_back();
    std::error_code error;
    if (!main.empty() && fs::is_directory(model / "snapshots" / main, error)) return model / "snapshots" / main;
    const std::vector<fs::path> snapshots = folders_in(model / "snapshots");
    if (snapshots.size() == 1) return snapshots.front();
    if (snapshots.empty())
        throw InputError(
            fmt::format("{} is a model of the hub's cache without a snapshot; download it again", model.string()));
    throw InputError(fmt::format("{} has {} snapshots, of which refs/main names none; give the folder of one: {}",
                                 model.string(), snapshots.size(), fmt::join(names_of(snapshots), " or ")) +
                     fmt::format(" in {}", (model / "snapshots").string()));
}

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

/// Where huggingface_hub keeps what it downloads, as its documentation has it; and its older name for it.
std::vector<fs::path> hub_caches() {
    const auto expanded = [](const std::string& path) {
        const bool home = path == "~" || path.starts_with("~/");
        return home && !environment("HOME").empty() ? environment("HOME") + path.substr(1) : path;
    };
    std::vector<fs::path> caches;
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"}) {
        if (const std::string value = environment(name); !value.empty()) caches.emplace_back(expanded(value));
    }
    if (const std::string home = environment("HF_HOME"); !home.empty())
        caches.push_back(fs::path(expanded(home)) / "hub");
    else if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
        caches.push_back(fs::path(expanded(cache)) / "huggingface" / "hub");
    else if (const std::string user = environment("HOME"); !user.empty())
        caches.push_back(fs::path(user) / ".cache" / "huggingface" / "hub");
    return caches;
}

/// ORG/NAME, or NAME alone for the oldest models, of what may be the id of a model or its address; nothing for any
/// other text.
std::optional<std::string> hub_id(std::string text) {
    for (const std::string_view address : {"https://huggingface.co/", "http://huggingface.co/", "huggingface.co/",
                                           "https://hf.co/", "hf.co/", "hf://"}) {
        if (!text.starts_with(address)) continue;
        text.erase(0, address.size());
        // What follows the name is a page of the model.
        const std::size_t organisation = text.find('/');
        if (organisation != std::string::npos) text.resize(std::min(text.size(), text.find('/', organisation + 1)));
        break;
    }
    if (text.ends_with('/')) text.pop_back();
    if (text.empty() || text.ends_with(".h5") || std::count(text.begin(), text.end(), '/') > 1) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool edge = i == 0 || i + 1 == text.size() || text[i - 1] == '/' || text[i + 1] == '/';
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '_';
        if (!plain && (edge || (c != '-' && c != '.' && c != '/'))) return std::nullopt;
    }
    return text;
}

/// The snapshot of a model in a local cache, when there is one.
std::optional<fs::path> cached_snapshot(const std::string& id) {
    std::string name(cached_model);
    for (const char c : id) name += c == '/' ? std::string("--") : std::string(1, c);
    for (const fs::path& cache : hub_caches()) {
        std::error_code error;
        if (fs::is_directory(cache / name / "snapshots", error)) return snapshot_of(cache / name);
    }
    return std::nullopt;
}

/// For what is not there: the local cache's model, or `path` as it is when it can be no model of the hub.
std::string locate_in_cache(const std::string& path) {
    const std::optional<std::string> id = hub_id(path);
    if (!id) return path;
    if (const std::optional<fs::path> snapshot = cached_snapshot(*id)) {
        log_information(fmt::format("{} is read from the hub's cache: {}", path, snapshot->string()));
        return snapshot->string();
    }
    // A name in a folder that is here is meant as one.
    std::error_code error;
    if (id->find('/') == std::string::npos || fs::is_directory(fs::path(path).parent_path(), error)) return path;
    throw InputError(fmt::format(
        "checkpoint {}: there is no such file or folder; if it is a model of Hugging Face's hub, download it "
        "first, nothing is downloaded here: hf download {} --local-dir {}, then give the folder {}",
        path, *id, id->substr(id->find('/') + 1), id->substr(id->find('/') + 1)));
}

// What is there.

InputError give_folder(const fs::path& file, const fs::path& folder) {
    return InputError(
        fmt::format("{} is one file of a Hugging Face model; give the folder: {}", file.string(), folder.string()));
}

/// What a file is, of those that models consist of elsewhere; empty for any other.
std::string part_of_model(const fs::path& file) {
    const std::string name = file.filename().string();
    const std::string start = start_of(file);
    if ((start.starts_with("PK\x03\x04") && !name.ends_with(".zip")) || start.starts_with("\x80\x02") ||
        name.ends_with(".safetensors"))
        return "a file of weights";
    if (name == "config.json" || name.ends_with(".index.json")) return "a part of a model";
    if (name.starts_with("tf_model") || name.ends_with(".msgpack") || name.ends_with(".onnx"))
        return "weights of another framework";
    if (name == "spiece.model" || name == "vocab.txt" || name == "tokenizer.json") return "a vocabulary";
    return "";
}

/// Throws InputError for a file that is no checkpoint but a part of a Hugging Face folder.
void check_file(const fs::path& file) {
    const std::string start = start_of(file);
    const bool hdf5 = start.starts_with("\x89HDF\r\n\x1a\n");
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    const std::string part = part_of_model(file);
    std::error_code error;
    if (folder.filename() == "blobs" && fs::is_directory(folder.parent_path() / "snapshots", error))
        throw give_folder(file, folder.parent_path());
    if (hdf5 && part.empty()) return;
    if (is_git_lfs_pointer(start)) throw git_lfs_pointer(file, "model");
    if (!part.empty() && is_hugging_face_folder(folder)) throw give_folder(file, folder);
    if (!part.empty())
        throw InputError(fmt::format(
            "{} is {}, which is not enough by itself: put model.safetensors or pytorch_model.bin, config.json "
            "and spiece.model (or vocab.txt or tokenizer.json) of the model into a folder, and give that",
            file.string(), part));
}

/// What to do about a folder that holds no model; empty when it has nothing to do with one.
std::string describe_folder(const fs::path& folder) {
    std::vector<fs::path> models;
    std::vector<fs::path> cached;
    for (const fs::path& inner : folders_in(folder)) {
        if (is_hugging_face_folder(inner) || !list_checkpoints(inner).empty()) models.push_back(inner);
        if (inner.filename().string().starts_with(cached_model)) cached.push_back(inner);
    }
    constexpr std::size_t most = 6;
    for (auto* list : {&models, &cached}) {
        if (list->size() > most) list->resize(most);
    }
    if (!cached.empty())
        return fmt::format("it is the hub's cache; give a model's folder in it: {}",
                           fmt::join(names_of(cached), " or "));
    if (!models.empty())
        return fmt::format("there are models in it; give the folder of one: {}", fmt::join(names_of(models), " or "));
    if (const std::string other = describe_other_weights(folder); !other.empty()) return other;
    std::error_code error;
    for (const char* name :
         {"model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
        if (fs::exists(folder / name, error))
            return fmt::format("it has {}: download the config.json of the same model into it", name);
    }
    return "";
}

}  // namespace

std::string locate_model(const std::string& path) {
    std::error_code error;
    if (path.empty()) return path;
    if (!fs::exists(fs::symlink_status(path, error))) return locate_in_cache(path);
    if (!fs::is_directory(path, error)) {
        check_file(path);
        return path;
    }
    if (is_hugging_face_folder(path) || !list_checkpoints(path).empty()) return path;
    // "FOLDER/" and "FOLDER/." are FOLDER.
    fs::path folder = fs::path(path).lexically_normal();
    if (!folder.has_filename() && folder.has_parent_path()) folder = folder.parent_path();
    if (folder.filename() == "snapshots") folder = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    if (fs::is_directory(folder / "snapshots", error)) {
        const fs::path snapshot = snapshot_of(folder);
        log_information(fmt::format("{} is a folder of the hub's cache: {} is read", path, snapshot.string()));
        return snapshot.string();
    }
    const std::string advice = describe_folder(path);
    throw InputError(
        fmt::format("folder {} has neither checkpoints (step_*.h5) nor the config.json of a Hugging Face model{}{}",
                    path, advice.empty() ? "" : "; ", advice));
}

}  // namespace protalbert

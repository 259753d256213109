#include "model/weight_names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"

namespace protalbert {

namespace {

// DataParallel and DistributedDataParallel, torch.compile, FSDP, activation checkpointing.
constexpr std::string_view wrappers[] = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"};
constexpr std::string_view word_embeddings = "embeddings.word_embeddings.weight";
// The same tensor as the word embeddings; transformers keeps either one.
constexpr std::string_view decoder = "predictions.decoder.weight";
constexpr std::string_view model_prefix = "albert.";

/// Whether `name` is `end`, or has it behind a dot.
bool ends_in(std::string_view name, std::string_view end) {
    return name == end ||
           (name.size() > end.size() && name.ends_with(end) && name[name.size() - end.size() - 1] == '.');
}

/// The name without the words of wrappers, which are added to `dropped`.
std::string without_wrappers(std::string_view name, std::set<std::string>& dropped) {
    std::string rest;
    for (std::size_t begin = 0; begin <= name.size();) {
        const std::size_t end = std::min(name.find('.', begin), name.size());
        const std::string_view word = name.substr(begin, end - begin);
        if (std::find(std::begin(wrappers), std::end(wrappers), word) != std::end(wrappers)) {
            dropped.emplace(word);
        } else {
            if (!rest.empty()) rest += '.';
            rest += word;
        }
        begin = end + 1;
    }
    return rest;
}

/// What a tensor that ends in `anchor` has before the model's names: without `albert.`, which belongs to them.
std::string prefix_of(std::string_view name, std::string_view anchor) {
    std::string_view prefix = name.substr(0, name.size() - anchor.size());
    if (anchor == word_embeddings && (prefix == model_prefix || prefix.ends_with(".albert.")))
        prefix.remove_suffix(model_prefix.size());
    return std::string(prefix);
}

/// The prefix of the model's tensors; empty as well when there are no word embeddings.
std::string find_prefix(const std::vector<std::string>& names, const std::string& place) {
    for (const std::string_view anchor : {word_embeddings, decoder}) {
        std::set<std::string> prefixes;
        for (const std::string& name : names) {
            if (ends_in(name, anchor)) prefixes.insert(prefix_of(name, anchor));
        }
        if (prefixes.empty()) continue;
        if (prefixes.contains("")) return "";
        if (prefixes.size() > 1)
            throw InputError(fmt::format(
                "the weights in {} are those of several models, whose tensors' names begin with {}; save "
                "the one that is meant by itself, in Python: model.{}.save_pretrained(FOLDER)",
                place, fmt::join(prefixes, " and "), prefixes.begin()->substr(0, prefixes.begin()->size() - 1)));
        return *prefixes.begin();
    }
    return "";
}

/// A layer norm's parameters as TensorFlow calls them. True when the name was changed.
bool rename_norm(std::string& name) {
    for (const auto& [theirs, ours] : {std::pair(".gamma", ".weight"), std::pair(".beta", ".bias")}) {
        if (!name.ends_with(theirs)) continue;
        name.replace(name.size() - std::string_view(theirs).size(), std::string::npos, ours);
        return true;
    }
    return false;
}

}  // namespace

bool names_word_embeddings(std::string_view stored) {
    std::set<std::string> dropped;
    const std::string name = without_wrappers(stored, dropped);
    return ends_in(name, word_embeddings) || ends_in(name, decoder);
}

ModelNames model_names(const std::vector<StoredTensor>& tensors, const std::string& place) {
    ModelNames model;
    std::set<std::string> dropped;
    for (const StoredTensor& tensor : tensors) model.names.push_back(without_wrappers(tensor.name, dropped));
    const std::string prefix = find_prefix(model.names, place);
    bool norms = false;
    std::map<std::string, std::string> stored;  // the stored name of each
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        std::string& name = model.names[i];
        name = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
        norms = rename_norm(name) || norms;
        const auto [other, fresh] = stored.try_emplace(name, tensors[i].name);
        if (!name.empty() && !fresh)
            throw InputError(
                fmt::format("the weights in {} have both {} and {}, which are one tensor of the model; save the model "
                            "again with one of them",
                            place, other->second, tensors[i].name));
    }
    std::vector<std::string> words(dropped.begin(), dropped.end());
    if (!prefix.empty()) words.push_back(prefix.substr(0, prefix.size() - 1));
    if (!words.empty())
        model.remarks.push_back(
            fmt::format("{}: tensors are read without {} in their names", place, fmt::join(words, " and ")));
    if (norms)
        model.remarks.push_back(fmt::format("{}: gamma and beta of layer norms are read as weight and bias", place));
    return model;
}

}  // namespace protalbert

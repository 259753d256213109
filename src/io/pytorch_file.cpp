#include "io/pytorch_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/git_lfs.hpp"
#include "io/input_file.hpp"
#include "io/pickle.hpp"
#include "io/zip_archive.hpp"

namespace protalbert {

namespace {

using Kind = PickleValue::Kind;

// The published ProtAlbert's has less than 8 KB: room for a hundred thousand tensors.
constexpr std::uint64_t most_pickle_bytes = std::uint64_t{16} << 20;
// PyTorch's own operations stop there.
constexpr std::size_t most_dimensions = 64;
// Of an older file: a number that marks it, and its protocol.
constexpr std::string_view legacy_mark("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr std::int64_t legacy_protocol = 1001;

struct Type {
    std::string_view storage;
    std::string_view element;
};
constexpr Type types[] = {
    {"torch.FloatStorage", "float32"},  {"torch.HalfStorage", "float16"}, {"torch.BFloat16Storage", "bfloat16"},
    {"torch.DoubleStorage", "float64"}, {"torch.LongStorage", "int64"},   {"torch.IntStorage", "int32"},
    {"torch.ShortStorage", "int16"},    {"torch.CharStorage", "int8"},    {"torch.ByteStorage", "uint8"},
    {"torch.BoolStorage", "bool"},
};

InputError refuse(const InputFile& file, const std::string& why) {
    return InputError(fmt::format("{}: {}; it is damaged or no state dict of PyTorch", file.name(), why));
}

/// Elements that tensors are views of.
struct Storage {
    std::string element;
    std::string key;
    std::uint64_t elements = 0;

    std::uint64_t bytes() const { return elements * *element_bytes(element); }
};

/// ("storage", type, key, place, elements); in the older layout a sixth item, which only very old files have set.
Storage read_storage(const Pickle& pickle, const PickleValue& value, const InputFile& file) {
    if (value.kind != Kind::storage) throw refuse(file, "a tensor without elements");
    const PickleValue& mark = pickle.item(value, 0);
    const PickleValue& type = pickle.item(value, 1);
    const PickleValue& key = pickle.item(value, 2);
    const PickleValue& elements = pickle.item(value, 4);
    if (mark.kind != Kind::text || mark.text != "storage" || type.kind != Kind::name || key.kind != Kind::text ||
        elements.kind != Kind::integer || elements.integer < 0 || elements.integer > std::int64_t{1} << 48 ||
        (value.items.size() == 6 && pickle.item(value, 5).kind != Kind::none))
        throw refuse(file, "a reference to elements of an unknown form");
    const auto known = std::find_if(std::begin(types), std::end(types),
                                    [&](const Type& candidate) { return candidate.storage == type.text; });
    if (known == std::end(types)) throw refuse(file, "elements of an unknown type");
    return {std::string(known->element), key.text, static_cast<std::uint64_t>(elements.integer)};
}

std::vector<std::int64_t> read_integers(const Pickle& pickle, const PickleValue& tuple, const InputFile& file) {
    std::vector<std::int64_t> integers;
    if (tuple.kind != Kind::tuple) throw refuse(file, "a tensor whose shape is no tuple");
    // One tuple may be the shape of every tensor, and each has a copy of it.
    if (tuple.items.size() > most_dimensions)
        throw refuse(file, fmt::format("a tensor of more than {} dimensions", most_dimensions));
    for (std::size_t i = 0; i < tuple.items.size(); ++i) {
        if (pickle.item(tuple, i).kind != Kind::integer)
            throw refuse(file, "a tensor whose shape is no tuple of numbers");
        integers.push_back(pickle.item(tuple, i).integer);
    }
    return integers;
}

/// A tensor of the state dict, whose place in the file is still to be found by its storage's key.
struct Entry {
    StoredTensor tensor;
    Storage storage;
    std::uint64_t offset = 0;  ///< elements before the tensor's first
};

/// (storage, offset, shape, strides, requires_grad, hooks)
Entry read_entry(const Pickle& pickle, const std::string& name, const PickleValue& value, const InputFile& file) {
    if (value.kind != Kind::tensor) throw refuse(file, fmt::format("{} is no tensor", name));
    Entry entry;
    entry.storage = read_storage(pickle, pickle.item(value, 0), file);
    StoredTensor& tensor = entry.tensor;
    tensor.name = name;
    tensor.file = file.path();
    tensor.element = entry.storage.element;
    tensor.shape = read_integers(pickle, pickle.item(value, 2), file);
    tensor.strides = read_integers(pickle, pickle.item(value, 3), file);
    const PickleValue& offset = pickle.item(value, 1);
    if (offset.kind != Kind::integer || offset.integer < 0 || tensor.strides.size() != tensor.shape.size())
        throw refuse(file, fmt::format("tensor {} has no proper place", name));
    entry.offset = static_cast<std::uint64_t>(offset.integer);
    const auto extent = extent_of(tensor.shape, tensor.strides);
    if (!extent || entry.offset > entry.storage.elements || *extent > entry.storage.elements - entry.offset)
        throw refuse(file, fmt::format("tensor {} of shape {} reaches beyond its {} elements", name,
                                       shape_text(tensor.shape), entry.storage.elements));
    return entry;
}

/// A dict of tensors, and the keys that lead to it.
struct StateDict {
    const PickleValue* dict = nullptr;
    std::vector<std::string> keys;
};

using Wanted = std::function<bool(std::string_view)>;

/// All dicts that hold a wanted tensor themselves; dicts within dicts a few levels deep.
class StateDictSearch {
  public:
    StateDictSearch(const Pickle& pickle, const Wanted& wanted) : pickle_(pickle), wanted_(wanted) {
        look_into(pickle.root(), {});
    }
    const std::vector<StateDict>& found() const { return found_; }

  private:
    void look_into(const PickleValue& dict, const std::vector<std::string>& keys) {
        constexpr std::size_t deepest = 4;
        // A dict that several refer to counts once, and cycles end.
        if (dict.kind != Kind::dict || !seen_.insert(&dict).second) return;
        bool holds = false;
        for (std::size_t i = 0; i < dict.items.size(); i += 2) {
            const PickleValue& key = pickle_.item(dict, i);
            const PickleValue& value = pickle_.item(dict, i + 1);
            if (key.kind != Kind::text) continue;
            holds = holds || (value.kind == Kind::tensor && (!wanted_ || wanted_(key.text)));
            std::vector<std::string> deeper = keys;
            deeper.push_back(key.text);
            if (deeper.size() <= deepest) look_into(value, deeper);
        }
        if (holds) found_.push_back({&dict, keys});
    }

    const Pickle& pickle_;
    const Wanted& wanted_;
    std::set<const PickleValue*> seen_;
    std::vector<StateDict> found_;
};

/// What saves the dict under these keys by itself.
std::string save_alone(const InputFile& file, const std::vector<std::string>& keys) {
    std::string place;
    for (const std::string& key : keys) place += fmt::format("[\"{}\"]", key);
    return fmt::format("torch.save(torch.load(\"{}\", map_location=\"cpu\"){}, FILE)", file.name(), place);
}

/// Keys of a dict, for people.
std::string list_keys(const Pickle& pickle, const PickleValue& dict) {
    constexpr std::size_t most = 8;
    std::string text;
    for (std::size_t i = 0; i < dict.items.size() && i < 2 * most; i += 2) {
        const PickleValue& key = pickle.item(dict, i);
        text += (i == 0 ? "" : ", ") + (key.kind == Kind::text ? key.text : std::to_string(key.integer));
    }
    return dict.items.size() > 2 * most ? text + " ..." : text;
}

StateDict choose_state_dict(const Pickle& pickle, const Wanted& wanted, const InputFile& file) {
    const PickleValue& root = pickle.root();
    if (root.kind != Kind::dict) throw refuse(file, "it holds no dict of tensors");
    std::vector<StateDict> found = StateDictSearch(pickle, wanted).found();
    if (found.empty()) {
        for (std::size_t i = 1; i < root.items.size(); i += 2) {
            if (pickle.item(root, i).kind == Kind::dict)
                throw InputError(
                    fmt::format("{} holds no model's tensors, neither by themselves nor in its dicts; its keys are {}",
                                file.name(), list_keys(pickle, root)));
        }
        return {&root, {}};
    }
    const auto own = std::find_if(found.begin(), found.end(), [](const StateDict& dict) { return dict.keys.empty(); });
    if (own != found.end()) return *own;
    if (found.size() == 1) return found.front();
    std::vector<std::string> names;
    for (const StateDict& dict : found) names.push_back(fmt::format("{}", fmt::join(dict.keys, ".")));
    throw InputError(fmt::format("{} holds several models, under the keys {}; save the one that is meant by itself: {}",
                                 file.name(), fmt::join(names, " and "), save_alone(file, found.front().keys)));
}

/// The tensors of the dict that is meant, and its key.
struct Contents {
    std::vector<Entry> entries;
    std::string key;
};

Contents read_state_dict(const Pickle& pickle, const Wanted& wanted, const InputFile& file) {
    const StateDict chosen = choose_state_dict(pickle, wanted, file);
    const PickleValue& dict = *chosen.dict;
    std::map<std::string, Entry> entries;
    for (std::size_t i = 0; i < dict.items.size(); i += 2) {
        const PickleValue& key = pickle.item(dict, i);
        const PickleValue& value = pickle.item(dict, i + 1);
        if (key.kind != Kind::text) throw refuse(file, "a tensor whose name is no text");
        // As in Python, the last of equal keys counts.
        entries[key.text] = read_entry(pickle, key.text, value, file);
    }
    Contents contents{{}, fmt::format("{}", fmt::join(chosen.keys, "."))};
    for (auto& [name, entry] : entries) contents.entries.push_back(std::move(entry));
    return contents;
}

/// Where the elements of a storage lie in the file, and how many bytes there are.
struct Place {
    std::uint64_t position = 0;
    std::uint64_t bytes = 0;
};

std::vector<StoredTensor> place_tensors(std::vector<Entry> entries, const std::map<std::string, Place>& places,
                                        const InputFile& file) {
    std::vector<StoredTensor> tensors;
    for (Entry& entry : entries) {
        const auto place = places.find(entry.storage.key);
        if (place == places.end())
            throw refuse(file, fmt::format("the elements of tensor {} are missing", entry.tensor.name));
        if (place->second.bytes < entry.storage.bytes())
            throw refuse(file, fmt::format("tensor {} has {} bytes of elements, where {} are needed", entry.tensor.name,
                                           place->second.bytes, entry.storage.bytes()));
        entry.tensor.position = place->second.position + entry.offset * *element_bytes(entry.storage.element);
        tensors.push_back(std::move(entry.tensor));
    }
    return tensors;
}

/// NAME/data.pkl is the state dict, NAME/data/KEY the elements of each storage.
PytorchTensors list_zip_layout(const InputFile& file, const Wanted& wanted) {
    const std::vector<ZipEntry> entries = list_zip(file);
    const std::string pickle_name = "/data.pkl";
    const auto data = std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& entry) {
        return entry.name.ends_with(pickle_name) && entry.name.find('/') == entry.name.size() - pickle_name.size();
    });
    if (data == entries.end()) throw refuse(file, "the ZIP archive has no data.pkl");
    const std::string folder = data->name.substr(0, data->name.size() - pickle_name.size());
    const std::string prefix = folder + "/data/";
    std::map<std::string, Place> places;
    for (const ZipEntry& entry : entries) {
        if (entry.name.starts_with(prefix)) places[entry.name.substr(prefix.size())] = {entry.position, entry.bytes};
        if (entry.name == folder + "/byteorder" && entry.bytes <= 16 &&
            file.read(entry.bytes, entry.position) != "little")
            throw InputError(
                fmt::format("{} was written on a big-endian machine; save it again on another", file.name()));
    }
    if (data->bytes > most_pickle_bytes)
        throw refuse(file, fmt::format("its data.pkl of {} bytes is too long", data->bytes));
    const std::string bytes = file.read(data->bytes, data->position);
    Contents contents = read_state_dict(read_pickle(bytes, file.name()), wanted, file);
    return {place_tensors(std::move(contents.entries), places, file), std::move(contents.key)};
}

/// Pickles of the mark, the protocol, the machine, the state dict and the keys of its storages; then for each key the
/// number of elements (8 bytes) and the elements.
PytorchTensors list_legacy_layout(const InputFile& file, const Wanted& wanted) {
    const std::string bytes = file.read(std::min(file.size(), most_pickle_bytes), 0);
    std::uint64_t position = 0;
    const auto next = [&] {
        Pickle pickle = read_pickle(std::string_view(bytes).substr(position), file.name());
        position += pickle.length;
        return pickle;
    };
    const Pickle mark = next();
    if (mark.root().kind != Kind::large || mark.root().text != legacy_mark)
        throw refuse(file, "it does not begin with PyTorch's mark");
    const Pickle protocol = next();
    if (protocol.root().kind != Kind::integer || protocol.root().integer != legacy_protocol)
        throw refuse(file, "its protocol is not 1001");
    const Pickle machine = next();
    for (std::size_t i = 0; machine.root().kind == Kind::dict && i < machine.root().items.size(); i += 2) {
        if (machine.item(machine.root(), i).text == "little_endian" && machine.item(machine.root(), i + 1).integer == 0)
            throw InputError(
                fmt::format("{} was written on a big-endian machine; save it again on another", file.name()));
    }
    const Pickle objects = next();
    Contents contents = read_state_dict(objects, wanted, file);
    const Pickle keys = next();
    if (keys.root().kind != Kind::list) throw refuse(file, "the list of its elements is missing");

    // Also of tensors that are not wanted: their elements lie between the others.
    std::map<std::string, std::uint64_t> widths;
    for (const PickleValue& value : objects.values) {
        if (value.kind != Kind::storage) continue;
        const Storage storage = read_storage(objects, value, file);
        widths[storage.key] = *element_bytes(storage.element);
    }
    std::map<std::string, Place> places;
    for (std::size_t i = 0; i < keys.root().items.size(); ++i) {
        const std::string& key = keys.item(keys.root(), i).text;
        const auto width = widths.find(key);
        if (width == widths.end()) throw refuse(file, "elements that no tensor uses");
        const std::uint64_t count = little_endian(file.read(8, position).data(), 8);
        position += 8;
        if (count > (file.size() - position) / width->second)
            throw refuse(file,
                         fmt::format("{} elements at byte {} leave the file, which is truncated", count, position));
        places[key] = {position, count * width->second};
        position += count * width->second;
    }
    return {place_tensors(std::move(contents.entries), places, file), std::move(contents.key)};
}

}  // namespace

PytorchTensors list_pytorch_file(const std::filesystem::path& path,
                                 const std::function<bool(std::string_view)>& wanted) {
    const InputFile file(path, "weights");
    const std::string start = file.read(std::min<std::uint64_t>(file.size(), 8), 0);
    if (start.starts_with("PK")) return list_zip_layout(file, wanted);
    if (start.starts_with("\x80")) return list_legacy_layout(file, wanted);
    if (is_git_lfs_pointer(start)) throw git_lfs_pointer(path, "weights");
    throw refuse(file, "it begins like no file of torch.save");
}

}  // namespace protalbert

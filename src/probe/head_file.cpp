#include "probe/head_file.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/finite.hpp"
#include "base/log.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"
#include "io/json_file.hpp"
#include "io/seal.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* format_name = "protalbert head";
constexpr std::int64_t format_version = 1;
constexpr const char* checksum_name = "xxh3_64";  // XXH3, 64 bits, seed 0, of the dataset's bytes

/// An array as the file holds it.
struct Tensor {
    std::string dataset;
    std::vector<std::uint64_t> shape;
    std::vector<float> values;

    std::uint64_t checksum() const { return XXH3_64bits(values.data(), values.size() * sizeof(float)); }
};

std::vector<std::uint64_t> weight_shape(const Convolution& convolution) {
    std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(convolution.out),
                                     static_cast<std::uint64_t>(convolution.in)};
    if (convolution.window > 1) shape.push_back(static_cast<std::uint64_t>(convolution.window));
    return shape;
}

std::vector<Tensor> tensors_of(const HeadLayout& layout, const std::vector<float>& values) {
    std::vector<Tensor> tensors;
    for (const Convolution& convolution : layout.all()) {
        const std::string name = "/parameters/" + convolution.name;
        const float* const bias = values.data() + convolution.bias;
        tensors.push_back({name + ".weight", weight_shape(convolution),
                           to_file_order(values.data() + convolution.weight, convolution)});
        tensors.push_back(
            {name + ".bias", {static_cast<std::uint64_t>(convolution.out)}, {bias, bias + convolution.out}});
    }
    return tensors;
}

std::string config_json(const HeadConfig& config) {
    Json json;
    json["task"] = task_name(config.task);
    json["features"] = config.features;
    json["channels"] = config.channels;
    json["window"] = config.window;
    json["dropout"] = config.dropout;
    json["kinds"] = Json::object();
    for (const LabelKind& kind : config.kinds) json["kinds"][kind.name] = kind.classes;
    return json.dump();
}

HeadConfig read_config(const std::string& text, const std::string& path) {
    try {
        const Json json = parse_json_object(text, path);
        HeadConfig config;
        config.task = task_from_name(json.at("task").get<std::string>());
        config.features = json.at("features").get<std::int64_t>();
        config.channels = json.at("channels").get<std::int64_t>();
        config.window = json.at("window").get<std::int64_t>();
        config.dropout = json.at("dropout").get<double>();
        for (const auto& [name, classes] : json.at("kinds").items()) {
            const LabelKind& kind = label_kind(config.task, name);
            if (classes.get<std::vector<std::string>>() != kind.classes)
                throw InputError(fmt::format("the classes of {} are not those of this version", name));
            config.kinds.push_back(kind);
        }
        // Sizes beyond any encoder's are damage, and would ask for all memory.
        constexpr std::int64_t most = std::int64_t{1} << 20;
        if (config.features < 1 || config.features > most || config.channels < 1 || config.channels > most ||
            config.window < 1 || config.window > 1023 || config.window % 2 == 0 || config.kinds.empty())
            throw InputError("its sizes make no head");
        return config;
    } catch (const nlohmann::json::exception& error) {
        throw InputError(fmt::format("{}: the description of the head cannot be read: {}", path, error.what()));
    } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {}", path, error.what()));
    }
}

void write_file(const fs::path& path, const HeadFile& head) {
    const std::vector<Tensor> tensors = tensors_of(make_head_layout(head.config), head.values);
    Hdf5File file = Hdf5File::create_alone(path.string(), 0);
    write_format(file, format_name, format_version);
    file.set_attribute("/", "config", config_json(head.config));
    file.set_attribute("/", "encoder", head.encoder);
    file.set_attribute("/", "checkpoint_hash", head.checkpoint_hash);
    file.set_attribute("/", "piece_length", head.piece_length);
    file.set_attribute("/", "training", head.training);
    for (const Tensor& tensor : tensors) {
        file.create_dataset(tensor.dataset, Element::float32, tensor.shape);
        file.set_attribute(tensor.dataset, checksum_name, tensor.checksum());
        file.write(tensor.dataset, tensor.values.data(), {0, tensor.shape.front()});
    }
    file.flush();
    file.close();
    seal_file(path.string(), {});
}

HeadFile read_file(const std::string& path) {
    const Hdf5File file = Hdf5File::open_alone(path);
    check_format(file, format_name, format_version);
    HeadFile head;
    head.config = read_config(file.text_attribute("/", "config"), path);
    head.encoder = file.text_attribute("/", "encoder");
    head.checkpoint_hash = file.unsigned_attribute("/", "checkpoint_hash");
    head.piece_length = file.integer_attribute("/", "piece_length");
    if (head.piece_length < 0) throw InputError(fmt::format("{}: its piece_length is negative", path));
    head.training = file.text_attribute("/", "training");
    const HeadLayout layout = make_head_layout(head.config);
    std::uint64_t bytes = 0;
    for (const Convolution& convolution : layout.all())
        bytes += static_cast<std::uint64_t>(convolution.weight_size() + convolution.out) * sizeof(float);
    // Before memory is taken for what a few numbers in a text say.
    if (bytes > fs::file_size(path))
        throw InputError(
            fmt::format("{}: the head that it describes has {} bytes, more than the file; it is damaged: "
                        "train the head again",
                        path, bytes));
    head.values.assign(static_cast<std::size_t>(layout.size), 0.0F);
    const auto read = [&](const std::string& dataset, const std::vector<std::uint64_t>& shape, std::int64_t size) {
        if (!file.exists(dataset) || file.shape(dataset) != shape || file.element(dataset) != Element::float32)
            throw InputError(fmt::format("{}: {} is missing, or has not the shape [{}]; train the head again", path,
                                         dataset, fmt::join(shape, ", ")));
        Tensor tensor{dataset, shape, std::vector<float>(static_cast<std::size_t>(size))};
        file.read(dataset, tensor.values.data(), {0, shape.front()});
        if (tensor.checksum() != file.unsigned_attribute(dataset, checksum_name))
            throw InputError(
                fmt::format("{} is damaged: the checksum of {} is wrong; train the head again", path, dataset));
        if (!all_finite(tensor.values.data(), tensor.values.size()))
            throw InputError(fmt::format("{}: {} has values that are not finite; train the head again", path, dataset));
        return tensor.values;
    };
    for (const Convolution& convolution : layout.all()) {
        const std::string name = "/parameters/" + convolution.name;
        const std::vector<float> stored = read(name + ".weight", weight_shape(convolution), convolution.weight_size());
        const std::vector<float> weight = from_file_order(stored.data(), convolution);
        const std::vector<float> bias =
            read(name + ".bias", {static_cast<std::uint64_t>(convolution.out)}, convolution.out);
        std::copy(weight.begin(), weight.end(), head.values.begin() + convolution.weight);
        std::copy(bias.begin(), bias.end(), head.values.begin() + convolution.bias);
    }
    return head;
}

}  // namespace

void write_head(const std::string& path, const HeadFile& head, const Communicator& communicator) {
    on_root(communicator, [&] {
        require_writable_place(path, "head");
        const fs::path temporary = path + ".part";
        try {
            fs::remove(temporary);
            write_file(temporary, head);
            rename_durably(temporary, path);
        } catch (...) {
            std::error_code ignored;
            fs::remove(temporary, ignored);
            throw;
        }
    });
}

HeadFile read_head(const std::string& path, const Communicator& communicator) {
    HeadFile head;
    std::string config;
    on_root(communicator, [&] {
        require_readable_file(path, "head");
        head = read_file(path);
        config = config_json(head.config);
    });
    config = communicator.broadcast(config, 0);
    head.encoder = communicator.broadcast(head.encoder, 0);
    head.training = communicator.broadcast(head.training, 0);
    communicator.broadcast(&head.checkpoint_hash, sizeof head.checkpoint_hash, 0);
    communicator.broadcast(&head.piece_length, sizeof head.piece_length, 0);
    head.config = read_config(config, path);
    head.values.resize(static_cast<std::size_t>(make_head_layout(head.config).size));
    communicator.broadcast(head.values.data(), head.values.size() * sizeof(float), 0);
    return head;
}

void check_features(const HeadFile& head, const std::string& path, std::int64_t count, std::uint64_t checkpoint_hash,
                    const std::string& origin, const Communicator& communicator) {
    if (count != head.config.features)
        throw InputError(
            fmt::format("head {} was trained on vectors of {} elements, but {} has {}; give the encoder that it was "
                        "trained on, or train a head on this one",
                        path, head.config.features, origin, count));
    if (communicator.root() && head.checkpoint_hash != 0 && checkpoint_hash != 0 &&
        head.checkpoint_hash != checkpoint_hash)
        log_warning(fmt::format("head {} was trained on other weights than those of {}: its predictions mean little",
                                path, origin));
}

}  // namespace protalbert

#include "io/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/git_lfs.hpp"
#include "io/input_file.hpp"
#include "io/json_file.hpp"

namespace protalbert {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t length_bytes = 8;
// Some 100 bytes a tensor: room for forty thousand, where ALBERT has dozens, and a hundred MiB at most once parsed.
constexpr std::uint64_t most_header_bytes = std::uint64_t{4} << 20;
constexpr const char* metadata_name = "__metadata__";

/// As the format spells the types of elements, with their bytes. Others that are not read keep the format's name.
struct Type {
    const char* dtype;
    const char* element;
    std::uint64_t bytes;
};
constexpr Type types[] = {
    {"F32", "float32", 4},
    {"F16", "float16", 2},
    {"BF16", "bfloat16", 2},
    {"F64", "float64", 8},
    {"I64", "int64", 8},
    {"I32", "int32", 4},
    {"I16", "int16", 2},
    {"I8", "int8", 1},
    {"U64", "uint64", 8},
    {"U32", "uint32", 4},
    {"U16", "uint16", 2},
    {"U8", "uint8", 1},
    {"BOOL", "bool", 1},
    {"C64", "C64", 8},
    {"F8_E4M3", "F8_E4M3", 1},
    {"F8_E5M2", "F8_E5M2", 1},
    {"F8_E8M0", "F8_E8M0", 1},
    {"F8_E4M3FNUZ", "F8_E4M3FNUZ", 1},
    {"F8_E5M2FNUZ", "F8_E5M2FNUZ", 1},
};

/// A tensor and the end of its bytes.
struct Placed {
    StoredTensor tensor;
    std::uint64_t end = 0;
};

/// Where a header's entry says that the tensor lies. `data`: position of the first byte behind the header.
Placed parse_entry(const std::string& name, const Json& entry, const InputFile& file, std::uint64_t data) {
    const auto refuse = [&](const std::string& why) {
        return InputError(
            fmt::format("{}: tensor {} {}; the file is damaged or no safetensors file", file.name(), name, why));
    };
    const auto is_list = [](const Json& list) {
        return list.is_array() &&
               std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_number_unsigned(); });
    };
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") ||
        !is_list(entry["shape"]) || !entry.contains("data_offsets") || !is_list(entry["data_offsets"]) ||
        entry["data_offsets"].size() != 2)
        throw refuse("lacks dtype, shape or data_offsets");

    Placed placed;
    StoredTensor& tensor = placed.tensor;
    tensor.name = name;
    tensor.file = file.path();
    const auto dtype = entry["dtype"].get<std::string>();
    const auto type = std::find_if(std::begin(types), std::end(types), [&](const Type& t) { return dtype == t.dtype; });
    // A name that is this program's own and not the format's would be read without a look at the size.
    if (type == std::end(types) && element_bytes(dtype)) throw refuse("has the unknown type " + entry["dtype"].dump());
    // Newer types, some of less than a byte, may be in a tensor that nobody needs.
    tensor.element = type == std::end(types) ? dtype : type->element;
    tensor.shape = entry["shape"].get<std::vector<std::int64_t>>();
    tensor.strides = row_major_strides(tensor.shape);
    const auto begin = entry["data_offsets"][0].get<std::uint64_t>();
    placed.end = entry["data_offsets"][1].get<std::uint64_t>();
    const std::uint64_t data_bytes = file.size() - data;
    if (begin > placed.end || placed.end > data_bytes)
        throw refuse(fmt::format("has the data_offsets {} to {}, but there are {} bytes of data", begin, placed.end,
                                 data_bytes));
    const auto elements = extent_of(tensor.shape, tensor.strides);
    std::uint64_t bytes = 0;
    if (!elements || (type != std::end(types) &&
                      (__builtin_mul_overflow(*elements, type->bytes, &bytes) || bytes != placed.end - begin)))
        throw refuse(fmt::format("of shape {} and type {} has {} bytes of data", shape_text(tensor.shape), dtype,
                                 placed.end - begin));
    tensor.position = data + begin;
    placed.end += data;
    return placed;
}

/// Throws InputError unless the tensors follow one another and fill the file.
void check_places(const std::vector<Placed>& tensors, const InputFile& file, std::uint64_t data) {
    std::vector<const Placed*> order;
    for (const Placed& placed : tensors) order.push_back(&placed);
    std::sort(order.begin(), order.end(), [](const Placed* left, const Placed* right) {
        return std::pair(left->tensor.position, left->end) < std::pair(right->tensor.position, right->end);
    });
    std::uint64_t end = data;
    std::string before = "the header";
    for (const Placed* placed : order) {
        if (placed->tensor.position != end)
            throw InputError(fmt::format("{}: tensor {} {} {}; the file is damaged", file.name(), placed->tensor.name,
                                         placed->tensor.position < end ? "overlaps" : "leaves a gap behind", before));
        end = placed->end;
        before = placed->tensor.name;
    }
    if (end != file.size())
        throw InputError(
            fmt::format("{}: {} bytes behind the last tensor; the file is damaged", file.name(), file.size() - end));
}

/// Length and JSON, padded so that the data begin at a multiple of eight bytes.
std::string make_header(const std::vector<TensorShape>& tensors) {
    Json json;
    json[metadata_name] = {{"format", "pt"}};  // transformers refuses files without it
    std::uint64_t end = 0;
    for (const TensorShape& tensor : tensors) {
        const std::uint64_t begin = end;
        end += sizeof(float) * static_cast<std::uint64_t>(std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                                                          std::int64_t{1}, std::multiplies<>()));
        json[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    }
    std::string text = json.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t length = text.size();
    std::string header(reinterpret_cast<const char*>(&length), length_bytes);
    return header + text;
}

}  // namespace

std::vector<StoredTensor> list_safetensors(const std::filesystem::path& path) {
    const InputFile file(path, "weights");
    const std::string start = file.read(length_bytes, 0);
    const std::uint64_t length = little_endian(start.data(), length_bytes);
    if (is_git_lfs_pointer(start)) throw git_lfs_pointer(file.path(), "weights");
    if (length > most_header_bytes)
        throw InputError(fmt::format("{}: a header of {} bytes, where at most {} make sense; it is no safetensors file",
                                     file.name(), length, most_header_bytes));
    const Json header = parse_json_object(file.read(length, length_bytes), file.name() + " (header)");
    const std::uint64_t data = length_bytes + length;
    std::vector<Placed> placed;
    for (const auto& [name, entry] : header.items()) {
        if (name != metadata_name) placed.push_back(parse_entry(name, entry, file, data));
    }
    check_places(placed, file, data);
    std::vector<StoredTensor> tensors;
    for (Placed& place : placed) tensors.push_back(std::move(place.tensor));
    return tensors;
}

std::uint64_t safetensors_bytes(const std::vector<TensorShape>& tensors) {
    std::uint64_t bytes = make_header(tensors).size();
    for (const TensorShape& tensor : tensors)
        bytes += sizeof(float) * static_cast<std::uint64_t>(std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                                                            std::int64_t{1}, std::multiplies<>()));
    return bytes;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& file, const std::vector<TensorShape>& tensors)
    : path_(file), file_(std::fopen(file.c_str(), "wb")) {
    if (file_ == nullptr) throw Error(fmt::format("cannot write {}: {}", file.string(), std::strerror(errno)));
    for (const TensorShape& tensor : tensors)
        elements_.push_back(static_cast<std::uint64_t>(
            std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>())));
    try {
        const std::string header = make_header(tensors);
        put(header.data(), header.size());
    } catch (...) {
        std::fclose(file_);  // the destructor of a half-made object is not called
        throw;
    }
}

SafetensorsWriter::~SafetensorsWriter() {
    if (file_ != nullptr) std::fclose(file_);
}

void SafetensorsWriter::put(const void* data, std::size_t bytes) {
    if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes)
        throw Error(fmt::format("cannot write {}: {}{}", path_.string(), std::strerror(errno), space_hint(path_)));
}

void SafetensorsWriter::write(const float* values) {
    PROTALBERT_CHECK(next_ < elements_.size(), "as many tensors as the header names");
    put(values, elements_[next_++] * sizeof(float));
}

void SafetensorsWriter::finish() {
    PROTALBERT_CHECK(next_ == elements_.size(), "as many tensors as the header names");
    if (std::fclose(std::exchange(file_, nullptr)) != 0)
        throw Error(fmt::format("cannot write {}: {}{}", path_.string(), std::strerror(errno), space_hint(path_)));
    sync_to_disk(path_);
}

}  // namespace protalbert

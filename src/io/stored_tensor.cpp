#include "io/stored_tensor.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.hpp"
#include "base/finite.hpp"
#include "io/input_file.hpp"

namespace protalbert {

static_assert(std::endian::native == std::endian::little, "the files' byte order is taken for the machine's");

float from_float16(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
    const std::uint32_t exponent = half >> 10 & 0x1FU;
    const std::uint32_t fraction = half & 0x3FFU;
    // Below 2^-14 numbers are multiples of 2^-24.
    if (exponent == 0) {
        const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
    }
    const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent - 15 + 127;
    return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

std::uint16_t to_float16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16 & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);
    if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);
    if (magnitude < 0x38800000U) {
        // A multiple of 2^-24: the sum with 0.5 is rounded to one, and holds it in its last bits.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U));
    }
    const std::uint32_t odd = magnitude >> 13 & 1U;
    return static_cast<std::uint16_t>(sign | (magnitude - 0x38000000U + 0xFFFU + odd) >> 13);
}

namespace {

// Large enough for full speed of the disk, small beside any model.
constexpr std::uint64_t buffer_bytes = std::uint64_t{4} << 20;
constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 20;

float from_bfloat16(std::uint16_t half) { return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16); }

enum class Kind { float32, float16, bfloat16 };

Kind kind_of(const StoredTensor& tensor) {
    if (tensor.element == "float32") return Kind::float32;
    if (tensor.element == "float16") return Kind::float16;
    if (tensor.element == "bfloat16") return Kind::bfloat16;
    throw InputError(
        fmt::format("{}: tensor {} is stored as {}, which is not read; save the model in float32, float16 or bfloat16",
                    tensor.file.string(), tensor.name, tensor.element));
}

float load(const char* element, Kind kind) {
    if (kind == Kind::float32) {
        float value;
        std::memcpy(&value, element, sizeof value);
        return value;
    }
    std::uint16_t half;
    std::memcpy(&half, element, sizeof half);
    return kind == Kind::float16 ? from_float16(half) : from_bfloat16(half);
}

/// `count` elements that follow one another from byte `position` on; whether all are finite. In pieces that stay in a
/// core's cache until they are converted and looked at.
bool read_run(const InputFile& file, Kind kind, std::uint64_t position, std::uint64_t count, float* values) {
    const std::uint64_t width = kind == Kind::float32 ? 4 : 2;
    std::string buffer;
    bool finite = true;
    for (std::uint64_t done = 0; done < count;) {
        const std::uint64_t part = std::min(count - done, piece_bytes / width);
        if (kind == Kind::float32) {
            file.read(values + done, part * width, position + done * width);
        } else {
            buffer.resize(part * width);
            file.read(buffer.data(), buffer.size(), position + done * width);
            for (std::uint64_t i = 0; i < part; ++i) values[done + i] = load(buffer.data() + i * width, kind);
        }
        finite = all_finite(values + done, part) && finite;
        done += part;
    }
    return finite;
}

/// A matrix [rows, columns] stored column by column, `stride` elements apart: some columns at a time, so that memory is
/// written in runs.
void read_transposed(const InputFile& file, Kind kind, const StoredTensor& tensor, float* values) {
    const auto rows = static_cast<std::uint64_t>(tensor.shape[0]);
    const auto columns = static_cast<std::uint64_t>(tensor.shape[1]);
    const auto stride = static_cast<std::uint64_t>(tensor.strides[1]);
    const std::uint64_t width = kind == Kind::float32 ? 4 : 2;
    const std::uint64_t together = std::max<std::uint64_t>(1, buffer_bytes / (rows * width));
    std::string buffer;
    for (std::uint64_t first = 0; first < columns; first += together) {
        const std::uint64_t count = std::min(together, columns - first);
        buffer.resize(count * rows * width);
        for (std::uint64_t column = 0; column < count; ++column)
            file.read(buffer.data() + column * rows * width, rows * width,
                      tensor.position + (first + column) * stride * width);
        for (std::uint64_t row = 0; row < rows; ++row)
            for (std::uint64_t column = 0; column < count; ++column)
                values[row * columns + first + column] = load(buffer.data() + (column * rows + row) * width, kind);
    }
}

}  // namespace

std::int64_t StoredTensor::elements() const {
    std::int64_t product = 1;
    for (const std::int64_t size : shape) product *= size;
    return product;
}

std::optional<std::uint64_t> element_bytes(std::string_view element) {
    struct Type {
        std::string_view name;
        std::uint64_t bytes;
    };
    static constexpr Type types[] = {{"bool", 1},    {"uint8", 1},    {"int8", 1},   {"uint16", 2}, {"int16", 2},
                                     {"float16", 2}, {"bfloat16", 2}, {"uint32", 4}, {"int32", 4},  {"float32", 4},
                                     {"uint64", 8},  {"int64", 8},    {"float64", 8}};
    for (const Type& type : types) {
        if (element == type.name) return type.bytes;
    }
    return std::nullopt;
}

void require_readable_type(const StoredTensor& tensor) { kind_of(tensor); }

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::vector<std::int64_t> row_major_strides(const std::vector<std::int64_t>& shape) {
    std::vector<std::int64_t> strides(shape.size(), 1);
    // Unsigned: of a tensor without elements the other sizes may be anything.
    for (std::size_t d = shape.size(); d-- > 1;)
        strides[d - 1] =
            static_cast<std::int64_t>(static_cast<std::uint64_t>(strides[d]) * static_cast<std::uint64_t>(shape[d]));
    return strides;
}

std::optional<std::uint64_t> extent_of(const std::vector<std::int64_t>& shape,
                                       const std::vector<std::int64_t>& strides) {
    constexpr std::uint64_t most = std::uint64_t{1} << 62;
    std::uint64_t elements = 1;
    std::uint64_t last = 0;
    bool empty = false;
    for (std::size_t d = 0; d < shape.size(); ++d) {
        if (shape[d] < 0 || strides[d] < 0) return std::nullopt;
        const auto size = static_cast<std::uint64_t>(shape[d]);
        std::uint64_t reach = 0;
        empty = empty || size == 0;
        if (empty) continue;
        if (__builtin_mul_overflow(elements, size, &elements) || elements > most ||
            __builtin_mul_overflow(size - 1, static_cast<std::uint64_t>(strides[d]), &reach) ||
            __builtin_add_overflow(last, reach, &last) || last >= most)
            return std::nullopt;
    }
    return empty ? 0 : last + 1;
}

bool read_tensor(const StoredTensor& tensor, float* values) {
    const Kind kind = kind_of(tensor);
    const InputFile file(tensor.file, "weights");
    const auto elements = static_cast<std::uint64_t>(tensor.elements());
    if (elements == 0) return true;
    // A dimension of one has no order.
    std::vector<std::int64_t> strides = tensor.strides;
    const std::vector<std::int64_t> row_major = row_major_strides(tensor.shape);
    for (std::size_t d = 0; d < strides.size(); ++d) {
        if (tensor.shape[d] == 1) strides[d] = row_major[d];
    }
    if (strides == row_major) return read_run(file, kind, tensor.position, elements, values);
    if (strides.size() == 2 && strides[1] == 1 && strides[0] >= tensor.shape[1]) {
        const std::uint64_t width = kind == Kind::float32 ? 4 : 2;
        bool finite = true;
        for (std::int64_t row = 0; row < tensor.shape[0]; ++row)
            finite = read_run(file, kind, tensor.position + static_cast<std::uint64_t>(row * strides[0]) * width,
                              static_cast<std::uint64_t>(tensor.shape[1]), values + row * tensor.shape[1]) &&
                     finite;
        return finite;
    }
    if (strides.size() == 2 && strides[0] == 1 && strides[1] >= tensor.shape[0]) {
        read_transposed(file, kind, tensor, values);
        return all_finite(values, elements);
    }
    throw InputError(
        fmt::format("{}: the elements of tensor {} of shape {} lie {} apart, in no order that this program reads; "
                    "save it with .contiguous()",
                    tensor.file.string(), tensor.name, shape_text(tensor.shape), shape_text(tensor.strides)));
}

}  // namespace protalbert

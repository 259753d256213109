#pragma once
// A tensor in a file of weights: where its elements lie. Every format of weights comes down to a list of these, so that
// nothing of the weights is in memory until a parameter is read to its place.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace protalbert {

struct StoredTensor {
    std::string name;
    std::string element;  ///< "float32", "float16", "bfloat16", or another type, by the file's name for it: not read
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;  ///< elements from one index to the next, of every dimension
    std::filesystem::path file;
    std::uint64_t position = 0;  ///< byte in `file` of the first element

    std::int64_t elements() const;  ///< product of shape, which the format's reader knows to be within 64 bits
};

/// Bytes of an element of a type that files of weights may hold, nothing for an unknown name.
std::optional<std::uint64_t> element_bytes(std::string_view element);
/// Throws InputError naming file, tensor and type for elements that read_tensor does not read.
void require_readable_type(const StoredTensor& tensor);

/// "[34, 128]".
std::string shape_text(const std::vector<std::int64_t>& shape);
/// Of elements that follow one another, the last index fastest.
std::vector<std::int64_t> row_major_strides(const std::vector<std::int64_t>& shape);
/// Elements from the first to the last, both included; nothing for negative numbers or beyond 62 bits.
std::optional<std::uint64_t> extent_of(const std::vector<std::int64_t>& shape,
                                       const std::vector<std::int64_t>& strides);

/// The value of a float16's bits; infinities and NaN stay what they are.
float from_float16(std::uint16_t half);
/// The bits of the nearest float16, ties to even; beyond 65504 infinity, NaN stays NaN.
std::uint16_t to_float16(float value);

/// Fills `values` [elements], row-major, converting float16 and bfloat16 (exact in float32). Elements may lie row by
/// row, or of a matrix column by column: PyTorch stores a transposed matrix as it was. Throws InputError naming file
/// and tensor for other element types, other orders and truncated files. Beside `values` a few MiB are used. Whether
/// all values are finite, which is found out on the way.
bool read_tensor(const StoredTensor& tensor, float* values);

}  // namespace protalbert

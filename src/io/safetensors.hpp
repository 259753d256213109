#pragma once
// The safetensors format: eight bytes with the header's length, the header as JSON (name: dtype, shape, data_offsets),
// then the elements of all tensors without gaps, little-endian and row-major.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "io/stored_tensor.hpp"

namespace protalbert {

/// The tensors of a file, in the order of their names in the header. Throws InputError naming file and tensor for
/// anything that is not as the format has it: truncated files, headers that are too long, offsets that overlap, leave
/// gaps, leave the file or do not fit the shape.
std::vector<StoredTensor> list_safetensors(const std::filesystem::path& file);

/// What a file to be written will hold.
struct TensorShape {
    std::string name;
    std::vector<std::int64_t> shape;
};

/// Writes float32 tensors one after another, so that one at a time is in memory.
class SafetensorsWriter {
  public:
    /// Writes the header. Throws Error when `file` cannot be written.
    SafetensorsWriter(const std::filesystem::path& file, const std::vector<TensorShape>& tensors);
    ~SafetensorsWriter();
    SafetensorsWriter(const SafetensorsWriter&) = delete;
    SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

    /// The next tensor's elements. Throws Error.
    void write(const float* values);
    /// After the last one: everything is in the file, with errors reported (the destructor cannot).
    void finish();

  private:
    void put(const void* data, std::size_t bytes);

    std::filesystem::path path_;
    std::vector<std::uint64_t> elements_;  // of each tensor
    std::size_t next_ = 0;
    std::FILE* file_ = nullptr;
};

/// Bytes of the file that a writer makes.
std::uint64_t safetensors_bytes(const std::vector<TensorShape>& tensors);

}  // namespace protalbert

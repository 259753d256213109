#pragma once
// Files of weights for tests, and what is said about bad ones.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "../foundation/folder.hpp"
#include "io/stored_tensor.hpp"

namespace protalbert::testing {

inline std::string content_of(const std::filesystem::path& file) {
    std::ostringstream content;
    content << std::ifstream(file, std::ios::binary).rdbuf();
    return content.str();
}

/// `number` in `count` bytes, least significant first.
inline std::string bytes_of(std::uint64_t number, int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i, number >>= 8) bytes += static_cast<char>(number);
    return bytes;
}

inline std::vector<float> read_values(const StoredTensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    read_tensor(tensor, values.data());
    return values;
}

/// Reads all that can be read; only an InputError may stop it. False when one did.
template <class List>
bool survives(const List& list) {
    try {
        for (const StoredTensor& tensor : list()) {
            // A tensor of one repeated element may have any size; whoever wants it knows the size from elsewhere.
            const bool small = tensor.elements() <= 1 << 20;
            if (small && (tensor.element == "float32" || tensor.element == "float16")) read_values(tensor);
        }
        return true;
    } catch (const InputError&) {
        return false;
    }
}

}  // namespace protalbert::testing

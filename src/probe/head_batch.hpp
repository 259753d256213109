#pragma once
// Features and labels of some proteins, brought to the device.

#include <cstdint>
#include <vector>

#include "probe/features.hpp"
#include "probe/head.hpp"
#include "probe/labels.hpp"

namespace protalbert {

/// Memory of batches; grows to the largest and stays.
struct HeadBatchMemory {
    std::vector<float> features;        ///< [T, D]
    std::vector<std::int64_t> offsets;  ///< [S + 1]
    std::vector<std::int64_t> rows;     ///< [T]
    std::vector<std::int32_t> labels;   ///< [K, T]
    DeviceMemory device_features, device_offsets, device_rows, device_labels;
};

/// Each rank's places in `numbers`, ascending, so that ranks have equally many rows; the same everywhere.
std::vector<std::vector<std::uint32_t>> places_of_ranks(const LabelledProteins& proteins,
                                                        const std::vector<std::uint32_t>& numbers, int ranks);

/// The batch of the numbered proteins, valid until the next call.
HeadBatch load_batch(HeadBatchMemory& memory, const std::vector<std::uint32_t>& numbers,
                     const LabelledProteins& proteins, const Features& features, Backend& backend, Stream stream);

/// Uploads `values`, growing `memory` when they do not fit.
template <typename T>
const T* upload_values(DeviceMemory& memory, const std::vector<T>& values, Backend& backend, Stream stream) {
    const std::size_t bytes = values.size() * sizeof(T);
    if (memory.bytes() < bytes) memory = DeviceMemory(backend, bytes);
    backend.upload(memory.data(), values.data(), bytes, stream);
    return memory.as<T>();
}

}  // namespace protalbert

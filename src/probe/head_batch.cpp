#include "probe/head_batch.hpp"

#include "data/share_out.hpp"

namespace protalbert {

std::vector<std::vector<std::uint32_t>> places_of_ranks(const LabelledProteins& proteins,
                                                        const std::vector<std::uint32_t>& numbers, int ranks) {
    std::vector<double> costs;
    for (const std::uint32_t number : numbers) costs.push_back(static_cast<double>(row_count(proteins, {number})));
    const std::vector<std::uint32_t> rank_of = share_out(costs, ranks);
    std::vector<std::vector<std::uint32_t>> places(static_cast<std::size_t>(ranks));
    for (std::uint32_t i = 0; i < numbers.size(); ++i) places[rank_of[i]].push_back(i);
    return places;
}

HeadBatch load_batch(HeadBatchMemory& memory, const std::vector<std::uint32_t>& numbers,
                     const LabelledProteins& proteins, const Features& features, Backend& backend, Stream stream) {
    const std::size_t K = proteins.kinds.size();
    const auto T = static_cast<std::size_t>(row_count(proteins, numbers)), D = static_cast<std::size_t>(features.count);
    backend.synchronize(stream);  // the memory may still be on its way to the device
    memory.features.resize(T * D);
    memory.offsets.assign(1, 0);
    memory.rows.clear();
    memory.labels.resize(K * T);
    for (const std::uint32_t number : numbers) {
        const std::uint64_t first = proteins.rows[number], last = proteins.rows[number + 1];
        const std::size_t at = memory.rows.size();
        features.read(number, memory.features.data() + at * D);
        for (std::uint64_t row = first; row < last; ++row) memory.rows.push_back(static_cast<std::int64_t>(row));
        for (std::size_t k = 0; k < K; ++k)
            std::copy(proteins.labels[k].begin() + static_cast<std::ptrdiff_t>(first),
                      proteins.labels[k].begin() + static_cast<std::ptrdiff_t>(last),
                      memory.labels.begin() + static_cast<std::ptrdiff_t>(k * T + at));
        memory.offsets.push_back(static_cast<std::int64_t>(memory.rows.size()));
    }

    HeadBatch batch;
    const float* const values = upload_values(memory.device_features, memory.features, backend, stream);
    batch.features = {reinterpret_cast<std::byte*>(const_cast<float*>(values)), sizeof(float)};
    batch.sequences = {static_cast<std::int64_t>(numbers.size()), static_cast<std::int64_t>(T),
                       upload_values(memory.device_offsets, memory.offsets, backend, stream), memory.offsets.data()};
    batch.rows = upload_values(memory.device_rows, memory.rows, backend, stream);
    const std::int32_t* const labels = upload_values(memory.device_labels, memory.labels, backend, stream);
    for (std::size_t k = 0; k < K; ++k) batch.labels.push_back(labels + k * T);
    return batch;
}

}  // namespace protalbert

// A packed batch on the device.

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "model/model.hpp"

namespace protalbert {

namespace {

/// Appends arrays to the staging buffer and remembers where each begins.
class Stage {
  public:
    explicit Stage(std::vector<std::byte>& buffer) : buffer_(buffer) { buffer_.clear(); }

    template <class T>
    std::size_t add(const std::vector<T>& values) {
        constexpr std::size_t alignment = 64;  // a cache line
        const std::size_t begin = (buffer_.size() + alignment - 1) / alignment * alignment;
        buffer_.resize(begin + values.size() * sizeof(T));
        if (!values.empty()) std::memcpy(buffer_.data() + begin, values.data(), values.size() * sizeof(T));
        return begin;
    }

  private:
    std::vector<std::byte>& buffer_;
};

}  // namespace

void upload_batch(DeviceBatch& device, const PackedBatch& batch, Backend& backend, Stream stream) {
    const std::int64_t tokens = batch.token_count();
    const auto sequences = static_cast<std::int64_t>(batch.cu_seqlens.size()) - 1;
    PROTALBERT_CHECK(sequences >= 0 && batch.cu_seqlens.front() == 0 && batch.cu_seqlens.back() == tokens,
                     "cu_seqlens must run from 0 to the number of tokens");
    PROTALBERT_CHECK(batch.segments.size() == batch.tokens.size() && batch.positions.size() == batch.tokens.size(),
                     "every token needs a segment and a position");
    PROTALBERT_CHECK(batch.masked_labels.size() == batch.masked_positions.size(), "every masked token needs a label");
    PROTALBERT_CHECK(batch.sentence_labels.empty() || std::ssize(batch.sentence_labels) == sequences,
                     "every sequence needs a sentence label (-1 for none), or none has one");
    if (!device.staging.empty()) backend.synchronize(stream);

    device.host_offsets = batch.cu_seqlens;
    device.masked = batch.masked_count();
    device.largest_token = tokens == 0 ? 0 : *std::max_element(batch.tokens.begin(), batch.tokens.end());
    device.largest_position = tokens == 0 ? 0 : *std::max_element(batch.positions.begin(), batch.positions.end());

    Stage stage(device.staging);
    const std::size_t token_ids = stage.add(batch.tokens);
    const std::size_t segments = stage.add(batch.segments);
    const std::size_t positions = stage.add(batch.positions);
    const std::size_t offsets = stage.add(batch.cu_seqlens);
    const std::size_t masked_positions = stage.add(batch.masked_positions);
    const std::size_t masked_labels = stage.add(batch.masked_labels);
    const std::size_t sentence_labels = stage.add(batch.sentence_labels);
    if (device.memory.bytes() < device.staging.size()) device.memory = DeviceMemory(backend, device.staging.size());
    backend.upload(device.memory.data(), device.staging.data(), device.staging.size(), stream);

    const std::byte* const base = device.memory.data();
    const auto int32_at = [base](std::size_t begin) { return reinterpret_cast<const std::int32_t*>(base + begin); };
    const auto int64_at = [base](std::size_t begin) { return reinterpret_cast<const std::int64_t*>(base + begin); };
    device.sequences = {sequences, tokens, int64_at(offsets), device.host_offsets.data()};
    device.ids = {int32_at(token_ids), int32_at(segments), int32_at(positions)};
    device.masked_positions = int64_at(masked_positions);
    device.masked_labels = int32_at(masked_labels);
    // A sequence begins with its [CLS]: the first S offsets.
    device.first_tokens = int64_at(offsets);
    device.sentence_labels = batch.sentence_labels.empty() ? nullptr : int32_at(sentence_labels);
}

}  // namespace protalbert

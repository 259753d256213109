// A packed batch on the device.

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "model/model.hpp"

namespace protalbert {

namespace {

/// Places of arrays one after another.
class Places {
  public:
    std::size_t add(std::size_t elements, std::size_t element_bytes) {
        constexpr std::size_t alignment = 64;  // a cache line
        const std::size_t begin = (end_ + alignment - 1) / alignment * alignment;
        end_ = begin + elements * element_bytes;
        return begin;
    }
    std::size_t bytes() const { return end_; }

  private:
    std::size_t end_ = 0;
};

/// Where the arrays of a batch begin, in bytes.
struct BatchPlaces {
    std::size_t tokens, segments, positions, offsets, masked_positions, masked_labels, sentence_labels, bytes;
};
BatchPlaces places_of(std::size_t T, std::size_t S, std::size_t M, bool sentence_labels) {
    Places places;
    BatchPlaces at{};
    at.tokens = places.add(T, sizeof(std::int32_t));
    at.segments = places.add(T, sizeof(std::int32_t));
    at.positions = places.add(T, sizeof(std::int32_t));
    at.offsets = places.add(S + 1, sizeof(std::int64_t));
    at.masked_positions = places.add(M, sizeof(std::int64_t));
    at.masked_labels = places.add(M, sizeof(std::int32_t));
    at.sentence_labels = places.add(sentence_labels ? S : 0, sizeof(std::int32_t));
    at.bytes = places.bytes();
    return at;
}

void make_room(DeviceBatch& device, std::size_t bytes, Backend& backend) {
    for (DeviceBatch::Staging& staging : device.staging) {
        if (staging.uploaded.get().handle == nullptr) staging.uploaded = OwnEvent(backend);
        if (staging.memory.bytes() >= bytes) continue;
        backend.wait_for(staging.uploaded.get());
        staging.memory = HostMemory(backend, bytes);
    }
    if (device.memory.bytes() < bytes) device.memory = DeviceMemory(backend, bytes);
}

template <class T>
void put(std::byte* to, const std::vector<T>& values) {
    if (!values.empty()) std::memcpy(to, values.data(), values.size() * sizeof(T));
}

}  // namespace

std::size_t device_batch_bytes(std::int64_t T, std::int64_t S, std::int64_t M) {
    return places_of(static_cast<std::size_t>(T), static_cast<std::size_t>(S), static_cast<std::size_t>(M), true).bytes;
}

void reserve_batch(DeviceBatch& device, std::int64_t T, std::int64_t S, std::int64_t M, Backend& backend) {
    make_room(device, device_batch_bytes(T, S, M), backend);
    device.host_offsets.reserve(static_cast<std::size_t>(S) + 1);
}

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

    device.host_offsets = batch.cu_seqlens;
    device.masked = batch.masked_count();
    device.largest_token = tokens == 0 ? 0 : *std::max_element(batch.tokens.begin(), batch.tokens.end());
    device.largest_position = tokens == 0 ? 0 : *std::max_element(batch.positions.begin(), batch.positions.end());

    const BatchPlaces at = places_of(batch.tokens.size(), static_cast<std::size_t>(sequences),
                                     batch.masked_positions.size(), !batch.sentence_labels.empty());
    make_room(device, at.bytes, backend);
    DeviceBatch::Staging& staging = device.staging[device.turn];
    device.turn = 1 - device.turn;
    backend.wait_for(staging.uploaded.get());
    std::byte* const to = staging.memory.data();
    put(to + at.tokens, batch.tokens);
    put(to + at.segments, batch.segments);
    put(to + at.positions, batch.positions);
    put(to + at.offsets, batch.cu_seqlens);
    put(to + at.masked_positions, batch.masked_positions);
    put(to + at.masked_labels, batch.masked_labels);
    put(to + at.sentence_labels, batch.sentence_labels);
    backend.upload(device.memory.data(), to, at.bytes, stream);
    backend.record(staging.uploaded.get(), stream);

    const std::byte* const base = device.memory.data();
    const auto int32_at = [base](std::size_t begin) { return reinterpret_cast<const std::int32_t*>(base + begin); };
    const auto int64_at = [base](std::size_t begin) { return reinterpret_cast<const std::int64_t*>(base + begin); };
    device.sequences = {sequences, tokens, int64_at(at.offsets), device.host_offsets.data()};
    device.ids = {int32_at(at.tokens), int32_at(at.segments), int32_at(at.positions)};
    device.masked_positions = int64_at(at.masked_positions);
    device.masked_labels = int32_at(at.masked_labels);
    // A sequence begins with its [CLS]: the first S offsets.
    device.first_tokens = int64_at(at.offsets);
    device.sentence_labels = batch.sentence_labels.empty() ? nullptr : int32_at(at.sentence_labels);
}

}  // namespace protalbert

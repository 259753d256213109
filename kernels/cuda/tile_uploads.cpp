#include "kernels/cuda/tile_uploads.hpp"

#include <algorithm>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device_arena.hpp"

namespace protalbert::cuda {

namespace {
/// One MiB: room for a batch of 77,000 tokens, what an H200 holds, of the shortest sequences.
constexpr std::size_t first_capacity = 65536;
}  // namespace

std::size_t TileUploads::first_bytes() { return first_capacity * sizeof(AttentionTile); }

TileUploads::TileUploads() {
    for (Staging& staging : staging_)
        PROTALBERT_CUDA_CHECK(cudaEventCreateWithFlags(&staging.read, cudaEventDisableTiming));
    grow(first_capacity);
}

TileUploads::~TileUploads() {
    release();
    for (const Staging& staging : staging_) cudaEventDestroy(staging.read);
}

void TileUploads::release() noexcept {
    for (Staging& staging : staging_) {
        free_pinned(staging.tiles);
        staging.tiles = nullptr;
    }
    free_device(tiles_);
    tiles_ = nullptr;
}

void TileUploads::grow(std::size_t tiles) {
    PROTALBERT_CUDA_CHECK(cudaDeviceSynchronize());  // nothing reads the old ones any more
    release();
    for (Staging& staging : staging_) {
        void* memory = nullptr;
        PROTALBERT_CUDA_CHECK(cudaMallocHost(&memory, tiles * sizeof(AttentionTile)));
        staging.tiles = static_cast<AttentionTile*>(memory);
    }
    tiles_ = static_cast<AttentionTile*>(allocate_device(tiles * sizeof(AttentionTile)));
    capacity_ = tiles;
    offsets_.clear();
}

AttentionTiles TileUploads::get(const PackedSequences& sequences, cudaStream_t stream) {
    const std::int64_t* const begin = sequences.host_offsets;
    const std::int64_t* const end = begin + sequences.count + 1;
    if (std::equal(begin, end, offsets_.begin(), offsets_.end())) return {tiles_, count_};
    const auto most = static_cast<std::size_t>(most_attention_tiles(sequences.count, sequences.tokens));
    if (most > capacity_) grow(most);
    Staging& staging = staging_[turn_];
    turn_ = 1 - turn_;
    PROTALBERT_CUDA_CHECK(cudaEventSynchronize(staging.read));
    count_ = list_attention_tiles(staging.tiles, sequences);
    PROTALBERT_CUDA_CHECK(cudaMemcpyAsync(tiles_, staging.tiles,
                                          static_cast<std::size_t>(count_) * sizeof(AttentionTile),
                                          cudaMemcpyHostToDevice, stream));
    PROTALBERT_CUDA_CHECK(cudaEventRecord(staging.read, stream));
    offsets_.assign(begin, end);
    return {tiles_, count_};
}

}  // namespace protalbert::cuda

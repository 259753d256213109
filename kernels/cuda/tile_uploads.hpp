#pragma once
// The attention tiles of the batch at work, on the device.

#include <array>
#include <cstddef>
#include <vector>

#include "kernels/cuda/attention.hpp"

namespace protalbert::cuda {

/// Lists and uploads a batch's tiles when its first attention comes; the others of the batch find them there. The host
/// waits only when it is two batches ahead of the device, or for a batch of more tiles than any before.
class TileUploads {
  public:
    TileUploads();
    ~TileUploads();
    TileUploads(const TileUploads&) = delete;
    TileUploads& operator=(const TileUploads&) = delete;

    /// The tiles of `sequences`, for work on `stream`; valid until the next call.
    AttentionTiles get(const PackedSequences& sequences, cudaStream_t stream);
    /// Device memory that is there from the start.
    static std::size_t first_bytes();

  private:
    void grow(std::size_t tiles);
    void release() noexcept;

    /// What the host writes while the device may still read the other.
    struct Staging {
        AttentionTile* tiles = nullptr;  ///< [capacity_], pinned
        cudaEvent_t read = nullptr;      ///< the upload is over
    };
    std::array<Staging, 2> staging_;
    std::size_t turn_ = 0;
    AttentionTile* tiles_ = nullptr;  ///< [capacity_] on the device
    std::size_t capacity_ = 0;
    std::vector<std::int64_t> offsets_;  ///< of the batch whose tiles are there
    std::int64_t count_ = 0;
};

}  // namespace protalbert::cuda

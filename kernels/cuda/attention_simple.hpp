#pragma once
// Attention without tensor cores, for any head size up to 256 and both element types: float32, and the head sizes for
// which there is no faster kernel. Arguments as in attention.hpp.

#include "kernels/cuda/attention.hpp"

namespace protalbert::cuda {

template <class T>
void simple_attention_forward(T* out, float* logsumexp, const T* qkv, AttentionTiles tiles, std::int64_t tokens,
                              std::int64_t A, std::int64_t D, cudaStream_t stream);

/// `delta` is filled already.
template <class T>
void simple_attention_backward(T* dqkv, const float* delta, const T* dout, const T* qkv, const float* logsumexp,
                               AttentionTiles tiles, std::int64_t tokens, std::int64_t A, std::int64_t D,
                               cudaStream_t stream);

}  // namespace protalbert::cuda

#pragma once
// What every .cu file of this folder includes, instead of CUDA's own headers. The code of the kernels is plain C++ with
// CUDA's names, so that two compilers take it: nvcc, and a host compiler whose include path holds an emulation of CUDA
// (tests/emulation), where the same kernels are tested without a GPU. Therefore
// - kernels start by launch(), never by <<< >>>;
// - shared memory is an array of SHARED_ARRAY or dynamic_shared<T>(), never __shared__: a bare pointer on the device,
// in
//   the emulation one that knows who wrote what since which barrier. Its elements are read by value: `float4 v = x[i]`,
//   not `x[i].w` or `auto`;
// - warps are whole: blocks of a multiple of 32 threads, every warp instruction by all lanes;
// - instructions that C++ has no name for are functions of instructions.cuh.
// Global memory is reached by ordinary pointers; 16 bytes at once must be aligned to 16 bytes.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#ifdef __CUDACC__
#include "kernels/cuda/instructions.cuh"
#else
#include <emulated_instructions.hpp>
#endif
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace protalbert::cuda {

using bfloat16 = __nv_bfloat16;

/// The element types of activations, as floats.
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bfloat16 x) { return __bfloat162float(x); }
/// Rounded to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/// Two neighbours in one register, as the tensor cores take them, apart.
__device__ __forceinline__ float2 unpack_bfloat16(std::uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U));
}

}  // namespace protalbert::cuda

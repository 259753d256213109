// Includes the file PROTALBERT_KERNELS once for each instruction set, in the namespaces protalbert::baseline, avx2 and
// avx512, each compiled for that set. No include guard: every file of kernels includes this once. The kernels come
// after vectors.hpp and include nothing but other files of kernels: the includer includes the rest before.
//
// Why by inclusion: a template without the target attribute cannot be inlined around intrinsics, and the compiler
// lowers vector types by the target of the function that they stand in, before it inlines (the pattern of Google
// Highway's foreach_target.h).

#include <cstdint>
#include <cstring>

/// Small functions of the kernels must be inlined: alone they would pass vectors through memory.
#ifndef PROTALBERT_INLINE
#define PROTALBERT_INLINE [[gnu::always_inline]] static inline
#endif

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define PROTALBERT_LANES 16
namespace protalbert::avx512 {
#include "kernels/kokkos/vectors.hpp"
#include PROTALBERT_KERNELS
}  // namespace protalbert::avx512
#undef PROTALBERT_LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#define PROTALBERT_LANES 8
namespace protalbert::avx2 {
#include "kernels/kokkos/vectors.hpp"
#include PROTALBERT_KERNELS
}  // namespace protalbert::avx2
#undef PROTALBERT_LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define PROTALBERT_LANES 4
namespace protalbert::baseline {
#include "kernels/kokkos/vectors.hpp"
#include PROTALBERT_KERNELS
}  // namespace protalbert::baseline
#undef PROTALBERT_LANES
#undef PROTALBERT_KERNELS

// The products' kernels for each instruction set.

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/kokkos/instruction_sets.hpp"
#include "kernels/kokkos/panels.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/product_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

// A test defines these otherwise, for instructions that its machine may lack.
#ifndef PROTALBERT_BFLOAT16_SET
#define PROTALBERT_BFLOAT16_SET instruction_set()
#endif

#if defined(__x86_64__)
#ifndef PROTALBERT_BFLOAT16_INSTRUCTIONS
#define PROTALBERT_BFLOAT16_INSTRUCTIONS "kernels/kokkos/bfloat16_instructions.hpp"
#define PROTALBERT_LANES 16
#if defined(__clang__)
#pragma clang attribute push(                                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,amx-tile,amx-bf16,prefer-vector-width=512")
#endif
#define PROTALBERT_POP_TARGET
#else
#define PROTALBERT_LANES 4
#endif
#define PROTALBERT_MULTIPLIES_PAIRS
// In this order: each is made of the ones before.
// clang-format off
namespace protalbert::bfloat16 {
#include "kernels/kokkos/vectors.hpp"
#include PROTALBERT_BFLOAT16_INSTRUCTIONS
#include "kernels/kokkos/product_kernels.hpp"
#include "kernels/kokkos/amx_product_kernels.hpp"
}  // namespace protalbert::bfloat16
// clang-format on
#undef PROTALBERT_LANES
#ifdef PROTALBERT_POP_TARGET
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#endif

namespace protalbert {
namespace {

#define PROTALBERT_FLOAT32(set) set::vector_kernels<set::Items::floats, set::Items::floats>
#define PROTALBERT_ROUNDED(set) set::vector_kernels<set::Items::rounded_floats, set::Items::pairs>

constexpr ProductKernels baseline_float32 = PROTALBERT_FLOAT32(baseline)("baseline instructions");
constexpr ProductKernels baseline_bfloat16 = PROTALBERT_ROUNDED(baseline)("baseline instructions on rounded floats");
#if defined(__x86_64__)
constexpr ProductKernels avx2_float32 = PROTALBERT_FLOAT32(avx2)("AVX2");
constexpr ProductKernels avx2_bfloat16 = PROTALBERT_ROUNDED(avx2)("AVX2 on rounded floats");
constexpr ProductKernels avx512_float32 = PROTALBERT_FLOAT32(avx512)("AVX-512");
constexpr ProductKernels avx512_bfloat16 = PROTALBERT_ROUNDED(avx512)("AVX-512 on rounded floats");
constexpr ProductKernels avx512_bf16 =
    bfloat16::vector_kernels<bfloat16::Items::pairs, bfloat16::Items::pairs>("AVX-512 BF16");
constexpr ProductKernels amx_bf16 = bfloat16::amx_kernels("AMX BF16");
#endif

const ProductKernels& float32_kernels([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
    if (set >= InstructionSet::avx512) return avx512_float32;
    if (set == InstructionSet::avx2) return avx2_float32;
#endif
    return baseline_float32;
}

const ProductKernels& bfloat16_kernels([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
    if (set == InstructionSet::amx_bf16) return amx_bf16;
    if (set == InstructionSet::avx512_bf16) return avx512_bf16;
    if (set == InstructionSet::avx512) return avx512_bfloat16;
    if (set == InstructionSet::avx2) return avx2_bfloat16;
#endif
    return baseline_bfloat16;
}

}  // namespace

const ProductKernels& product_kernels(Precision precision) {
    return precision == Precision::float32 ? float32_kernels(instruction_set())
                                           : bfloat16_kernels(PROTALBERT_BFLOAT16_SET);
}

}  // namespace protalbert

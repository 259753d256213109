// The products' kernels for each instruction set.

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/kokkos/instruction_sets.hpp"
#include "kernels/kokkos/panels.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/product_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {
namespace {

#define PROTALBERT_FLOAT32(set, name) set::kernels_of<set::Items::floats, set::Items::floats>(name)
constexpr ProductKernels baseline_float32 = PROTALBERT_FLOAT32(baseline, "the baseline's instructions");
#if defined(__x86_64__)
constexpr ProductKernels avx2_float32 = PROTALBERT_FLOAT32(avx2, "AVX2");
constexpr ProductKernels avx512_float32 = PROTALBERT_FLOAT32(avx512, "AVX-512");
#endif

}  // namespace

const ProductKernels& product_kernels(Precision) {
#if defined(__x86_64__)
    if (instruction_set() == InstructionSet::avx512) return avx512_float32;
    if (instruction_set() == InstructionSet::avx2) return avx2_float32;
#endif
    return baseline_float32;
}

}  // namespace protalbert

#pragma once
// Which vector instructions the hand-written kernels use. The program is compiled for any x86-64 (or other) processor;
// each kernel exists once for every instruction set below and is chosen at run time. How: for_each_instruction_set.hpp.

namespace protalbert {

enum class InstructionSet {
    baseline,     ///< what every processor of the architecture has (SSE2 on x86-64), vectors of 4
    avx2,         ///< AVX2, FMA and F16C, vectors of 8
    avx512,       ///< AVX-512 F, BW, DQ and VL, vectors of 16
    avx512_bf16,  ///< and products of pairs of bfloat16, for products in that precision
    amx_bf16      ///< and tiles of them
};

/// The fastest that this processor has and the operating system allows, or the one that the environment variable
/// PROTALBERT_INSTRUCTION_SET names (below), if that is there. Throws InputError for another value. A kernel that does
/// not exist for the chosen set is taken from the next lower one.
InstructionSet instruction_set();

/// baseline, avx2, avx512, avx512_bf16 or amx_bf16.
const char* name_of(InstructionSet set);

}  // namespace protalbert

/// `function` of the namespace of the chosen instruction set.
#if defined(__x86_64__)
#define PROTALBERT_SELECT(function)                                                                           \
    (::protalbert::instruction_set() >= ::protalbert::InstructionSet::avx512 ? ::protalbert::avx512::function \
     : ::protalbert::instruction_set() == ::protalbert::InstructionSet::avx2 ? ::protalbert::avx2::function   \
                                                                             : ::protalbert::baseline::function)
#else
#define PROTALBERT_SELECT(function) (::protalbert::baseline::function)
#endif

// Finds out which vector instructions this processor has.

#include "kernels/kokkos/instruction_sets.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace protalbert {

namespace {

#if defined(__x86_64__)
/// Clang's __builtin_cpu_supports does not know the name.
bool has_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512) return InstructionSet::avx512;
    if (avx2) return InstructionSet::avx2;
#endif
    return InstructionSet::baseline;
}

InstructionSet chosen_instruction_set() {
    const char* const text = std::getenv("PROTALBERT_INSTRUCTION_SET");
    if (text == nullptr) return best_instruction_set();
    for (const InstructionSet set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
        if (std::string(text) == name_of(set)) return std::min(set, best_instruction_set());
    }
    throw InputError(fmt::format("PROTALBERT_INSTRUCTION_SET={}: choose baseline, avx2 or avx512", text));
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet set = chosen_instruction_set();
    return set;
}

const char* name_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::avx512:
            return "avx512";
        case InstructionSet::avx2:
            return "avx2";
        default:
            return "baseline";
    }
}

}  // namespace protalbert

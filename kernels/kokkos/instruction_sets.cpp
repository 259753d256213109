// Finds out which vector instructions this processor has.

#include "kernels/kokkos/instruction_sets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace protalbert {

namespace {

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
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

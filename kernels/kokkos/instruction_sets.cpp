// Finds out which vector instructions this processor has.

#include "kernels/kokkos/instruction_sets.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
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

/// Whether there are AMX's tiles for bfloat16 and this process may use them. Leaf 7 alone tells: some virtual machines
/// report no leaf 0x1d, the tiles' sizes, but palette 1 (8 tiles of 16 rows of 64 bytes) is all that there is so far.
/// Linux gives the tiles' registers to a process that asks for them, before its first instruction with one.
bool has_amx_bf16() {
#if defined(__linux__)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned bf16 = 1U << 22, tile = 1U << 24;  // of edx
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & bf16) == 0 || (edx & tile) == 0) return false;
    constexpr unsigned os_saves_registers = 1U << 27;  // of ecx, leaf 1
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & os_saves_registers) == 0) return false;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned tile_state = 3U << 17;  // configuration and data
    if ((low & tile_state) != tile_state) return false;
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}
#endif

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (avx512_bf16 && has_amx_bf16()) return InstructionSet::amx_bf16;
    if (avx512_bf16) return InstructionSet::avx512_bf16;
    if (avx512) return InstructionSet::avx512;
    if (avx2) return InstructionSet::avx2;
#endif
    return InstructionSet::baseline;
}

/// What is used unless somebody chooses. Not Intel's products of pairs without tiles: on a Xeon rounded floats were 1.2
/// to 1.5 times as fast, as measured with its tiles put aside. On an EPYC (Zen 5) pairs are twice as fast as floats.
InstructionSet preferred_instruction_set() {
    const InstructionSet best = best_instruction_set();
#if defined(__x86_64__)
    if (best == InstructionSet::avx512_bf16 && __builtin_cpu_is("intel")) return InstructionSet::avx512;
#endif
    return best;
}

constexpr std::array instruction_sets{InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512,
                                      InstructionSet::avx512_bf16, InstructionSet::amx_bf16};

InstructionSet chosen_instruction_set() {
    const char* const text = std::getenv("PROTALBERT_INSTRUCTION_SET");
    if (text == nullptr) return preferred_instruction_set();
    for (const InstructionSet set : instruction_sets)
        if (std::string(text) == name_of(set)) return set <= best_instruction_set() ? set : preferred_instruction_set();
    throw InputError(
        fmt::format("PROTALBERT_INSTRUCTION_SET={}: choose baseline, avx2, avx512, avx512_bf16 or amx_bf16", text));
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet set = chosen_instruction_set();
    return set;
}

const char* name_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::amx_bf16:
            return "amx_bf16";
        case InstructionSet::avx512_bf16:
            return "avx512_bf16";
        case InstructionSet::avx512:
            return "avx512";
        case InstructionSet::avx2:
            return "avx2";
        default:
            return "baseline";
    }
}

}  // namespace protalbert

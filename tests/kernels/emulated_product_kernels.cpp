// The products' kernels with emulated instructions for bfloat16, in place of the program's: linked before its library.
// PROTALBERT_TEST_EMULATED_SET names the set.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

static InstructionSet emulated_set() {
    const char* const name = std::getenv("PROTALBERT_TEST_EMULATED_SET");
    for (const InstructionSet set : {InstructionSet::avx512_bf16, InstructionSet::amx_bf16})
        if (name != nullptr && std::string_view(name) == name_of(set)) return set;
    std::abort();
}

}  // namespace protalbert

#define PROTALBERT_BFLOAT16_INSTRUCTIONS "tests/kernels/emulated_bfloat16.hpp"
#define PROTALBERT_BFLOAT16_SET emulated_set()
#include "kernels/kokkos/product_kernels.cpp"

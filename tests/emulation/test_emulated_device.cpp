// What a run is told at its start of a GPU that it cannot use.

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "tests/foundation/folder.hpp"

namespace protalbert {
namespace {

std::string refusal(const char* capability) {
    setenv("PROTALBERT_TEST_CAPABILITY", capability, 1);
    std::string message;
    try {
        make_cuda_backend(Precision::bfloat16);
    } catch (const InputError& error) {
        message = error.what();
    }
    unsetenv("PROTALBERT_TEST_CAPABILITY");
    return message;
}

TEST(EmulatedDevice, CapabilitiesThatThereIsCodeFor) {
    EXPECT_EQ(refusal("9.0"), "");
    EXPECT_EQ(refusal("8.6"), "");
}

TEST(EmulatedDevice, ACapabilityWithoutMachineCodeNamesWhatToBuild) {
    EXPECT_MESSAGE(refusal("10.0"), "emulated GPU has compute capability 10.0, for which this program has no code");
    EXPECT_MESSAGE(refusal("10.0"), "CUDA_ARCH = 100 in Makefile.inc");
    EXPECT_MESSAGE(refusal("12.0"), "CUDA_ARCH = 120 in Makefile.inc");
}

TEST(EmulatedDevice, ACapabilityTooLow) { EXPECT_MESSAGE(refusal("7.5"), "7.5, and 8.0 or higher is needed"); }

}  // namespace
}  // namespace protalbert

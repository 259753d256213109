// What depends on the kind of GPU: what a run is told at its start of one that it cannot use, and the products' tiles.

#include <cublasLt.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/handles.hpp"
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

/// Products with tiles of 256 x 128 after a product of [rows, 64] by [64, columns] on such a GPU.
std::int64_t products_with_wide_tiles(const char* capability, std::int64_t rows, std::int64_t columns) {
    setenv("PROTALBERT_TEST_CAPABILITY", capability, 1);
    const std::int64_t before = emulation::products_with(CUBLASLT_MATMUL_TILE_256x128);
    constexpr std::int64_t depth = 64;
    const std::unique_ptr<Backend> backend = make_cuda_backend(Precision::bfloat16);
    const DeviceMemory x(*backend, static_cast<std::size_t>(2 * rows * depth)),
        weight(*backend, static_cast<std::size_t>(2 * columns * depth)),
        out(*backend, static_cast<std::size_t>(2 * rows * columns));
    const auto tensor = [](const DeviceMemory& memory) { return Activations{memory.data(), 2}; };
    backend->linear(tensor(out), tensor(x), tensor(weight), {}, rows, columns, depth, {});
    unsetenv("PROTALBERT_TEST_CAPABILITY");
    return emulation::products_with(CUBLASLT_MATMUL_TILE_256x128) - before;
}

/// Of the two algorithms that the emulated library names, the second, with tiles of 256 x 128, is taken where they fill
/// its multiprocessor (it has one) no worse than the first's of 192 x 192, and on a Hopper GPU alone.
TEST(EmulatedDevice, TilesThatAreFastOnHopper) {
    EXPECT_EQ(products_with_wide_tiles("9.0", 256, 128), 1);
    EXPECT_EQ(products_with_wide_tiles("9.0", 192, 192), 0);
    EXPECT_EQ(products_with_wide_tiles("8.0", 256, 128), 0);
}

}  // namespace
}  // namespace protalbert

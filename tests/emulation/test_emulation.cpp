#include <gtest/gtest.h>

#include "kernels/cuda/device.cuh"
namespace protalbert::cuda {
namespace {
__global__ void sum_kernel(float* out, const float* in, int n) {
    SHARED_ARRAY(float, scratch, 32);
    float v = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) v += in[i];
    v = block_sum(v, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = v;
}
TEST(Emulation, BlockSum) {
    float *in, *out;
    cudaMalloc(&in, 1000 * 4);
    cudaMalloc(&out, 8 * 4);
    std::vector<float> h(1000, 1.0f), r(8);
    cudaMemcpyAsync(in, h.data(), 4000, cudaMemcpyHostToDevice);
    launch("sum_kernel", sum_kernel, 8, 256, 0, nullptr, out, in, 1000);
    cudaMemcpyAsync(r.data(), out, 32, cudaMemcpyDeviceToHost);
    for (float x : r) EXPECT_EQ(x, 1000.0f);
    EXPECT_THROW(launch("sum_kernel", sum_kernel, 8, 256, 0, nullptr, out, in, 1100), emulation::Error);
    try {
        launch("sum_kernel", sum_kernel, 8, 256, 0, nullptr, out, in, 1100);
    } catch (std::exception& e) {
        puts(e.what());
    }
}
}  // namespace
}  // namespace protalbert::cuda

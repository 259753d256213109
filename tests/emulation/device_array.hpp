#pragma once
// Arrays in emulated device memory, for tests that call kernels without a backend.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/emulation/cuda_runtime.h"

namespace emulation {

template <class T>
class DeviceArray {
  public:
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        EXPECT_EQ(cudaMemcpy(memory_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    }
    /// Of n elements that hold anything.
    explicit DeviceArray(std::size_t n) : size_(n) { EXPECT_EQ(cudaMalloc(&memory_, n * sizeof(T)), cudaSuccess); }
    ~DeviceArray() { EXPECT_EQ(cudaFree(memory_), cudaSuccess); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* device() const { return memory_; }
    std::vector<T> host() const {
        std::vector<T> values(size_);
        EXPECT_EQ(cudaMemcpy(values.data(), memory_, size_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
        return values;
    }

  private:
    std::size_t size_;
    T* memory_ = nullptr;
};

}  // namespace emulation

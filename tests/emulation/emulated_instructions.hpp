#pragma once
// The instructions of kernels/cuda/instructions.cuh on the host: what that header says each does, as the PTX manual
// (ISA 8.5, sections named below) lays it out. Compiled instead of it by a host compiler.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "tests/emulation/shared_memory.hpp"

namespace emulation {

void cp_async(std::uint32_t to, std::uint32_t begin, std::uint32_t end, const void* from, std::uint32_t bytes,
              bool valid);
void cp_async_commit();
void cp_async_wait(int most_pending);

/// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 by the fragments of section "Matrix Fragments for mma.m16n8k16".
void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
/// ldmatrix.sync.aligned.m8n8.xN[.trans].shared.b16: `matrices` of 1, 2, 4; lanes 8 i to 8 i + 7 give matrix i's rows.
void ldmatrix(std::uint32_t* to, int matrices, bool transposed, std::uint32_t row, std::uint32_t begin,
              std::uint32_t end);

/// How often ldmatrix read an 8 x 8 matrix, and how often it had to wait for a bank that another row of the matrix
/// used.
struct BankStatistics {
    std::uint64_t matrices = 0, conflicts = 0;
};
BankStatistics& bank_statistics();

}  // namespace emulation

namespace protalbert::cuda {

using emulation::Shared;

/// See kernels/cuda/instructions.cuh.
#define SHARED_ARRAY(type, name, count)                                      \
    const ::emulation::Shared<type> name = ::emulation::static_shared<type>( \
        [] {                                                                 \
            static const char key = 0;                                       \
            return static_cast<const void*>(&key);                           \
        }(),                                                                 \
        #name, count)

template <class T>
Shared<T> dynamic_shared(std::int64_t offset, std::int64_t count) {
    const auto begin = static_cast<std::uint32_t>(offset);
    const auto end = static_cast<std::uint32_t>(offset + count * static_cast<std::int64_t>(sizeof(T)));
    if (end > emulation::shared_memory.dynamic_bytes()) {
        emulation::fail("takes " + std::to_string(end) + " bytes of dynamic shared memory, the launch gave " +
                        std::to_string(emulation::shared_memory.dynamic_bytes()));
    }
    return {begin, begin, end};
}

template <class T>
void cp_async16(Shared<T> to, const T* from, bool valid = true) {
    emulation::cp_async(to.address(), to.begin(), to.end(), from, 16, valid);
}
template <class T>
void cp_async4(Shared<T> to, const T* from, bool valid = true) {
    emulation::cp_async(to.address(), to.begin(), to.end(), from, 4, valid);
}
inline void cp_async_commit() { emulation::cp_async_commit(); }
template <int most_pending>
void cp_async_wait() {
    emulation::cp_async_wait(most_pending);
}

inline void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    emulation::mma_m16n8k16(c, a, b);
}

/// A row of a matrix, whose address must stay in the array that it came from.
class MatrixRow {
  public:
    MatrixRow(Shared<__nv_bfloat16> row) : row_(row) {}
    MatrixRow operator+(int elements) const { return row_ + elements; }
    MatrixRow operator^(int elements) const {
        return Shared<__nv_bfloat16>(row_.address() ^ static_cast<std::uint32_t>(elements) * 2, row_.begin(),
                                     row_.end());
    }
    std::uint32_t address() const { return row_.address(); }
    std::uint32_t begin() const { return row_.begin(); }
    std::uint32_t end() const { return row_.end(); }

  private:
    Shared<__nv_bfloat16> row_;
};
inline void ldmatrix_x2(std::uint32_t (&to)[2], MatrixRow row) {
    emulation::ldmatrix(to, 2, false, row.address(), row.begin(), row.end());
}
inline void ldmatrix_x4(std::uint32_t (&to)[4], MatrixRow row) {
    emulation::ldmatrix(to, 4, false, row.address(), row.begin(), row.end());
}
inline void ldmatrix_x4_transposed(std::uint32_t (&to)[4], MatrixRow row) {
    emulation::ldmatrix(to, 4, true, row.address(), row.begin(), row.end());
}

inline float exp2_approximate(float x) { return std::exp2(x); }
inline float reciprocal_approximate(float x) {
    const float y = 1 / x;
    return std::fabs(y) < std::numeric_limits<float>::min() ? std::copysign(0.0F, y) : y;
}
inline std::uint32_t pack_bfloat16(float low, float high) {
    return std::bit_cast<std::uint32_t>(__floats2bfloat162_rn(low, high));
}

inline unsigned opaque(unsigned x) { return x; }
inline MatrixRow opaque(MatrixRow row) { return row; }

/// cudaLaunchKernelEx, with a name for messages.
template <class... Parameters, class... Arguments>
cudaError_t launch_kernel(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          std::size_t dynamic_shared_bytes, cudaStream_t, Arguments... arguments) {
    const cudaError_t error =
        emulation::check_launch(reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared_bytes);
    if (error == cudaSuccess) {
        emulation::run({name, grid, block, dynamic_shared_bytes, [&] { kernel(arguments...); }});
    }
    return error;
}

}  // namespace protalbert::cuda

namespace emulation {

template <class T>
Shared<T> static_shared(const void* key, const char* name, std::int64_t count) {
    const auto bytes = static_cast<std::uint32_t>(count * static_cast<std::int64_t>(sizeof(T)));
    const std::uint32_t begin = shared_memory.static_array(key, name, bytes, alignof(T) < 16 ? 16 : alignof(T));
    return {begin, begin, begin + bytes};
}

}  // namespace emulation

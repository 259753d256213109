#pragma once
// Instructions of NVIDIA GPUs that C++ has no name for, each a function of one PTX instruction (PTX ISA 8.5, compute
// capability 8.0 and newer). Included by device.cuh under nvcc; a host compiler gets tests/emulation's instead.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace protalbert::cuda {

// Shared memory

/// A pointer to shared memory, for the sake of the emulation, which checks every access.
template <class T>
class Shared {
  public:
    __device__ __forceinline__ explicit Shared(T* pointer) : pointer_(pointer) {}
    __device__ __forceinline__ T& operator[](int i) const { return pointer_[i]; }
    __device__ __forceinline__ T& operator*() const { return *pointer_; }
    __device__ __forceinline__ Shared operator+(int elements) const { return Shared(pointer_ + elements); }
    /// The same place with elements of another type.
    template <class U>
    __device__ __forceinline__ Shared<U> as() const {
        return Shared<U>(reinterpret_cast<U*>(pointer_));
    }
    /// As instructions on shared memory want it.
    __device__ __forceinline__ std::uint32_t address() const {
        return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer_));
    }

  private:
    T* pointer_;
};

/// `name`, a Shared<type> of `count` elements (a constant) that the block's threads share; aligned to 16 bytes.
#define SHARED_ARRAY(type, name, count)                                        \
    __shared__ alignas(16) unsigned char name##_bytes[sizeof(type) * (count)]; \
    const ::protalbert::cuda::Shared<type> name(reinterpret_cast<type*>(name##_bytes))

/// `count` elements at byte `offset` of the memory whose size launch() was given; aligned to 256 bytes where offset is.
template <class T>
__device__ __forceinline__ Shared<T> dynamic_shared(int offset, int /*count*/) {
    extern __shared__ __align__(256) unsigned char dynamic_shared_bytes[];
    return Shared<T>(reinterpret_cast<T*>(dynamic_shared_bytes + offset));
}

// Asynchronous copies from global to shared memory, past the registers. A thread sees its copies after cp_async_wait,
// others after a barrier behind that.

/// Starts a copy of 16 bytes, both addresses aligned to 16; zeros, and `from` is not read, where not `valid`.
/// Past the first-level cache (.cg): tiles are read once a block.
template <class T>
__device__ __forceinline__ void cp_async16(Shared<T> to, const T* from, bool valid = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to.address()),
                 "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
                 : "memory");
}
/// Of 4 bytes, aligned to 4.
template <class T>
__device__ __forceinline__ void cp_async4(Shared<T> to, const T* from, bool valid = true) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(to.address()),
                 "l"(__cvta_generic_to_global(from)), "r"(valid ? 4 : 0)
                 : "memory");
}
/// Makes one group of the thread's copies since the last group.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
/// Waits for all of the thread's groups but the `most_pending` newest.
template <int most_pending>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(most_pending) : "memory");
}

// Matrices of a warp

/// c [16, 8] += a [16, 16] b [16, 8] on the tensor cores, float32 sums. With g = lane / 4 and t = lane % 4 a lane holds
///   a: {row g, columns 2t, 2t + 1}, {g + 8, the same}, {g, 2t + 8, 2t + 9}, {g + 8, the same};
///   b: {column g, rows 2t, 2t + 1}, {g, 2t + 8, 2t + 9};
///   c: row g, columns 2t, 2t + 1, then row g + 8, the same.
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Where ldmatrix finds a row of a matrix: an address of 32 bits, to which constants are added by the instruction
/// itself.
class MatrixRow {
  public:
    __device__ __forceinline__ MatrixRow(Shared<__nv_bfloat16> row) : address_(row.address()) {}
    __device__ __forceinline__ MatrixRow operator+(int elements) const {
        return MatrixRow(address_ + static_cast<std::uint32_t>(elements) * 2);
    }
    /// The place whose address differs in the bits of so many elements.
    __device__ __forceinline__ MatrixRow operator^(int elements) const {
        return MatrixRow(address_ ^ static_cast<std::uint32_t>(elements) * 2);
    }
    __device__ __forceinline__ std::uint32_t address() const { return address_; }

  private:
    friend __device__ __forceinline__ MatrixRow opaque(MatrixRow row);
    __device__ __forceinline__ explicit MatrixRow(std::uint32_t address) : address_(address) {}
    std::uint32_t address_;
};

/// Loads 8 x 8 matrices: lane 8 i + r gives the address of row r of matrix i, 16 aligned bytes; to[i] of lane 4 r + t
/// becomes the elements 2t and 2t + 1 of row r of matrix i (transposed: of column r).
__device__ __forceinline__ void ldmatrix_x2(std::uint32_t (&to)[2], MatrixRow row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(row.address())
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&to)[4], MatrixRow row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row.address())
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_transposed(std::uint32_t (&to)[4], MatrixRow row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row.address())
                 : "memory");
}

// Arithmetic

/// 2^x to 2^-22 of itself, denormal results as zero: one instruction, where exp2f wraps it for denormal results.
__device__ __forceinline__ float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// 1 / x to 2^-23 of itself, denormal results as zero: one instruction, where a division rounded right takes ten.
__device__ __forceinline__ float reciprocal_approximate(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// Two floats, each rounded to nearest, in one register; `low` is the first in memory.
__device__ __forceinline__ std::uint32_t pack_bfloat16(float low, float high) {
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/// x, of which the compiler knows nothing: what is computed from it inside a loop is not computed ahead of the loop and
/// kept in registers that the loop has better uses for.
__device__ __forceinline__ unsigned opaque(unsigned x) {
    asm volatile("" : "+r"(x));
    return x;
}
__device__ __forceinline__ MatrixRow opaque(MatrixRow row) { return MatrixRow(opaque(row.address_)); }

// Starting kernels

/// cudaLaunchKernelEx; `name` is for the emulation.
template <class... Parameters, class... Arguments>
cudaError_t launch_kernel(const char* /*name*/, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          std::size_t dynamic_shared_bytes, cudaStream_t stream, Arguments... arguments) {
    cudaLaunchConfig_t configuration{};
    configuration.gridDim = grid;
    configuration.blockDim = block;
    configuration.dynamicSmemBytes = dynamic_shared_bytes;
    configuration.stream = stream;
    return cudaLaunchKernelEx(&configuration, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace protalbert::cuda

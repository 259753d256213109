#pragma once
// Matrix products, by cuBLASLt; by a kernel of our own where that has no algorithm.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/backend.hpp"

namespace protalbert::cuda {

/// What a product does with its result while that is in registers.
enum class Epilogue {
    none,
    bias,     ///< + bias [columns], in the precision of a and b
    gelu,     ///< gelu_tanh(. + bias)
    gelu_pre  ///< as gelu, and what the GELU is applied to goes to `pre` [rows, columns]
};

/// d [rows, columns] = op(a) op(b) + c. Row-major and contiguous; op transposes where told. a and b have the precision
/// of the products, d and c that or float32; sums are float32.
struct Product {
    void* d = nullptr;
    bool d_is_float32 = false;  ///< whatever the precision of a and b
    const void* a = nullptr;    ///< [rows, depth], transposed [depth, rows]
    const void* b = nullptr;    ///< [depth, columns], transposed [columns, depth]
    bool transpose_a = false, transpose_b = false;
    const void* c = nullptr;  ///< [rows, columns] like d, may be d; null for none
    std::int64_t rows = 0, columns = 0, depth = 0;
    std::int64_t d_stride = 0;  ///< elements between two rows of d; 0: columns
    Epilogue epilogue = Epilogue::none;
    /// Aligned to 16 bytes, and with `pre` the columns a multiple of 8: cuBLASLt's epilogues may rely on it.
    const void* bias = nullptr;
    void* pre = nullptr;
};

class Products {
  public:
    explicit Products(Precision precision);
    ~Products();
    Products(const Products&) = delete;
    Products& operator=(const Products&) = delete;

    /// Enqueues a product. Returns false, having done nothing, where the library has no way to fuse the epilogue for
    /// this shape; never for none and bias.
    bool multiply(const Product& product, cudaStream_t stream);

    /// Products so far that cuBLASLt had no algorithm for.
    std::int64_t simple_products() const;

    /// For people: the library and its version.
    static const char* description();
    /// Device memory that it takes.
    static std::size_t workspace_bytes();

  private:
    struct Library;
    std::unique_ptr<Library> library_;
};

}  // namespace protalbert::cuda

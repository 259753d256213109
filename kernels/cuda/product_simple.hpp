#pragma once
// Matrix products without tensor cores, of any shape and alignment: for what cuBLASLt has no algorithm for.

#include "kernels/cuda/products.hpp"

namespace protalbert::cuda {

/// The product, its epilogue none or bias. `precision`: of a and b.
void simple_product(const Product& product, Precision precision, cudaStream_t stream);

}  // namespace protalbert::cuda

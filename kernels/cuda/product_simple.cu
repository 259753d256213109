#include <algorithm>

#include "base/error.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/product_simple.hpp"

namespace protalbert::cuda {

namespace {

constexpr int block_columns = 32, block_rows = 8;

/// A matrix in either order: elements between two rows and between two columns.
template <class Element>
struct Matrix {
    const Element* values;
    std::int64_t row, column;
    __device__ float operator()(std::int64_t r, std::int64_t c) const { return to_float(values[r * row + c * column]); }
};

/// Grid (columns / 32, rows / 8 or fewer), block (32, 8), a thread an element: d [rows, columns] = a [rows, depth]
/// b [depth, columns] + c + bias [columns]; c, with d's stride, and bias may be null.
template <class Element, class Result>
__global__ void simple_product_kernel(Result* d, std::int64_t d_stride, Matrix<Element> a, Matrix<Element> b,
                                      const Result* c, const Element* bias, std::int64_t rows, std::int64_t columns,
                                      std::int64_t depth) {
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * block_columns + threadIdx.x;
    if (column >= columns) return;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * block_rows;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * block_rows + threadIdx.y; row < rows; row += step) {
        float sum = 0;
        // Sums of sums: one long sum would lose what it has grown beyond.
        constexpr std::int64_t part = 256;
        for (std::int64_t begin = 0; begin < depth; begin += part) {
            const std::int64_t end = begin + part < depth ? begin + part : depth;
            float partial = 0;
            for (std::int64_t k = begin; k < end; ++k) partial += a(row, k) * b(k, column);
            sum += partial;
        }
        const std::int64_t place = row * d_stride + column;
        if (c != nullptr) sum += to_float(c[place]);
        if (bias != nullptr) sum += to_float(bias[column]);
        d[place] = from_float<Result>(sum);
    }
}

template <class Element, class Result>
void start(const Product& p, cudaStream_t stream) {
    constexpr std::int64_t most_blocks = 65535;  // of a grid's second dimension
    const dim3 grid(static_cast<unsigned>(divide_up(p.columns, block_columns)),
                    static_cast<unsigned>(std::min(divide_up(p.rows, block_rows), most_blocks)));
    const Matrix<Element> a{static_cast<const Element*>(p.a), p.transpose_a ? 1 : p.depth, p.transpose_a ? p.rows : 1};
    const Matrix<Element> b{static_cast<const Element*>(p.b), p.transpose_b ? 1 : p.columns,
                            p.transpose_b ? p.depth : 1};
    launch("simple_product", simple_product_kernel<Element, Result>, grid, dim3(block_columns, block_rows), 0, stream,
           static_cast<Result*>(p.d), p.d_stride > 0 ? p.d_stride : p.columns, a, b, static_cast<const Result*>(p.c),
           p.epilogue == Epilogue::bias ? static_cast<const Element*>(p.bias) : nullptr, p.rows, p.columns, p.depth);
}

}  // namespace

void simple_product(const Product& product, Precision precision, cudaStream_t stream) {
    PROTALBERT_CHECK(product.epilogue == Epilogue::none || product.epilogue == Epilogue::bias,
                     "other epilogues have fallbacks of their own");
    if (precision == Precision::float32) {
        start<float, float>(product, stream);
    } else if (product.d_is_float32) {
        start<bfloat16, float>(product, stream);
    } else {
        start<bfloat16, bfloat16>(product, stream);
    }
}

}  // namespace protalbert::cuda

// The matrix products of the CUDA backend as loops of the host: cuBLASLt has no emulation. Inputs in the precision of
// the backend, sums in float32, every epilogue.

#include "kernels/cuda/products.hpp"

#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "tests/emulation/device_memory.hpp"

namespace protalbert::cuda {

struct Products::Library {
    Precision precision;
};

Products::Products(Precision precision) : library_(new Library{precision}) {}

Products::~Products() = default;

namespace {

std::vector<float> read(const void* from, std::int64_t n, Precision precision) {
    std::vector<float> values(static_cast<std::size_t>(n));
    if (precision == Precision::float32) {
        std::memcpy(values.data(), from, values.size() * sizeof(float));
    } else {
        const auto* const halves = static_cast<const __nv_bfloat16*>(from);
        for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = __bfloat162float(halves[i]);
    }
    return values;
}

void write(void* to, std::int64_t place, float value, Precision precision) {
    if (precision == Precision::float32) {
        static_cast<float*>(to)[place] = value;
    } else {
        static_cast<__nv_bfloat16*>(to)[place] = __float2bfloat16_rn(value);
    }
}

float gelu_tanh(float x) { return x / (1 + std::exp(-2 * 0.797884560802865F * (x + 0.044715F * x * x * x))); }

/// [n, m] of [m, n].
std::vector<float> transposed(const std::vector<float>& matrix, std::int64_t m, std::int64_t n) {
    std::vector<float> result(matrix.size());
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t k = 0; k < n; ++k)
            result[static_cast<std::size_t>(k * m + i)] = matrix[static_cast<std::size_t>(i * n + k)];
    return result;
}

}  // namespace

bool Products::multiply(const Product& p, cudaStream_t) {
    PROTALBERT_CHECK(p.rows > 0 && p.columns > 0 && p.depth > 0, "products have no empty side");
    const emulation::DeviceAccess access;
    const Precision precision = library_->precision;
    const Precision d_precision = p.d_is_float32 ? Precision::float32 : precision;
    const std::int64_t stride = p.d_stride > 0 ? p.d_stride : p.columns;
    std::vector<float> a = read(p.a, p.rows * p.depth, precision);     // [rows, depth]
    std::vector<float> b = read(p.b, p.columns * p.depth, precision);  // [depth, columns]
    if (p.transpose_a) a = transposed(a, p.depth, p.rows);
    if (p.transpose_b) b = transposed(b, p.columns, p.depth);
    const bool has_bias =
        p.epilogue == Epilogue::bias || p.epilogue == Epilogue::gelu || p.epilogue == Epilogue::gelu_pre;
    const std::vector<float> bias = has_bias ? read(p.bias, p.columns, precision) : std::vector<float>();
    std::vector<float> row(static_cast<std::size_t>(p.columns));
    std::vector<float> c;
    for (std::int64_t r = 0; r < p.rows; ++r) {
        std::fill(row.begin(), row.end(), 0.0F);
        for (std::int64_t k = 0; k < p.depth; ++k) {
            const float factor = a[static_cast<std::size_t>(r * p.depth + k)];
            const float* const from = b.data() + k * p.columns;
            for (std::int64_t n = 0; n < p.columns; ++n) row[static_cast<std::size_t>(n)] += factor * from[n];
        }
        if (p.epilogue == Epilogue::bias_gradient) {
            float sum = 0;
            for (std::int64_t k = 0; k < p.depth; ++k) sum += a[static_cast<std::size_t>(r * p.depth + k)];
            p.bias_gradient[r] = sum;
        }
        if (p.c != nullptr) {
            const std::size_t bytes = d_precision == Precision::float32 ? sizeof(float) : sizeof(__nv_bfloat16);
            c = read(static_cast<const std::byte*>(p.c) + static_cast<std::size_t>(r * stride) * bytes, p.columns,
                     d_precision);
        }
        for (std::int64_t n = 0; n < p.columns; ++n) {
            float value = row[static_cast<std::size_t>(n)];
            if (p.c != nullptr) value += c[static_cast<std::size_t>(n)];
            if (has_bias) value += bias[static_cast<std::size_t>(n)];
            if (p.epilogue == Epilogue::gelu_pre) write(p.pre, r * p.columns + n, value, precision);
            if (p.epilogue == Epilogue::gelu || p.epilogue == Epilogue::gelu_pre) value = gelu_tanh(value);
            write(p.d, r * stride + n, value, d_precision);
        }
    }
    return true;
}

const char* Products::description() { return "loops of the host for cuBLASLt"; }

std::size_t Products::workspace_bytes() { return 0; }

}  // namespace protalbert::cuda

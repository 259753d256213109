// Dense layers: products with their biases, activations and gradients.

#include <algorithm>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

/// Grid (packs of columns / 32, parts), block (32, 8): part p adds up its rows of x [T, N] to partials [p, N].
template <class Element, int Width>
__global__ void column_sums_kernel(float* partials, const Element* x, std::int64_t rows_of_part, std::int64_t T,
                                   std::int64_t N) {
    SHARED_ARRAY(float, sums, row_groups* column_lanes* Width);
    const std::int64_t n = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width;
    const std::int64_t begin = blockIdx.y * rows_of_part;
    const std::int64_t end = begin + rows_of_part < T ? begin + rows_of_part : T;
    float sum[Width] = {};
    if (n < N) {
        for (std::int64_t t = begin + threadIdx.y; t < end; t += row_groups) {
            float values[Width];
            load_pack<Width>(values, x + t * N + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) sum[i] += values[i];
        }
    }
    add_row_groups<Width>(sum, sums);
    if (threadIdx.y > 0 || n >= N) return;
    store_floats<Width>(partials + blockIdx.y * N + n, sum);
}

/// Grid (N / 256, T or fewer), block (256): y [T, N] += bias [N].
constexpr int bias_columns = 256;
template <class Element>
__global__ void add_bias_kernel(Element* y, const Element* bias, std::int64_t T, std::int64_t N) {
    const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * bias_columns + threadIdx.x;
    if (n >= N) return;
    for (std::int64_t t = blockIdx.y; t < T; t += gridDim.y)
        y[t * N + n] = from_float<Element>(to_float(y[t * N + n]) + to_float(bias[n]));
}

}  // namespace

void CudaBackend::linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                         std::int64_t K, Stream stream) {
    if (T == 0 || N == 0) return;
    Product product;
    product.d = out.data;
    product.a = x.data;
    product.b = weight.data;
    product.transpose_b = true;
    product.rows = T;
    product.columns = N;
    product.depth = K;
    if (bias && aligned(bias.data)) {
        product.bias = bias.data;
        product.epilogue = Epilogue::bias;
    }
    products_->multiply(product, handle(stream));
    if (!bias || product.epilogue == Epilogue::bias) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        constexpr std::int64_t most_rows = 65535;  // of a grid's second dimension
        const dim3 grid(static_cast<unsigned>(divide_up(N, bias_columns)),
                        static_cast<unsigned>(std::min(T, most_rows)));
        launch("add_bias", add_bias_kernel<Element>, grid, dim3(bias_columns), 0, handle(stream),
               elements<Element>(out), reinterpret_cast<const Element*>(bias.data), T, N);
    });
}

void CudaBackend::linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                              std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    if (T == 0 || N == 0) return;
    // cuBLASLt knows the tanh form alone, and promises of its tanh no more than bfloat16 can hold. Rows of `pre` must
    // be multiples of 8 elements for it.
    if (form == Gelu::tanh && bias && precision_ == Precision::bfloat16 && N % 8 == 0 && aligned(bias.data, pre.data)) {
        Product product;
        product.d = out.data;
        product.a = x.data;
        product.b = weight.data;
        product.transpose_b = true;
        product.rows = T;
        product.columns = N;
        product.depth = K;
        product.bias = bias.data;
        product.pre = pre.data;
        product.epilogue = pre ? Epilogue::gelu_pre : Epilogue::gelu;
        if (products_->multiply(product, handle(stream))) return;
    }
    const Activations before = pre ? pre : out;
    linear(before, x, weight, bias, T, N, K, stream);
    gelu(out, before, form, T * N, stream);
}

void CudaBackend::linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual,
                                       std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    if (T == 0 || K == 0) return;
    Product product;
    product.d = dx.data;
    product.a = dy.data;
    product.b = weight.data;
    product.c = residual.data;
    product.rows = T;
    product.columns = K;
    product.depth = N;
    products_->multiply(product, handle(stream));
}

void CudaBackend::linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight,
                                            Activations pre, Gelu form, std::int64_t T, std::int64_t N, std::int64_t K,
                                            Stream stream) {
    if (T == 0 || K == 0) return;
    // A slice of rows at a time: scratch memory holds no more, and dpre may be pre, for which cuBLASLt's own epilogue
    // promises nothing. The slice's size hardly changes the speed (tests/gpu/measured.md).
    const std::int64_t slice = static_cast<std::int64_t>(gelu_slice_bytes) / (K * element_bytes());
    PROTALBERT_CHECK(slice > 0, "a row fits the scratch memory");
    const Activations product = {scratch<std::byte>(), element_bytes()};
    const std::int64_t slices = divide_up(T, slice);
    // Behind it, partial sums of dbias, to which a slice adds what it has. 2048 rows of ProtAlbert's are cut into 30
    // parts, for a little less than three times the 660 blocks that an H200 runs at a time.
    float* const partials = scratch<float>() + gelu_slice_bytes / sizeof(float);  // [parts, K]
    constexpr std::int64_t least_rows = 68, room = (scratch_bytes - gelu_slice_bytes) / sizeof(float);
    PROTALBERT_CHECK(dbias == nullptr || K <= room, "a row of sums fits the scratch memory");
    const std::int64_t parts = std::max<std::int64_t>(std::min(T / slices / least_rows, room / K), 1);
    for (std::int64_t s = 0; s < slices; ++s) {
        // Equal slices: a short last one would run slowly.
        const std::int64_t begin = T * s / slices, rows = T * (s + 1) / slices - begin;
        linear_backward_data(product, dy + begin * N, weight, {}, rows, N, K, stream);
        if (dbias == nullptr) {
            gelu_backward(dpre + begin * K, product, pre + begin * K, form, rows * K, stream);
        } else {
            gelu_backward_sums(dpre + begin * K, partials, product, pre + begin * K, form, s > 0, parts, rows, K,
                               stream);
        }
    }
    if (dbias != nullptr) add_partials({dbias}, K, partials, parts, true, handle(stream));
}

void CudaBackend::linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                         std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    if (T == 0) {
        if (accumulate) return;
        set_zero(dweight, static_cast<std::size_t>(N * K) * sizeof(float), stream);
        if (dbias != nullptr) set_zero(dbias, static_cast<std::size_t>(N) * sizeof(float), stream);
        return;
    }
    Product product;
    product.d = dweight;
    product.d_is_float32 = true;
    product.a = dy.data;
    product.transpose_a = true;
    product.b = x.data;
    product.c = accumulate ? dweight : nullptr;
    product.rows = N;
    product.columns = K;
    product.depth = T;
    products_->multiply(product, handle(stream));
    // Not by cuBLASLt's epilogue BGRADB: on an H200 it makes ProtAlbert's products, over 12 x 8192 rows, 0 to 1.3 ms
    // longer, where this takes 0.2 to 0.7 ms.
    if (dbias != nullptr) column_sums(dbias, dy, accumulate, T, N, stream);
}

void CudaBackend::column_sums(float* out, Activations x, bool accumulate, std::int64_t T, std::int64_t N,
                              Stream stream) {
    with_element([&](auto element) {
        using Element = decltype(element);
        with_width<Element>(N % full_width<Element> == 0 && aligned(x.data), [&](auto width) {
            // Rows of a part enough for its eight groups, and no more parts than keep the partial sums small.
            constexpr std::int64_t least_rows = 64, most_parts = 128;
            const std::int64_t parts =
                std::clamp<std::int64_t>(std::min(T / least_rows, scratch_elements<float>() / N), 1, most_parts);
            const std::int64_t rows = divide_up(T, parts);
            launch("column_sums", column_sums_kernel<Element, decltype(width)::value>, column_grid(N, width, parts),
                   dim3(column_lanes, row_groups), 0, handle(stream), scratch<float>(),
                   static_cast<const Element*>(elements<Element>(x)), rows, T, N);
            add_partials({out}, N, scratch<float>(), parts, accumulate, handle(stream));
        });
    });
}

}  // namespace protalbert::cuda

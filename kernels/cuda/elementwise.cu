// Operations on rows and elements.

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

constexpr int threads = 256;
/// Blocks of a loop over elements: 16 on each multiprocessor of an H200, which is more than it runs at a time.
constexpr std::int64_t most_blocks = 2112;

unsigned element_blocks(std::int64_t packs) {
    return static_cast<unsigned>(std::min(divide_up(packs, threads), most_blocks));
}

template <Gelu form>
struct GeluOf {
    __device__ float operator()(float x) const { return form == Gelu::erf ? gelu_erf(x) : gelu_tanh(x); }
};
template <class Element, Gelu form>
struct TimesGeluDerivative {
    __device__ float operator()(float dout, float x) const {
        if constexpr (form == Gelu::erf) return dout * gelu_erf_derivative(x);
        if constexpr (std::is_same_v<Element, bfloat16>) return dout * gelu_tanh_derivative_approximate(x);
        return dout * gelu_tanh_derivative(x);
    }
};
struct TanhOf {
    __device__ float operator()(float x) const { return tanhf(x); }
};
struct TimesTanhDerivative {
    __device__ float operator()(float dout, float out) const { return dout * (1 - out * out); }
};

/// out = operation(in), n elements in packs; each thread has read what it overwrites.
template <class Element, int Width, class Operation>
__global__ void map_kernel(Element* out, const Element* in, Operation operation, std::int64_t n) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x * Width;
    for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width; i < n;
         i += step) {
        float x[Width];
        load_pack<Width>(x, in + i);
#pragma unroll
        for (int k = 0; k < Width; ++k) x[k] = operation(x[k]);
        store_pack<Width>(out + i, x);
    }
}

/// out = operation(first, second).
template <class Element, int Width, class Operation>
__global__ void map_two_kernel(Element* out, const Element* first, const Element* second, Operation operation,
                               std::int64_t n) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x * Width;
    for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width; i < n;
         i += step) {
        float x[Width], y[Width];
        load_pack<Width>(x, first + i);
        load_pack<Width>(y, second + i);
#pragma unroll
        for (int k = 0; k < Width; ++k) x[k] = operation(x[k], y[k]);
        store_pack<Width>(out + i, x);
    }
}

/// Grid (packs of columns / 32, parts), block (32, 8): dpre [T, N] = dout times the derivative at pre. Part p adds up
/// its rows, as they are before they are rounded, to partials [p, N], or adds them when `accumulate`.
template <class Element, int Width, Gelu form>
__global__ void gelu_backward_kernel(Element* dpre, float* partials, const Element* dout, const Element* pre,
                                     bool accumulate, std::int64_t rows_of_part, std::int64_t T, std::int64_t N) {
    SHARED_ARRAY(float, sums, row_groups* column_lanes* Width);
    const std::int64_t n = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width;
    const std::int64_t begin = blockIdx.y * rows_of_part;
    const std::int64_t end = begin + rows_of_part < T ? begin + rows_of_part : T;
    float sum[Width] = {};
    if (n < N) {
        for (std::int64_t t = begin + threadIdx.y; t < end; t += row_groups) {
            float x[Width], y[Width];
            load_pack<Width>(x, dout + t * N + n);
            load_pack<Width>(y, pre + t * N + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) {
                x[i] = TimesGeluDerivative<Element, form>{}(x[i], y[i]);
                sum[i] += x[i];
            }
            store_pack<Width>(dpre + t * N + n, x);
        }
    }
    add_row_groups<Width>(sum, sums);
    if (threadIdx.y > 0 || n >= N) return;
    float* const own = partials + blockIdx.y * N + n;
    if (accumulate) {
        float before[Width];
        load_floats<Width>(before, own);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum[i] += before[i];
    }
    store_floats<Width>(own, sum);
}

/// copies [n] = masters.
template <int Width>
__global__ void to_bfloat16_kernel(bfloat16* copies, const float* masters, std::int64_t n) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x * Width;
    for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width; i < n;
         i += step) {
        float x[Width];
        load_floats<Width>(x, masters + i);
        store_pack<Width>(copies + i, x);
    }
}

/// Grid (packs of a row / threads, M): to [m] = from [rows[m]], or to [rows[m]] += from [m].
template <class Element, int Width, bool Scatter>
__global__ void rows_kernel(Element* to, const Element* from, const std::int64_t* rows, std::int64_t M,
                            std::int64_t N) {
    const std::int64_t n = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * Width;
    if (n >= N) return;
    for (std::int64_t m = blockIdx.y; m < M; m += gridDim.y) {
        float values[Width];
        if constexpr (Scatter) {
            Element* const place = to + rows[m] * N + n;
            float more[Width];
            load_pack<Width>(values, static_cast<const Element*>(place));
            load_pack<Width>(more, from + m * N + n);
#pragma unroll
            for (int k = 0; k < Width; ++k) values[k] += more[k];
            store_pack<Width>(place, values);
        } else {
            load_pack<Width>(values, from + rows[m] * N + n);
            store_pack<Width>(to + m * N + n, values);
        }
    }
}

template <bool Scatter, class Element>
void move_rows(const char* name, Element* to, const Element* from, const std::int64_t* rows, std::int64_t M,
               std::int64_t N, cudaStream_t stream) {
    constexpr std::int64_t most_rows = 65535;  // of a grid's second dimension
    with_width<Element>(N % full_width<Element> == 0 && aligned(to, from), [&](auto width) {
        const dim3 grid(static_cast<unsigned>(divide_up(N, threads * decltype(width)::value)),
                        static_cast<unsigned>(std::min(M, most_rows)));
        launch(name, rows_kernel<Element, decltype(width)::value, Scatter>, grid, dim3(threads), 0, stream, to, from,
               rows, M, N);
    });
}

template <class Element, class Operation>
void map(const char* name, Element* out, const Element* in, const Operation& operation, std::int64_t n,
         cudaStream_t stream) {
    with_width<Element>(n % full_width<Element> == 0 && aligned(out, in), [&](auto width) {
        launch(name, map_kernel<Element, decltype(width)::value, Operation>, dim3(element_blocks(divide_up(n, width))),
               dim3(threads), 0, stream, out, in, operation, n);
    });
}

template <class Element, class Operation>
void map_two(const char* name, Element* out, const Element* first, const Element* second, const Operation& operation,
             std::int64_t n, cudaStream_t stream) {
    with_width<Element>(n % full_width<Element> == 0 && aligned(out, first, second), [&](auto width) {
        launch(name, map_two_kernel<Element, decltype(width)::value, Operation>,
               dim3(element_blocks(divide_up(n, width))), dim3(threads), 0, stream, out, first, second, operation, n);
    });
}

/// body(integral_constant<Gelu, form>{}).
template <class Body>
void with_form(Gelu form, const Body& body) {
    if (form == Gelu::erf) {
        body(std::integral_constant<Gelu, Gelu::erf>{});
    } else {
        body(std::integral_constant<Gelu, Gelu::tanh>{});
    }
}

}  // namespace

Weight CudaBackend::compute_copy(const float* masters, void* copies, std::int64_t n, Stream stream) {
    if (precision_ == Precision::float32)
        return {reinterpret_cast<std::byte*>(const_cast<float*>(masters)), sizeof(float)};
    auto* const to = static_cast<bfloat16*>(copies);
    with_width<bfloat16>(n % full_width<bfloat16> == 0 && aligned(masters, to), [&](auto width) {
        launch("to_bfloat16", to_bfloat16_kernel<decltype(width)::value>, dim3(element_blocks(divide_up(n, width))),
               dim3(threads), 0, handle(stream), to, masters, n);
    });
    return {static_cast<std::byte*>(copies), sizeof(bfloat16)};
}

void CudaBackend::gather_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M, std::int64_t N,
                              Stream stream) {
    if (M == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        move_rows<false, Element>("gather_rows", elements<Element>(out), elements<Element>(in), rows, M, N,
                                  handle(stream));
    });
}

void CudaBackend::scatter_add_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                                   std::int64_t N, Stream stream) {
    if (M == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        move_rows<true, Element>("scatter_add_rows", elements<Element>(out), elements<Element>(in), rows, M, N,
                                 handle(stream));
    });
}

void CudaBackend::gelu(Activations out, Activations pre, Gelu form, std::int64_t n, Stream stream) {
    if (n == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        with_form(form, [&](auto constant) {
            map<Element>("gelu", elements<Element>(out), elements<Element>(pre), GeluOf<decltype(constant)::value>{}, n,
                         handle(stream));
        });
    });
}

void CudaBackend::gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                                Stream stream) {
    if (n == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        with_form(form, [&](auto constant) {
            map_two<Element>("gelu_backward", elements<Element>(dpre), elements<Element>(dout), elements<Element>(pre),
                             TimesGeluDerivative<Element, decltype(constant)::value>{}, n, handle(stream));
        });
    });
}

void CudaBackend::gelu_backward_sums(Activations dpre, float* partials, Activations dout, Activations pre, Gelu form,
                                     bool accumulate, std::int64_t parts, std::int64_t T, std::int64_t N,
                                     Stream stream) {
    with_element([&](auto element) {
        using Element = decltype(element);
        const bool wide = N % full_width<Element> == 0 && aligned(dpre.data, partials, dout.data, pre.data);
        with_width<Element>(wide, [&](auto width) {
            with_form(form, [&](auto constant) {
                launch("gelu_backward",
                       gelu_backward_kernel<Element, decltype(width)::value, decltype(constant)::value>,
                       column_grid(N, width, parts), dim3(column_lanes, row_groups), 0, handle(stream),
                       elements<Element>(dpre), partials, static_cast<const Element*>(elements<Element>(dout)),
                       static_cast<const Element*>(elements<Element>(pre)), accumulate, divide_up(T, parts), T, N);
            });
        });
    });
}

void CudaBackend::tanh_forward(Activations out, Activations in, std::int64_t n, Stream stream) {
    if (n == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        map<Element>("tanh_forward", elements<Element>(out), elements<Element>(in), TanhOf{}, n, handle(stream));
    });
}

void CudaBackend::tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream stream) {
    if (n == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        map_two<Element>("tanh_backward", elements<Element>(din), elements<Element>(dout), elements<Element>(out),
                         TimesTanhDerivative{}, n, handle(stream));
    });
}

}  // namespace protalbert::cuda

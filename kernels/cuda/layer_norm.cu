// Layer norm, with the residual branch added on the way.

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

/// Grid (T / rows), block of row_threads. A thread keeps Kept packs of its row in registers and reads the others, of
/// very wide rows, again. Sums run over s as it is stored: the backward pass sees the same numbers.
template <class Element, int Width, int Kept, bool Warp>
__global__ void residual_layer_norm_kernel(Element* out, float* mean, float* rstd, Element* branch,
                                           const Element* residual, const float* gamma, const float* beta,
                                           float epsilon, std::int64_t T, std::int64_t N) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= T) return;  // a whole warp, which no one waits for
    Element* const branch_row = branch + row * N;
    const Element* const residual_row = residual == nullptr ? nullptr : residual + row * N;
    const auto place = [&](int k) { return (static_cast<std::int64_t>(k) * blockDim.x + threadIdx.x) * Width; };
    const auto load_sum = [&](float(&s)[Width], std::int64_t n) {
        load_pack<Width>(s, branch_row + n);
        if (residual_row == nullptr) return;
        float other[Width];
        load_pack<Width>(other, residual_row + n);
#pragma unroll
        for (int i = 0; i < Width; ++i) s[i] = rounded<Element>(s[i] + other[i]);
    };

    // 1. The sum of the branches and its mean.
    float kept[Kept][Width] = {};
    float extra[Width];
    float sum = 0;
    const auto add = [&](const float(&s)[Width], std::int64_t n) {
        if (mean != nullptr && residual_row != nullptr) store_pack<Width>(branch_row + n, s);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum += s[i];
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) {
            load_sum(kept[k], place(k));
            add(kept[k], place(k));
        }
    }
    for (int k = Kept; place(k) < N; ++k) {
        load_sum(extra, place(k));
        add(extra, place(k));
    }
    const float average = row_sums<Warp>(sum, 0, sums).x / static_cast<float>(N);

    // 2. The variance about the mean: E[s^2] - E[s]^2 would cancel.
    const auto load_again = [&](std::int64_t n) {
        if (mean != nullptr) {
            load_pack<Width>(extra, branch_row + n);
        } else {
            load_sum(extra, n);
        }
    };
    float squares = 0;
    const auto add_squares = [&](const float(&s)[Width]) {
#pragma unroll
        for (int i = 0; i < Width; ++i) squares += (s[i] - average) * (s[i] - average);
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) add_squares(kept[k]);
    }
    for (int k = Kept; place(k) < N; ++k) {
        load_again(place(k));
        add_squares(extra);
    }
    const float variance = row_sums<Warp>(squares, 0, sums).x / static_cast<float>(N);
    const float inverse = 1.0F / sqrtf(variance + epsilon);

    // 3. The result, perhaps over the residual: each thread has read what it overwrites.
    const auto write = [&](const float(&s)[Width], std::int64_t n) {
        float scale[Width], shift[Width], y[Width];
        load_floats<Width>(scale, gamma + n);
        load_floats<Width>(shift, beta + n);
#pragma unroll
        for (int i = 0; i < Width; ++i) y[i] = (s[i] - average) * inverse * scale[i] + shift[i];
        store_pack<Width>(out + row * N + n, y);
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) write(kept[k], place(k));
    }
    for (int k = Kept; place(k) < N; ++k) {
        load_again(place(k));
        write(extra, place(k));
    }
    if (mean != nullptr && threadIdx.x == 0) {
        mean[row] = average;
        rstd[row] = inverse;
    }
}

/// The block number of a backward pass: two on each of the 132 multiprocessors of an H100 or H200. A constant, so that
/// any GPU adds in the same order.
constexpr std::int64_t backward_blocks = 264;

/// Grid backward_blocks or fewer: each block (each warp of it) takes rows in turn and adds up its share of dgamma and
/// dbeta in `partials` [blocks x rows, 2 N]; Kept packs of both in registers, those of very wide rows in memory. Rather
/// one block at a time than registers that are spilled.
template <class Element, int Width, int Kept, bool Warp>
__global__ void __launch_bounds__(most_row_threads, 1)
    layer_norm_backward_kernel(Element* ds, float* partials, const Element* dout, const Element* s, const float* mean,
                               const float* rstd, const float* gamma, std::int64_t T, std::int64_t N) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t worker = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const std::int64_t workers = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
    float* const own_gamma = partials + worker * 2 * N;
    float* const own_beta = own_gamma + N;
    const auto place = [&](int k) { return (static_cast<std::int64_t>(k) * blockDim.x + threadIdx.x) * Width; };
    float dgamma[Kept][Width] = {};
    float dbeta[Kept][Width] = {};
    for (std::int64_t row = worker; row < T; row += workers) {
        const Element* const dout_row = dout + row * N;
        const Element* const s_row = s + row * N;
        const float centre = mean[row], inverse = rstd[row];
        float dy[Kept][Width] = {}, x[Kept][Width] = {};
        float extra_dy[Width], extra_x[Width];
        float sum = 0, product = 0;
        const auto load = [&](float(&dy_pack)[Width], float(&x_pack)[Width], std::int64_t n) {
            load_pack<Width>(dy_pack, dout_row + n);
            load_pack<Width>(x_pack, s_row + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) x_pack[i] = (x_pack[i] - centre) * inverse;
        };
        const auto add = [&](const float(&dy_pack)[Width], const float(&x_pack)[Width], std::int64_t n) {
            float scale[Width];
            load_floats<Width>(scale, gamma + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) {
                const float g = dy_pack[i] * scale[i];
                sum += g;
                product += g * x_pack[i];
            }
        };
#pragma unroll
        for (int k = 0; k < Kept; ++k) {
            if (place(k) < N) {
                load(dy[k], x[k], place(k));
                add(dy[k], x[k], place(k));
            }
        }
        for (int k = Kept; place(k) < N; ++k) {
            load(extra_dy, extra_x, place(k));
            add(extra_dy, extra_x, place(k));
        }
        const float2 both = row_sums<Warp>(sum, product, sums);
        const float average = both.x / static_cast<float>(N), slope = both.y / static_cast<float>(N);
        const auto write = [&](const float(&dy_pack)[Width], const float(&x_pack)[Width], std::int64_t n) {
            float scale[Width], result[Width];
            load_floats<Width>(scale, gamma + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) result[i] = inverse * (dy_pack[i] * scale[i] - average - x_pack[i] * slope);
            store_pack<Width>(ds + row * N + n, result);
        };
#pragma unroll
        for (int k = 0; k < Kept; ++k) {
            if (place(k) < N) {
                write(dy[k], x[k], place(k));
#pragma unroll
                for (int i = 0; i < Width; ++i) {
                    dgamma[k][i] += dy[k][i] * x[k][i];
                    dbeta[k][i] += dy[k][i];
                }
            }
        }
        for (int k = Kept; place(k) < N; ++k) {
            const std::int64_t n = place(k);
            load(extra_dy, extra_x, n);
            write(extra_dy, extra_x, n);
            const bool first = row == worker;
#pragma unroll
            for (int i = 0; i < Width; ++i) {
                own_gamma[n + i] = (first ? 0 : own_gamma[n + i]) + extra_dy[i] * extra_x[i];
                own_beta[n + i] = (first ? 0 : own_beta[n + i]) + extra_dy[i];
            }
        }
    }
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) {
            store_floats<Width>(own_gamma + place(k), dgamma[k]);
            store_floats<Width>(own_beta + place(k), dbeta[k]);
        }
    }
    if (worker < T) return;
    for (int k = Kept; place(k) < N; ++k) {  // a worker without a row
        for (int i = 0; i < Width; ++i) own_gamma[place(k) + i] = own_beta[place(k) + i] = 0;
    }
}

/// body(Number<Kept>, bool_constant<Warp>): one pack a thread where a row has no more, else two.
template <class Body>
void with_row_shape(const RowThreads& shape, std::int64_t packs, const Body& body) {
    if (shape.warp()) {
        body(Number<1>{}, std::true_type{});
    } else if (packs <= shape.threads) {
        body(Number<1>{}, std::false_type{});
    } else {
        body(Number<2>{}, std::false_type{});
    }
}

}  // namespace

void CudaBackend::residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch,
                                      Activations residual, const float* gamma, const float* beta, double epsilon,
                                      std::int64_t T, std::int64_t N, Stream stream) {
    if (T == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        const bool wide = N % full_width<Element> == 0 && aligned(out.data, branch.data, residual.data, gamma, beta);
        with_width<Element>(wide, [&](auto width) {
            const RowThreads shape = row_threads(N, width);
            with_row_shape(shape, divide_up(N, width), [&](auto kept, auto warp) {
                launch("residual_layer_norm",
                       residual_layer_norm_kernel<Element, decltype(width)::value, decltype(kept)::value,
                                                  decltype(warp)::value>,
                       dim3(static_cast<unsigned>(divide_up(T, shape.rows))), shape.block(), 0, handle(stream),
                       elements<Element>(out), mean, rstd, elements<Element>(branch),
                       static_cast<const Element*>(elements<Element>(residual)), gamma, beta,
                       static_cast<float>(epsilon), T, N);
            });
        });
    });
}

void CudaBackend::layer_norm_backward(Activations ds, float* dgamma, float* dbeta, Activations dout, Activations s,
                                      const float* mean, const float* rstd, const float* gamma, std::int64_t T,
                                      std::int64_t N, Stream stream) {
    if (T == 0) return;
    float* const partials = scratch<float>();
    with_element([&](auto element) {
        using Element = decltype(element);
        const bool wide = N % full_width<Element> == 0 && aligned(ds.data, dout.data, s.data, gamma);
        with_width<Element>(wide, [&](auto width) {
            const RowThreads shape = row_threads(N, width);
            const std::int64_t blocks = std::clamp<std::int64_t>(
                std::min(divide_up(T, shape.rows), scratch_elements<float>() / (2 * N * shape.rows)), 1,
                backward_blocks);
            with_row_shape(shape, divide_up(N, width), [&](auto kept, auto warp) {
                launch("layer_norm_backward",
                       layer_norm_backward_kernel<Element, decltype(width)::value, decltype(kept)::value,
                                                  decltype(warp)::value>,
                       dim3(static_cast<unsigned>(blocks)), shape.block(), 0, handle(stream), elements<Element>(ds),
                       partials, static_cast<const Element*>(elements<Element>(dout)),
                       static_cast<const Element*>(elements<Element>(s)), mean, rstd, gamma, T, N);
            });
            add_partials(dgamma, N, dbeta, N, partials, blocks * shape.rows, true, handle(stream));
        });
    });
}

}  // namespace protalbert::cuda

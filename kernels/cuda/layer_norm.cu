// Layer norm, with the residual branch added on the way.

#include "base/error.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

/// Grid (T / rows), block as with_row_shape says. A thread keeps Kept packs of its row in registers, all on their way
/// from memory before the first is used, and reads the others, of very wide rows, again. s is kept as it is stored: the
/// backward pass sees the numbers that the sums ran over. out may lie over residual: each thread has read what it
/// overwrites.
template <class Element, int Width, int Kept, bool Warp>
__global__ void residual_layer_norm_kernel(Element* out, float* mean, float* rstd, Element* branch,
                                           const Element* residual, const float* gamma, const float* beta,
                                           float epsilon, std::int64_t T, std::int64_t N) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= T) return;  // a whole warp, which no one waits for
    using Pack = Packed<Element, Width>;
    Element* const branch_row = branch + row * N;
    const Element* const residual_row = residual == nullptr ? nullptr : residual + row * N;
    const bool stores_sum = mean != nullptr && residual != nullptr;
    const float share = 1.0F / static_cast<float>(N);
    const auto place = [&](int k) { return (static_cast<std::int64_t>(k) * blockDim.x + threadIdx.x) * Width; };
    const auto add = [&](const Pack& one, const Pack& other) {
        float s[Width], t[Width];
        unpack<Element>(s, one);
        unpack<Element>(t, other);
#pragma unroll
        for (int i = 0; i < Width; ++i) s[i] += t[i];
        return pack<Element, Width>(s);
    };
    const auto load_sum = [&](std::int64_t n) {
        const Pack s = load_packed<Width>(branch_row + n);
        return residual_row == nullptr ? s : add(s, load_packed<Width>(residual_row + n));
    };

    // 1. The sum of the branches and its mean.
    Pack kept[Kept]{}, other[Kept]{};
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) kept[k] = load_packed<Width>(branch_row + place(k));
    }
    if (residual_row != nullptr) {
#pragma unroll
        for (int k = 0; k < Kept; ++k) {
            if (place(k) < N) other[k] = load_packed<Width>(residual_row + place(k));
        }
#pragma unroll
        for (int k = 0; k < Kept; ++k) kept[k] = add(kept[k], other[k]);
    }
    float sum = 0;
    const auto add_up = [&](const Pack& packed, std::int64_t n) {
        float s[Width];
        unpack<Element>(s, packed);
        if (stores_sum) store_packed<Width>(branch_row + n, packed);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum += s[i];
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) add_up(kept[k], place(k));
    }
    for (int k = Kept; place(k) < N; ++k) add_up(load_sum(place(k)), place(k));
    const float average = row_sums<Warp>(sum, 0, sums).x * share;

    // 2. The variance about the mean: E[s^2] - E[s]^2 would cancel.
    const auto load_again = [&](std::int64_t n) {
        return stores_sum ? load_packed<Width>(branch_row + n) : load_sum(n);
    };
    float squares = 0;
    const auto add_squares = [&](const Pack& packed) {
        float s[Width];
        unpack<Element>(s, packed);
#pragma unroll
        for (int i = 0; i < Width; ++i) squares += (s[i] - average) * (s[i] - average);
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) add_squares(kept[k]);
    }
    for (int k = Kept; place(k) < N; ++k) add_squares(load_again(place(k)));
    const float variance = row_sums<Warp>(squares, 0, sums).x * share;
    const float inverse = 1.0F / sqrtf(variance + epsilon);

    // 3. The result.
    const auto write = [&](const Pack& packed, std::int64_t n) {
        float s[Width], scale[Width], shift[Width];
        unpack<Element>(s, packed);
        load_floats<Width>(scale, gamma + n);
        load_floats<Width>(shift, beta + n);
#pragma unroll
        for (int i = 0; i < Width; ++i) s[i] = (s[i] - average) * inverse * scale[i] + shift[i];
        store_pack<Width>(out + row * N + n, s);
    };
#pragma unroll
    for (int k = 0; k < Kept; ++k) {
        if (place(k) < N) write(kept[k], place(k));
    }
    for (int k = Kept; place(k) < N; ++k) write(load_again(place(k)), place(k));
    if (mean != nullptr && threadIdx.x == 0) {
        mean[row] = average;
        rstd[row] = inverse;
    }
}

/// The block number of a backward pass: two on each of the 132 multiprocessors of an H100 or H200. A constant, so that
/// any GPU adds in the same order.
constexpr std::int64_t backward_blocks = 264;

/// Threads of a row in the backward pass. A kernel that says so gets 64 registers a thread, half of what a
/// multiprocessor has for 512 threads: two blocks of rows of 4096 bfloat16 features run at a time, and one waits for
/// memory while the other computes.
constexpr int most_backward_threads = 1024;

/// Width floats that a thread keeps in shared memory for want of registers. `own` is the place of its first four; the
/// next four are behind the first four of all threads, `step` floats further, so that a warp's lie side by side.
template <int Width>
__device__ inline void load_kept(float (&values)[Width], Shared<float> own, unsigned step) {
    if constexpr (Width == 1) {
        values[0] = own[0];
    } else {
#pragma unroll
        for (int i = 0; i < Width; i += 4) {
            const float4 four = (own + i / 4 * step).template as<float4>()[0];
            values[i] = four.x;
            values[i + 1] = four.y;
            values[i + 2] = four.z;
            values[i + 3] = four.w;
        }
    }
}
template <int Width>
__device__ inline void keep(Shared<float> own, unsigned step, const float (&values)[Width]) {
    if constexpr (Width == 1) {
        own[0] = values[0];
    } else {
#pragma unroll
        for (int i = 0; i < Width; i += 4) {
            (own + i / 4 * step).template as<float4>()[0] =
                make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]);
        }
    }
}

/// Rows of one pack a thread. Grid backward_blocks or fewer, with Width floats of dynamic shared memory a thread: each
/// block (each warp of it) takes rows in turn, the next on its way from memory while this one is worked on, and adds up
/// its share of dgamma and dbeta in registers, of dbias in shared memory: a third array of registers would be spilled.
/// In the end all are in `partials` [blocks x rows, 3 N]. ds is added up before it is rounded, so that it is not
/// unpacked again: that would take more instructions than the memory leaves time for. ds may lie over dout or s: each
/// thread has read what it overwrites.
template <class Element, int Width, bool Warp>
__global__ void __launch_bounds__(most_backward_threads, 1)
    layer_norm_backward_kernel(Element* ds, float* partials, const Element* dout, const Element* s, const float* mean,
                               const float* rstd, const float* gamma, std::int64_t T, std::int64_t N) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t worker = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const std::int64_t workers = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
    const unsigned n = threadIdx.x * Width;
    const bool inside = n < N;
    const float share = 1.0F / static_cast<float>(N);
    float dgamma[Width] = {}, dbeta[Width] = {}, dbias[Width] = {};
    const unsigned threads = blockDim.x * blockDim.y, step = 4 * threads;
    const Shared<float> kept = dynamic_shared<float>(0, static_cast<int>(threads) * Width) +
                               (threadIdx.y * blockDim.x + threadIdx.x) * (Width == 1 ? 1 : 4);
    keep<Width>(kept, step, dbias);
    Packed<Element, Width> next_dy{}, next_s{};
    float next_centre = 0, next_inverse = 0;
    const auto load = [&](std::int64_t row) {
        if (row >= T || !inside) return;
        next_centre = mean[row];
        next_inverse = rstd[row];
        next_dy = load_packed<Width>(dout + row * N + n);
        next_s = load_packed<Width>(s + row * N + n);
    };
    load(worker);
    for (std::int64_t row = worker; row < T; row += workers) {
        const float centre = next_centre, inverse = next_inverse;
        float g[Width], x[Width], scale[Width] = {};  // g: dout, soon times gamma
        unpack<Element>(g, next_dy);
        unpack<Element>(x, next_s);
        load(row + workers);
        if (inside) load_floats<Width>(scale, gamma + n);
        float sum = 0, product = 0;
#pragma unroll
        for (int i = 0; i < Width; ++i) {
            x[i] = (x[i] - centre) * inverse;
            dgamma[i] += g[i] * x[i];
            dbeta[i] += g[i];
            g[i] *= scale[i];
            sum += g[i];
            product += g[i] * x[i];
        }
        const float2 both = row_sums<Warp>(sum, product, sums);
        if (!inside) continue;
        // inverse (g - average - x slope) in two instructions.
        const float average = both.x * share * inverse, slope = both.y * share * inverse;
#pragma unroll
        for (int i = 0; i < Width; ++i) x[i] = inverse * g[i] - (average + x[i] * slope);
        store_pack<Width>(ds + row * N + n, x);
        load_kept<Width>(dbias, kept, step);
#pragma unroll
        for (int i = 0; i < Width; ++i) dbias[i] += x[i];
        keep<Width>(kept, step, dbias);
    }
    if (!inside) return;
    load_kept<Width>(dbias, kept, step);
    float* const own = partials + worker * 3 * N;
    store_floats<Width>(own + n, dgamma);
    store_floats<Width>(own + N + n, dbeta);
    store_floats<Width>(own + 2 * N + n, dbias);
}

/// Rows of more packs than threads, far wider than any ALBERT's. Grid as above, a block a row: it reads the row twice
/// and adds up dgamma, dbeta and dbias in its `partials` [blocks, 3 N].
template <class Element, int Width>
__global__ void __launch_bounds__(most_backward_threads, 1)
    wide_layer_norm_backward_kernel(Element* ds, float* partials, const Element* dout, const Element* s,
                                    const float* mean, const float* rstd, const float* gamma, std::int64_t T,
                                    std::int64_t N) {
    SHARED_ARRAY(float, sums, 2 * 32);
    float* const own_gamma = partials + blockIdx.x * 3 * N;
    float* const own_beta = own_gamma + N;
    float* const own_bias = own_beta + N;
    const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * Width;
    const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * Width;
    const float share = 1.0F / static_cast<float>(N);
    float dy[Width], x[Width], scale[Width], of_gamma[Width] = {}, of_beta[Width] = {}, of_bias[Width] = {};
    for (std::int64_t n = first; n < N; n += step) {
        store_floats<Width>(own_gamma + n, of_gamma);
        store_floats<Width>(own_beta + n, of_beta);
        store_floats<Width>(own_bias + n, of_bias);
    }
    for (std::int64_t row = blockIdx.x; row < T; row += gridDim.x) {
        const float centre = mean[row], inverse = rstd[row];
        const auto load = [&](std::int64_t n) {
            load_pack<Width>(dy, dout + row * N + n);
            load_pack<Width>(x, s + row * N + n);
            load_floats<Width>(scale, gamma + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) x[i] = (x[i] - centre) * inverse;
        };
        float sum = 0, product = 0;
        for (std::int64_t n = first; n < N; n += step) {
            load(n);
#pragma unroll
            for (int i = 0; i < Width; ++i) {
                sum += dy[i] * scale[i];
                product += dy[i] * scale[i] * x[i];
            }
        }
        const float2 both = row_sums<false>(sum, product, sums);
        const float average = both.x * share, slope = both.y * share;
        for (std::int64_t n = first; n < N; n += step) {
            load(n);
            load_floats<Width>(of_gamma, own_gamma + n);
            load_floats<Width>(of_beta, own_beta + n);
            load_floats<Width>(of_bias, own_bias + n);
#pragma unroll
            for (int i = 0; i < Width; ++i) {
                of_gamma[i] += dy[i] * x[i];
                of_beta[i] += dy[i];
                x[i] = inverse * (dy[i] * scale[i] - average - x[i] * slope);
                of_bias[i] += x[i];
            }
            store_floats<Width>(own_gamma + n, of_gamma);
            store_floats<Width>(own_beta + n, of_beta);
            store_floats<Width>(own_bias + n, of_bias);
            store_pack<Width>(ds + row * N + n, x);
        }
    }
}

/// body(RowThreads, Number<Kept>, bool_constant<Warp>). A thread has four packs of a row: 128 threads for ProtAlbert's
/// 4096 bfloat16 features, so that a multiprocessor has several rows on their way from memory while others wait for
/// their sums. A row of no more than 128 packs is a warp's.
template <class Body>
void with_row_shape(std::int64_t packs, const Body& body) {
    constexpr int kept = 4;
    const std::int64_t warps = divide_up(packs, 32 * kept);
    if (packs <= 32) {
        body(RowThreads{32, 4}, Number<1>{}, std::true_type{});
    } else if (warps == 1) {
        body(RowThreads{32, 4}, Number<kept>{}, std::true_type{});
    } else {
        const auto threads = static_cast<unsigned>(32 * std::min<std::int64_t>(warps, most_row_threads / 32));
        body(RowThreads{threads, 1}, Number<kept>{}, std::false_type{});
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
            with_row_shape(divide_up(N, decltype(width)::value), [&](const RowThreads& shape, auto kept, auto warp) {
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

void CudaBackend::layer_norm_backward(Activations ds, float* dgamma, float* dbeta, float* dbias, Activations dout,
                                      Activations s, const float* mean, const float* rstd, const float* gamma,
                                      std::int64_t T, std::int64_t N, Stream stream) {
    if (T == 0) return;
    float* const partials = scratch<float>();
    with_element([&](auto element) {
        using Element = decltype(element);
        const bool wide = N % full_width<Element> == 0 && aligned(ds.data, dout.data, s.data, gamma);
        with_width<Element>(wide, [&](auto width) {
            const RowThreads shape = row_threads(N, width, most_backward_threads);
            PROTALBERT_CHECK(3 * N * shape.rows <= scratch_elements<float>(), "a row of sums fits the scratch memory");
            const std::int64_t blocks = std::clamp<std::int64_t>(
                std::min(divide_up(T, shape.rows), scratch_elements<float>() / (3 * N * shape.rows)), 1,
                backward_blocks);
            constexpr int pack = decltype(width)::value;
            const auto run = [&](auto kernel, std::size_t kept) {
                launch("layer_norm_backward", kernel, dim3(static_cast<unsigned>(blocks)), shape.block(), kept,
                       handle(stream), elements<Element>(ds), partials,
                       static_cast<const Element*>(elements<Element>(dout)),
                       static_cast<const Element*>(elements<Element>(s)), mean, rstd, gamma, T, N);
            };
            const std::size_t kept = shape.threads * shape.rows * pack * sizeof(float);
            if (shape.warp()) {
                run(layer_norm_backward_kernel<Element, pack, true>, kept);
            } else if (divide_up(N, pack) <= shape.threads) {
                run(layer_norm_backward_kernel<Element, pack, false>, kept);
            } else {
                run(wide_layer_norm_backward_kernel<Element, pack>, 0);
            }
            add_partials({dgamma, dbeta, dbias}, N, partials, blocks * shape.rows, true, handle(stream));
        });
    });
}

}  // namespace protalbert::cuda

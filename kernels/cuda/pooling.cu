// Vectors that leave the device: residues, their means, first rows.

#include <algorithm>
#include <limits>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/sequences.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

constexpr int scan_threads = 256;

/// firsts [S + 1]: the row of the output that each sequence's residues begin at. One block: each thread adds up a share
/// of the sequences, one their sums.
__global__ void first_residues_kernel(std::int64_t* firsts, const std::int64_t* offsets, std::int64_t S) {
    SHARED_ARRAY(long long, sums, scan_threads);
    const int thread = static_cast<int>(threadIdx.x);
    const std::int64_t share = (S + scan_threads - 1) / scan_threads;
    const std::int64_t begin = thread * share < S ? thread * share : S;
    const std::int64_t end = begin + share < S ? begin + share : S;
    const auto residues = [&](std::int64_t s) {
        const std::int64_t length = offsets[s + 1] - offsets[s];
        return length > 2 ? length - 2 : 0;
    };
    long long sum = 0;
    for (std::int64_t s = begin; s < end; ++s) sum += residues(s);
    sums[thread] = sum;
    __syncthreads();
    if (thread == 0) {
        long long before = 0;
        for (int t = 0; t < scan_threads; ++t) {
            const long long own = sums[t];
            sums[t] = before;
            before += own;
        }
        firsts[S] = before;
    }
    __syncthreads();
    std::int64_t first = sums[thread];
    for (std::int64_t s = begin; s < end; ++s) {
        firsts[s] = first;
        first += residues(s);
    }
}

template <int Width>
__device__ void store_halves(__half* to, const float (&values)[Width]) {
    if constexpr (Width == 1) {
        *to = __float2half_rn(values[0]);
    } else {
        std::uint32_t words[Width / 2];
#pragma unroll
        for (int i = 0; i < Width / 2; ++i) {
            const std::uint32_t low = __half_as_ushort(__float2half_rn(values[2 * i]));
            const std::uint32_t high = __half_as_ushort(__float2half_rn(values[2 * i + 1]));
            words[i] = low | high << 16;
        }
        if constexpr (Width == 8) {
            *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
        } else {
            *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
        }
    }
}

constexpr int warps = 8;  // of a block

/// Grid (rows / 8), block (32, 8): a warp an output row, which it finds in firsts [S + 1].
template <class Element, int Width, OutputType Type>
__global__ void extract_residues_kernel(void* out, const Element* in, const std::int64_t* firsts,
                                        const std::int64_t* offsets, std::int64_t S, std::int64_t rows,
                                        std::int64_t H) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.y;
    if (row >= rows) return;
    const std::int64_t s = sequence_of(firsts, S, row);
    const Element* const from = in + (offsets[s] + 1 + row - firsts[s]) * H;
    for (std::int64_t h = static_cast<std::int64_t>(threadIdx.x) * Width; h < H; h += 32 * Width) {
        float values[Width];
        load_pack<Width>(values, from + h);
        if constexpr (Type == OutputType::float16) {
            store_halves<Width>(static_cast<__half*>(out) + row * H + h, values);
        } else {
            store_floats<Width>(static_cast<float*>(out) + row * H + h, values);
        }
    }
}

/// Grid (S, strips of 32 packs), block (32, 8): eight groups of rows, added in double precision, then together.
template <class Element, int Width>
__global__ void mean_residues_kernel(float* out, const Element* in, const std::int64_t* offsets, std::int64_t H) {
    SHARED_ARRAY(double, sums, warps * 32 * Width);
    const std::int64_t s = blockIdx.x;
    const int lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
    const std::int64_t h = (static_cast<std::int64_t>(blockIdx.y) * 32 + lane) * Width;
    const std::int64_t begin = offsets[s] + 1, end = offsets[s + 1] - 1;
    double sum[Width] = {};
    if (h < H) {
        for (std::int64_t t = begin + group; t < end; t += warps) {
            float values[Width];
            load_pack<Width>(values, in + t * H + h);
#pragma unroll
            for (int i = 0; i < Width; ++i) sum[i] += static_cast<double>(values[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < Width; ++i) sums[(group * Width + i) * 32 + lane] = sum[i];
    __syncthreads();
    if (group > 0 || h >= H) return;
    float mean[Width];
#pragma unroll
    for (int i = 0; i < Width; ++i) {
        for (int other = 1; other < warps; ++other) sum[i] += sums[(other * Width + i) * 32 + lane];
        mean[i] = end > begin ? static_cast<float>(sum[i] / static_cast<double>(end - begin))
                              : std::numeric_limits<float>::quiet_NaN();
    }
    store_floats<Width>(out + s * H + h, mean);
}

/// Grid (S / 8), block (32, 8): a warp a sequence.
template <class Element, int Width>
__global__ void first_rows_kernel(float* out, const Element* in, const std::int64_t* offsets, std::int64_t S,
                                  std::int64_t H) {
    const std::int64_t s = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.y;
    if (s >= S) return;
    const bool empty = offsets[s] == offsets[s + 1];
    for (std::int64_t h = static_cast<std::int64_t>(threadIdx.x) * Width; h < H; h += 32 * Width) {
        float values[Width];
        if (empty) {
#pragma unroll
            for (int i = 0; i < Width; ++i) values[i] = std::numeric_limits<float>::quiet_NaN();
        } else {
            load_pack<Width>(values, in + offsets[s] * H + h);
        }
        store_floats<Width>(out + s * H + h, values);
    }
}

}  // namespace

void CudaBackend::extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences,
                                   std::int64_t H, Stream stream) {
    const std::int64_t S = sequences.count;
    std::int64_t rows = 0;
    for (std::int64_t s = 0; s < S; ++s)
        rows += std::max<std::int64_t>(0, sequences.host_offsets[s + 1] - sequences.host_offsets[s] - 2);
    if (rows == 0) return;
    auto* const firsts = scratch<std::int64_t>();
    PROTALBERT_CHECK(S < scratch_elements<std::int64_t>(), "the sequences' first rows fit the scratch memory");
    launch("first_residues", first_residues_kernel, dim3(1), dim3(scan_threads), 0, handle(stream), firsts,
           sequences.offsets, S);
    with_element([&](auto element) {
        using Element = decltype(element);
        with_width<Element>(H % full_width<Element> == 0 && aligned(out, in.data), [&](auto width) {
            constexpr int Width = decltype(width)::value;
            const auto kernel = type == OutputType::float16
                                    ? extract_residues_kernel<Element, Width, OutputType::float16>
                                    : extract_residues_kernel<Element, Width, OutputType::float32>;
            launch("extract_residues", kernel, dim3(static_cast<unsigned>(divide_up(rows, warps))), dim3(32, warps), 0,
                   handle(stream), out, static_cast<const Element*>(elements<Element>(in)),
                   static_cast<const std::int64_t*>(firsts), sequences.offsets, S, rows, H);
        });
    });
}

void CudaBackend::mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) {
    with_element([&](auto element) {
        using Element = decltype(element);
        with_width<Element>(H % full_width<Element> == 0 && aligned(out, in.data), [&](auto width) {
            constexpr int Width = decltype(width)::value;
            const dim3 grid(static_cast<unsigned>(sequences.count), static_cast<unsigned>(divide_up(H, 32 * Width)));
            launch("mean_residues", mean_residues_kernel<Element, Width>, grid, dim3(32, warps), 0, handle(stream), out,
                   static_cast<const Element*>(elements<Element>(in)), sequences.offsets, H);
        });
    });
}

void CudaBackend::first_rows(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) {
    with_element([&](auto element) {
        using Element = decltype(element);
        with_width<Element>(H % full_width<Element> == 0 && aligned(out, in.data), [&](auto width) {
            launch("first_rows", first_rows_kernel<Element, decltype(width)::value>,
                   dim3(static_cast<unsigned>(divide_up(sequences.count, warps))), dim3(32, warps), 0, handle(stream),
                   out, static_cast<const Element*>(elements<Element>(in)), sequences.offsets, sequences.count, H);
        });
    });
}

}  // namespace protalbert::cuda

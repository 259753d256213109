// Embeddings: three tables and a layer norm; backward as sums over segments of tokens, without atomics.

#include <algorithm>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

/// The sum of a token's rows of the three tables, at element n.
template <int Width>
__device__ void add_table_rows(float (&s)[Width], const EmbeddingIds& ids, const EmbeddingTables& tables,
                               std::int64_t t, std::int64_t E, std::int64_t n) {
    float position[Width], segment[Width];
    load_floats<Width>(s, tables.word + ids.tokens[t] * E + n);
    load_floats<Width>(position, tables.position + ids.positions[t] * E + n);
    load_floats<Width>(segment, tables.segment + ids.segments[t] * E + n);
#pragma unroll
    for (int i = 0; i < Width; ++i) s[i] += position[i] + segment[i];
}

/// Grid (T / rows), block of row_threads. The tables' rows are in the cache: each pass reads them again.
template <class Element, int Width, bool Warp>
__global__ void embedding_forward_kernel(Element* out, float* mean, float* rstd, EmbeddingIds ids,
                                         EmbeddingTables tables, std::int64_t T, std::int64_t E) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (t >= T) return;  // a whole warp, which no one waits for
    const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * Width;
    const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * Width;
    float s[Width];
    float sum = 0;
    for (std::int64_t n = first; n < E; n += step) {
        add_table_rows<Width>(s, ids, tables, t, E, n);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum += s[i];
    }
    const float average = row_sums<Warp>(sum, 0, sums).x / static_cast<float>(E);
    float squares = 0;
    for (std::int64_t n = first; n < E; n += step) {
        add_table_rows<Width>(s, ids, tables, t, E, n);
#pragma unroll
        for (int i = 0; i < Width; ++i) squares += (s[i] - average) * (s[i] - average);
    }
    const float variance = row_sums<Warp>(squares, 0, sums).x / static_cast<float>(E);
    const float inverse = 1.0F / sqrtf(variance + static_cast<float>(tables.epsilon));
    for (std::int64_t n = first; n < E; n += step) {
        float scale[Width], shift[Width];
        add_table_rows<Width>(s, ids, tables, t, E, n);
        load_floats<Width>(scale, tables.gamma + n);
        load_floats<Width>(shift, tables.beta + n);
#pragma unroll
        for (int i = 0; i < Width; ++i) s[i] = (s[i] - average) * inverse * scale[i] + shift[i];
        store_pack<Width>(out + t * E + n, s);
    }
    if (mean != nullptr && threadIdx.x == 0) {
        mean[t] = average;
        rstd[t] = inverse;
    }
}

/// ds [T, E] float32, the gradient of the sum of the tables' rows, and ds_gamma [T, E], what each token adds to
/// gamma's. Grid and block as in the forward pass. Tokens are those from `begin`, T of them; ds and ds_gamma begin
/// there.
template <class Element, int Width, bool Warp>
__global__ void embedding_norm_backward_kernel(float* ds, float* ds_gamma, const Element* dout, const float* mean,
                                               const float* rstd, EmbeddingIds ids, EmbeddingTables tables,
                                               std::int64_t begin, std::int64_t T, std::int64_t E) {
    SHARED_ARRAY(float, sums, 2 * 32);
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= T) return;  // a whole warp, which no one waits for
    const std::int64_t t = begin + row;
    const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * Width;
    const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * Width;
    const float centre = mean[t], inverse = rstd[t];
    float x[Width], dy[Width], scale[Width];
    const auto load = [&](std::int64_t n) {
        add_table_rows<Width>(x, ids, tables, t, E, n);
        load_pack<Width>(dy, dout + t * E + n);
        load_floats<Width>(scale, tables.gamma + n);
#pragma unroll
        for (int i = 0; i < Width; ++i) x[i] = (x[i] - centre) * inverse;
    };
    float sum = 0, product = 0;
    for (std::int64_t n = first; n < E; n += step) {
        load(n);
#pragma unroll
        for (int i = 0; i < Width; ++i) {
            sum += dy[i] * scale[i];
            product += dy[i] * scale[i] * x[i];
        }
    }
    const float2 both = row_sums<Warp>(sum, product, sums);
    const float average = both.x / static_cast<float>(E), slope = both.y / static_cast<float>(E);
    for (std::int64_t n = first; n < E; n += step) {
        load(n);
        float gradient[Width], gamma[Width];
#pragma unroll
        for (int i = 0; i < Width; ++i) {
            gradient[i] = inverse * (dy[i] * scale[i] - average - x[i] * slope);
            gamma[i] = dy[i] * x[i];
        }
        store_floats<Width>(ds + row * E + n, gradient);
        store_floats<Width>(ds_gamma + row * E + n, gamma);
    }
}

/// Partial sums of columns over chunks of tokens. Grid (E / 32, chunks), block (32).
template <class Element>
__global__ void chunk_sums_kernel(float* partials, const Element* rows, std::int64_t chunk, std::int64_t T,
                                  std::int64_t E) {
    const std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * 32 + threadIdx.x;
    if (e >= E) return;
    const std::int64_t begin = blockIdx.y * chunk, end = begin + chunk < T ? begin + chunk : T;
    float sum = 0;
    for (std::int64_t t = begin; t < end; ++t) sum += to_float(rows[t * E + e]);
    partials[blockIdx.y * E + e] = sum;
}

constexpr int segment_warps = 4;  // of a block: table rows side by side
constexpr int strip = 128;        // columns of a warp, four a lane

/// Adds up, for each row of a table, the ds [T, E] of the tokens with its id. Grid (table rows / 4, strips of columns,
/// chunks of tokens), block (32, 4): a warp a table row, which looks through the chunk's ids 32 at a time and adds the
/// rows it finds in their order. Sums go to `to` + z * size [table rows, E]; with one chunk they are added to it.
__global__ void segment_sums_kernel(float* to, const float* ds, const std::int32_t* ids, std::int64_t chunk,
                                    std::int64_t table_rows, std::int64_t T, std::int64_t E, bool accumulate) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * segment_warps + threadIdx.y;
    if (row >= table_rows) return;  // a whole warp
    const int lane = static_cast<int>(threadIdx.x);
    const std::int64_t e = static_cast<std::int64_t>(blockIdx.y) * strip + lane;
    const std::int64_t begin = blockIdx.z * chunk, end = begin + chunk < T ? begin + chunk : T;
    constexpr int columns = strip / 32;
    float sums[columns] = {};
    bool found = false;
    for (std::int64_t t = begin; t < end; t += 32) {
        const bool mine = t + lane < end && ids[t + lane] == row;
        unsigned hits = __ballot_sync(all_lanes, mine);
        found = found || hits != 0;
        while (hits != 0) {
            const int hit = __ffs(static_cast<int>(hits)) - 1;
            hits &= hits - 1;
            const float* const from = ds + (t + hit) * E + e;
#pragma unroll
            for (int c = 0; c < columns; ++c) {
                if (e + 32 * c < E) sums[c] += from[32 * c];
            }
        }
    }
    if (accumulate && !found) return;  // most rows of the position table
    float* const place = to + (blockIdx.z * table_rows + row) * E + e;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
        if (e + 32 * c < E) place[32 * c] = accumulate ? place[32 * c] + sums[c] : sums[c];
    }
}

/// table [table_rows, E] += sums of ds over the tokens of each id. `partials` for chunks of tokens: a table of few rows
/// would otherwise keep few warps busy.
void add_segments(float* table, const float* ds, const std::int32_t* ids, std::int64_t table_rows, std::int64_t T,
                  std::int64_t E, float* partials, std::int64_t partial_elements, cudaStream_t stream) {
    constexpr std::int64_t enough_warps = 2112;  // 16 on each of 132 multiprocessors
    constexpr std::int64_t least_tokens = 64;    // of a chunk: two looks at 32 ids
    const std::int64_t chunks =
        std::clamp<std::int64_t>(std::min({enough_warps / std::max<std::int64_t>(table_rows, 1), T / least_tokens,
                                           partial_elements / (table_rows * E)}),
                                 1, T);
    const std::int64_t chunk = divide_up(divide_up(T, chunks), 32) * 32;
    const std::int64_t used = divide_up(T, chunk);
    const dim3 grid(static_cast<unsigned>(divide_up(table_rows, segment_warps)),
                    static_cast<unsigned>(divide_up(E, strip)), static_cast<unsigned>(used));
    launch("segment_sums", segment_sums_kernel, grid, dim3(32, segment_warps), 0, stream, used == 1 ? table : partials,
           ds, ids, chunk, table_rows, T, E, used == 1);
    if (used > 1) add_partials({table}, table_rows * E, partials, used, true, stream);
}

/// out [E] += sums over the T rows.
template <class Element>
void add_columns(float* out, const Element* rows, std::int64_t T, std::int64_t E, float* partials,
                 std::int64_t partial_elements, cudaStream_t stream) {
    constexpr std::int64_t least_rows = 64, most_chunks = 128;  // as for bias gradients
    const std::int64_t chunks =
        std::clamp<std::int64_t>(std::min(T / least_rows, partial_elements / E), 1, most_chunks);
    const std::int64_t chunk = divide_up(T, chunks);
    const dim3 grid(static_cast<unsigned>(divide_up(E, 32)), static_cast<unsigned>(chunks));
    launch("chunk_sums", chunk_sums_kernel<Element>, grid, dim3(32), 0, stream, partials, rows, chunk, T, E);
    add_partials({out}, E, partials, chunks, true, stream);
}

/// The tables' alignment and E let a thread take Width elements at once.
bool wide_tables(const EmbeddingTables& tables, std::int64_t E, int width) {
    return E % width == 0 && aligned(tables.word, tables.position, tables.segment, tables.gamma, tables.beta);
}

}  // namespace

void CudaBackend::embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids, EmbeddingTables tables,
                                    std::int64_t T, std::int64_t E, Stream stream) {
    if (T == 0) return;
    with_element([&](auto element) {
        using Element = decltype(element);
        const bool wide = wide_tables(tables, E, full_width<Element>) && aligned(out.data);
        with_width<Element>(wide, [&](auto width) {
            const RowThreads shape = row_threads(E, width);
            const auto run = [&](auto warp) {
                launch("embedding_forward",
                       embedding_forward_kernel<Element, decltype(width)::value, decltype(warp)::value>,
                       dim3(static_cast<unsigned>(divide_up(T, shape.rows))), shape.block(), 0, handle(stream),
                       elements<Element>(out), mean, rstd, ids, tables, T, E);
            };
            shape.warp() ? run(std::true_type{}) : run(std::false_type{});
        });
    });
}

void CudaBackend::embedding_backward(EmbeddingGradients gradients, Activations dout, const float* mean,
                                     const float* rstd, EmbeddingIds ids, EmbeddingTables tables, std::int64_t T,
                                     std::int64_t E, std::int64_t V, std::int64_t P, Stream stream) {
    if (T == 0) return;
    // So many tokens at a time that two thirds of the scratch memory hold their gradients; the rest is for partial
    // sums.
    const std::int64_t piece = std::min(T, scratch_elements<float>() / (3 * E));
    const std::int64_t rows_elements = divide_up(piece * E, 4) * 4;  // keeps what follows aligned
    float* const ds = scratch<float>();
    float* const ds_gamma = ds + rows_elements;
    float* const partials = ds_gamma + rows_elements;
    const std::int64_t partial_elements = scratch_elements<float>() - 2 * rows_elements;
    const cudaStream_t queue = handle(stream);
    with_element([&](auto element) {
        using Element = decltype(element);
        const Element* const dy = elements<Element>(dout);
        const bool wide = wide_tables(tables, E, full_width<Element>) && aligned(dout.data);
        for (std::int64_t begin = 0; begin < T; begin += piece) {
            const std::int64_t tokens = std::min(piece, T - begin);
            with_width<Element>(wide, [&](auto width) {
                const RowThreads shape = row_threads(E, width);
                const auto run = [&](auto warp) {
                    launch("embedding_norm_backward",
                           embedding_norm_backward_kernel<Element, decltype(width)::value, decltype(warp)::value>,
                           dim3(static_cast<unsigned>(divide_up(tokens, shape.rows))), shape.block(), 0, queue, ds,
                           ds_gamma, dy, mean, rstd, ids, tables, begin, tokens, E);
                };
                shape.warp() ? run(std::true_type{}) : run(std::false_type{});
            });
            add_columns(gradients.gamma, ds_gamma, tokens, E, partials, partial_elements, queue);
            add_columns(gradients.beta, dy + begin * E, tokens, E, partials, partial_elements, queue);
            add_segments(gradients.word, ds, ids.tokens + begin, V, tokens, E, partials, partial_elements, queue);
            add_segments(gradients.position, ds, ids.positions + begin, P, tokens, E, partials, partial_elements,
                         queue);
            constexpr std::int64_t segments = 2;
            add_segments(gradients.segment, ds, ids.segments + begin, segments, tokens, E, partials, partial_elements,
                         queue);
        }
    });
}

}  // namespace protalbert::cuda

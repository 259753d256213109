// Dense layers: matrix products by oneDNN, with their biases and activations.
//
// A product is cut into tiles of the result, and each task computes one tile by a single-threaded dnnl_sgemm and
// finishes it (bias, GELU) while it is in the cache. Against one call for the whole product this balances the load,
// costs nothing (a tile of 512 x 512 runs at the same rate), needs no code generation for each new T, and gives the
// same bits for any number of threads, because the tiles depend on the shape alone.

#include <fmt/format.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "base/error.hpp"
#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"
#include "kernels/kokkos/thread_scratch.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/product_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

std::int64_t tiles_along(std::int64_t n, std::int64_t tile) { return (n + tile - 1) / tile; }

/// The tiles of a result [m, n].
struct Tiles {
    std::int64_t rows, columns;            ///< of one tile; fewer at the edges
    std::int64_t row_tiles, column_tiles;  ///< number of tiles along each side
    std::int64_t count() const { return row_tiles * column_tiles; }
};

/// Tiles large enough to hide packing, yet enough of them for many threads.
Tiles cut(std::int64_t m, std::int64_t n, std::int64_t k) {
    constexpr std::int64_t largest = 1024;             // larger ones are not faster
    constexpr std::int64_t smallest = 128;             // smaller ones are slower by more than a tenth
    constexpr std::int64_t enough = 32;                // tiles to share out
    constexpr std::int64_t multiply_adds = 8'000'000;  // of a task worth its start: about 0.1 ms
    // oneDNN's AVX-512 kernel computes 48 columns at a time (24 for AVX2).
    const auto rounded = [](std::int64_t columns) { return (columns + 47) / 48 * 48; };
    std::int64_t rows = std::min(m, largest);
    std::int64_t columns = std::min(rounded(n), rounded(largest));
    while (tiles_along(m, rows) * tiles_along(n, columns) < enough && rows * columns * k / 2 >= multiply_adds) {
        const bool rows_can = rows / 2 >= smallest;
        const bool columns_can = columns / 2 >= smallest;
        if (columns_can && (columns > rows || !rows_can)) {
            columns = rounded(columns / 2);
        } else if (rows_can) {
            rows = (rows + 1) / 2;
        } else {
            break;
        }
    }
    return {rows, columns, tiles_along(m, rows), tiles_along(n, columns)};
}

/// One tile: its place and size.
struct Tile {
    std::int64_t row, column, rows, columns;
};
Tile tile_of(const Tiles& tiles, std::int64_t index, std::int64_t m, std::int64_t n) {
    // Neighbours in time share their rows of the left matrix.
    const std::int64_t row = index / tiles.column_tiles * tiles.rows;
    const std::int64_t column = index % tiles.column_tiles * tiles.columns;
    return {row, column, std::min(tiles.rows, m - row), std::min(tiles.columns, n - column)};
}

/// c [m, n] = op(a) op(b) + beta c; op is the transpose for 'T'. Row-major.
void product(char transpose_a, char transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
             std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
    const dnnl_status_t status = dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0F, a, lda, b, ldb, beta, c, ldc);
    if (status != dnnl_success) {
        throw Error(fmt::format("oneDNN refused a product of [{}, {}] by [{}, {}]: status {}", m, k, k, n,
                                static_cast<int>(status)));
    }
}

}  // namespace

template <class Body>
void KokkosBackend::product_tasks(const char* name, std::int64_t n, const Body& body) const {
    // Within a parallel region oneDNN keeps to its thread, but a region of one thread is none to it. The limit is set
    // inside: set before, it yields there to a list of numbers in OMP_NUM_THREADS.
    parallel_tasks(name, n, [=](std::int64_t index) {
        omp_set_num_threads(1);
        body(index);
    });
}

void KokkosBackend::linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                           std::int64_t K, Stream) {
    if (T == 0 || N == 0) return;
    float* const y = floats(out);
    const float* const biases = floats(bias);
    const float* const a = floats(x);
    const float* const b = floats(weight);
    const auto finish = PROTALBERT_SELECT(add_bias);
    const Tiles tiles = cut(T, N, K);
    product_tasks("protalbert::linear", tiles.count(), [=](std::int64_t index) {
        const Tile tile = tile_of(tiles, index, T, N);
        float* const c = y + tile.row * N + tile.column;
        product('N', 'T', tile.rows, tile.columns, K, a + tile.row * K, K, b + tile.column * K, K, 0, c, N);
        if (biases != nullptr) finish(c, N, biases + tile.column, tile.rows, tile.columns);
    });
}

void KokkosBackend::linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                                std::int64_t T, std::int64_t N, std::int64_t K, Stream) {
    if (T == 0 || N == 0) return;
    float* const y = floats(out);
    const float* const biases = floats(bias);
    float* const before = pre ? floats(pre) : y;
    const float* const a = floats(x);
    const float* const b = floats(weight);
    const auto finish =
        form == Gelu::erf ? PROTALBERT_SELECT(add_bias_and_gelu_erf) : PROTALBERT_SELECT(add_bias_and_gelu_tanh);
    const Tiles tiles = cut(T, N, K);
    product_tasks("protalbert::linear_gelu", tiles.count(), [=](std::int64_t index) {
        const Tile tile = tile_of(tiles, index, T, N);
        const std::int64_t place = tile.row * N + tile.column;
        product('N', 'T', tile.rows, tile.columns, K, a + tile.row * K, K, b + tile.column * K, K, 0, before + place,
                N);
        finish(y + place, before + place, N, biases == nullptr ? nullptr : biases + tile.column, tile.rows,
               tile.columns);
    });
}

void KokkosBackend::linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual,
                                         std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    if (T == 0 || K == 0) return;
    float* const c = floats(dx);
    const bool accumulate = static_cast<bool>(residual);
    if (accumulate) copy(c, residual.data, static_cast<std::size_t>(T * K) * sizeof(float), stream);
    const float* const a = floats(dy);
    const float* const b = floats(weight);
    const Tiles tiles = cut(T, K, N);
    product_tasks("protalbert::linear_backward_data", tiles.count(), [=](std::int64_t index) {
        const Tile tile = tile_of(tiles, index, T, K);
        product('N', 'N', tile.rows, tile.columns, N, a + tile.row * N, N, b + tile.column, K, accumulate ? 1 : 0,
                c + tile.row * K + tile.column, K);
    });
}

void KokkosBackend::linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight,
                                              Activations pre, Gelu form, std::int64_t T, std::int64_t N,
                                              std::int64_t K, Stream) {
    if (T == 0 || K == 0) return;
    float* const to = floats(dpre);
    const float* const a = floats(dy);
    const float* const b = floats(weight);
    const float* const before = floats(pre);
    const auto finish = form == Gelu::erf ? PROTALBERT_SELECT(times_gelu_erf_derivative)
                                          : PROTALBERT_SELECT(times_gelu_tanh_derivative);
    const Tiles tiles = cut(T, K, N);
    // Each row of tiles adds up its rows.
    float* const sums = dbias == nullptr ? nullptr : scratch<float>(tiles.row_tiles * K);
    product_tasks("protalbert::linear_backward_data_gelu", tiles.count(), [=](std::int64_t index) {
        const Tile tile = tile_of(tiles, index, T, K);
        // Beside pre, which may be dpre: the tile of the product has a place of its own.
        float* const c = thread_scratch(tile.rows * tile.columns);
        const std::int64_t place = tile.row * K + tile.column;
        product('N', 'N', tile.rows, tile.columns, N, a + tile.row * N, N, b + tile.column, K, 0, c, tile.columns);
        float* const own =
            sums == nullptr ? nullptr : sums + tile.row / tiles.rows * K + tile.column;  // [tile.columns]
        if (own != nullptr) std::fill_n(own, tile.columns, 0.0F);
        finish(to + place, K, own, c, tile.columns, before + place, K, tile.rows, tile.columns);
    });
    if (dbias != nullptr) add_parts(dbias, sums, tiles.row_tiles, K, true);
}

void KokkosBackend::linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                           std::int64_t T, std::int64_t N, std::int64_t K, Stream) {
    const float* const a = floats(dy);
    const float* const b = floats(x);
    if (T == 0) {
        if (!accumulate) {
            set_zero(dweight, static_cast<std::size_t>(N * K) * sizeof(float), {});
            if (dbias != nullptr) set_zero(dbias, static_cast<std::size_t>(N) * sizeof(float), {});
        }
        return;
    }

    // A small weight has few tiles: then the tokens are cut too, and the parts of the sum added in order.
    constexpr std::int64_t enough = 32;                    // tasks to share out, as in cut()
    constexpr std::int64_t tokens = 512;                   // of a task at least: the result is read once for them
    constexpr std::int64_t largest_partials = 16'000'000;  // floats: 64 MB
    const Tiles tiles = cut(N, K, std::min(T, 8 * tokens));
    const std::int64_t parts = std::clamp<std::int64_t>(
        std::min({tiles_along(enough, tiles.count()), T / tokens, largest_partials / std::max<std::int64_t>(N * K, 1)}),
        1, enough);
    const std::int64_t rows = tiles_along(T, parts);
    float* const partials = parts > 1 ? scratch<float>(parts * N * K) : dweight;
    const float beta = parts == 1 && accumulate ? 1 : 0;
    product_tasks("protalbert::linear_backward_weight", parts * tiles.count(), [=](std::int64_t index) {
        const Tile tile = tile_of(tiles, index % tiles.count(), N, K);
        const std::int64_t part = index / tiles.count();
        const std::int64_t t = part * rows;
        product('T', 'N', tile.rows, tile.columns, std::clamp<std::int64_t>(T - t, 0, rows), a + t * N + tile.row, N,
                b + t * K + tile.column, K, beta, partials + part * N * K + tile.row * K + tile.column, K);
    });
    if (parts > 1) add_parts(dweight, partials, parts, N * K, accumulate);

    if (dbias == nullptr) return;
    // At least 256 rows a chunk, at most 128 chunks: the parts stay small beside dy.
    const std::int64_t chunk = std::max<std::int64_t>(256, tiles_along(T, 128));
    const std::int64_t chunks = tiles_along(T, chunk);
    float* const sums = scratch<float>(chunks * N);
    const auto sum_columns = PROTALBERT_SELECT(column_sums);
    parallel_tasks("protalbert::bias_gradient", chunks, [=](std::int64_t c) {
        sum_columns(sums + c * N, a + c * chunk * N, std::min(chunk, T - c * chunk), N);
    });
    add_parts(dbias, sums, chunks, N, accumulate);
}

void KokkosBackend::add_parts(float* to, const float* parts, std::int64_t count, std::int64_t n,
                              bool accumulate) const {
    constexpr std::int64_t block = 1024;  // elements of one task: in the first-level cache
    parallel("protalbert::add_parts", tiles_along(n, block), [=](std::int64_t b) {
        const std::int64_t first = b * block;
        const std::int64_t size = std::min(block, n - first);
        float sums[block];
        for (std::int64_t i = 0; i < size; ++i) sums[i] = parts[first + i];
        for (std::int64_t p = 1; p < count; ++p) {
            for (std::int64_t i = 0; i < size; ++i) sums[i] += parts[p * n + first + i];
        }
        for (std::int64_t i = 0; i < size; ++i) to[first + i] = accumulate ? to[first + i] + sums[i] : sums[i];
    });
}

}  // namespace protalbert

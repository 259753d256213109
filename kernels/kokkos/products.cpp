// Dense layers: matrix products of packed operands (panels.hpp), with their biases and activations.
//
// Each product packs the operands that are not weights, a slice of rows at a time, or reads its left one as it is, and
// cuts its result into tiles, one for a task. No element depends on the cut, so the tiles follow the number of threads;
// only sums over rows, the gradients of biases and weights, are cut by the shape alone.

#include <algorithm>
#include <array>
#include <initializer_list>

#include "base/error.hpp"
#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"
#include "kernels/kokkos/panels.hpp"

#define PROTALBERT_KERNELS "kernels/kokkos/column_sums_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

std::int64_t pieces(std::int64_t n, std::int64_t piece) { return (n + piece - 1) / piece; }
std::int64_t multiple(std::int64_t n, std::int64_t of) { return pieces(n, of) * of; }

/// Multiply-adds below which a second thread costs more than it gains: a few microseconds of one core.
constexpr std::int64_t worth_a_thread = 500'000;

/// Packing the left operand costs as much as some ten columns of the result. Up to so many columns the operand is read
/// as it is, whose tiles are fetched a little less well.
constexpr std::int64_t few_columns = 1024;

constexpr std::int64_t most_columns = 512;  ///< of a task's tile, as measured; more are not faster

/// Elements of operands that are packed at a time. Of a product's left one: more would be read from memory again, fewer
/// would read the right operand too often; but at least the rows of a task, 9.4 million elements at 16,384 features. Of
/// both operands of a weight gradient, after which its result is read and written once.
constexpr std::int64_t left_slice = 4'000'000, gradient_slice = 24'000'000;

/// The same of a left operand whose right one stays in a cache, for each thread: some 1 MB.
constexpr std::int64_t left_in_cache = 250'000;

/// The tiles of a result [m, n], each a task.
struct TaskTiles {
    std::int64_t rows, columns;            ///< of one tile; fewer at the edges
    std::int64_t row_tiles, column_tiles;  ///< number of tiles along each side
    std::int64_t count() const { return row_tiles * column_tiles; }
};

/// `fixed_rows`: the rows of a tile may not depend on the number of threads.
TaskTiles cut(const ProductKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k, int threads,
              bool fixed_rows) {
    constexpr std::int64_t least_columns = 128;
    constexpr std::int64_t tasks_a_thread = 6;  // the last ones end within a sixth of the whole
    std::int64_t rows = std::min(multiple(m, kernels.rows), kernels.task_rows);
    std::int64_t columns = std::min(multiple(n, kernels.columns), most_columns);
    if (threads == 1 || m * n * k < worth_a_thread * 2) return {rows, columns, pieces(m, rows), pieces(n, columns)};
    const auto enough = [&] { return pieces(m, rows) * pieces(n, columns) >= tasks_a_thread * threads; };
    while (!enough() && columns / 2 >= least_columns) columns = multiple(columns / 2, kernels.columns);
    while (!fixed_rows && !enough() && rows / 2 >= 4 * kernels.rows) rows = multiple(rows / 2, kernels.rows);
    while (!enough() && columns / 2 >= kernels.columns) columns = multiple(columns / 2, kernels.columns);
    return {rows, columns, pieces(m, rows), pieces(n, columns)};
}

/// The place and size of tile `index` of a result [m, n]. Neighbours in time share their rows.
void set_place(ProductTile& tile, const TaskTiles& tiles, std::int64_t index, std::int64_t m, std::int64_t n) {
    tile.row = index / tiles.column_tiles * tiles.rows;
    tile.column = index % tiles.column_tiles * tiles.columns;
    tile.rows = std::min(tiles.rows, m - tile.row);
    tile.columns = std::min(tiles.columns, n - tile.column);
}

}  // namespace

std::size_t KokkosBackend::own_bytes(std::int64_t parameters, bool trained) const {
    constexpr std::int64_t most_features = 16'384;  // of ProtAlbert's feed-forward
    const std::int64_t left =
        std::max({trained ? gradient_slice : left_slice, left_in_cache * threads_, kernels_.task_rows * most_features});
    // Data gradients read weights in another order. The memory of a weight gradient's operands grows for the shape in
    // which it is the larger one.
    const std::int64_t right = trained ? 2 * parameters + gradient_slice : parameters;
    const std::int64_t tiles = kernels_.task_rows * most_columns * threads_;
    return static_cast<std::size_t>((left * kernels_.left_items + right) / kernels_.step_elements + tiles) *
           sizeof(float);
}

template <class Body>
void KokkosBackend::product_tasks(const char* name, std::int64_t n, bool alone, const Body& body) const {
    if (!alone) return parallel_tasks(name, n, body);
    for (std::int64_t i = 0; i < n; ++i) body(i);
}

void KokkosBackend::pack(std::initializer_list<Packing> operands) const {
    // Lines that lie side by side are read together, but from no more panels than the ways of a first-level cache:
    // panels are often a power of two apart.
    constexpr std::int64_t panels_together = 6;
    struct Share {
        const Packing* packing;
        std::int64_t groups, first, end;  ///< of lines; of the tasks
    };
    std::array<Share, 2> shares{};
    std::int64_t tasks = 0, elements = 0;
    std::size_t count = 0;
    for (const Packing& packing : operands) {
        const Panels& panels = packing.panels;
        Share& share = shares[count++];
        share = {&packing, pieces(panels.count(), panels_together), tasks, 0};
        tasks += panels.steps.blocks() * share.groups;
        elements += panels.lines * packing.k;
        share.end = tasks;
    }
    product_tasks("protalbert::pack", tasks, elements < worth_a_thread / 10, [=, this](std::int64_t index) {
        const auto& [packing, groups, first_task, end] = shares[index < shares[0].end ? 0 : 1];
        const auto& [to, panels, operand, k, run] = *packing;
        const std::int64_t block = (index - first_task) / groups;
        const std::int64_t panel = (index - first_task) % groups * panels_together, line = panel * panels.width;
        const std::int64_t block_elements = panels.steps.block * kernels_.step_elements, first = block * block_elements;
        Operand part = operand;
        part.from = operand.at(line, first);
        run(to + panels.place(block, panel), part, std::min(panels_together * panels.width, panels.lines - line),
            std::min(block_elements, k - first), panels.steps.of_block(block));
    });
}

const float* KokkosBackend::packed_right(const Panels& panels, const Operand& operand, std::int64_t k) {
    PackedWeight* const weight =
        operand.sums_along_rows ? find(packed_, operand, panels.lines, k) : find(packed_, operand, k, panels.lines);
    GrowingMemory& memory = weight != nullptr ? weight->panels : right_;
    float* const to = memory.floats(panels.size());
    if (weight == nullptr || !weight->current) pack({{to, panels, operand, k, kernels_.pack_right}});
    if (weight != nullptr) weight->current = true;
    return to;
}

void KokkosBackend::product(std::int64_t m, std::int64_t n, std::int64_t k, const Operand& left, const Operand& right,
                            const Finish& finish, std::int64_t sums_stride) {
    if (m == 0 || n == 0) return;
    PROTALBERT_CHECK(k > 0, "products have factors");
    const Panels right_lines = right_panels(kernels_, n, k);
    const float* const b = packed_right(right_lines, right, k);
    // Rows that are whole pages apart meet in the same places of a cache.
    constexpr std::int64_t page = 4096 / sizeof(float);
    const bool as_it_is = kernels_.reads_memory && n <= few_columns && left.stride % page != 0;
    constexpr std::int64_t right_in_cache = 1'000'000;  // elements
    const std::int64_t slice_floats = n * k <= right_in_cache ? left_in_cache * threads_ : left_slice;
    const std::int64_t slice =
        as_it_is
            ? m
            : multiple(std::clamp<std::int64_t>(slice_floats / std::max<std::int64_t>(k, 1), 1, m), kernels_.task_rows);
    const bool alone = m * n * k < worth_a_thread;
    for (std::int64_t first = 0; first < m; first += slice) {
        const std::int64_t rows = std::min(slice, m - first);
        ProductTile whole;
        whole.left_panels = left_panels(kernels_, rows, k);
        whole.right_panels = right_lines;
        whole.right = b;
        Operand part = left;
        part.from += first * left.stride;
        if (as_it_is) {
            whole.left_operand = part;
        } else {
            float* const a = left_.floats(whole.left_panels.size());
            pack({{a, whole.left_panels, part, k, kernels_.pack_left}});
            whole.left = a;
        }
        const TaskTiles tiles = cut(kernels_, rows, n, k, threads_, sums_stride > 0);
        reserve_thread_scratch(tiles.rows * tiles.columns);
        product_tasks("protalbert::product", tiles.count(), alone, [=, this](std::int64_t index) {
            ProductTile tile = whole;
            set_place(tile, tiles, index, rows, n);
            tile.sums = thread_scratch();
            tile.finish = finish.at(first + tile.row, tile.column);
            if (sums_stride > 0) {
                tile.finish.sums += (first + tile.row) / kernels_.task_rows * sums_stride;
                std::fill_n(tile.finish.sums, tile.columns, 0.0F);
            }
            kernels_.compute(tile);
        });
    }
}

void KokkosBackend::add_weight_gradient(float* dweight, const float* dy, const float* x, bool accumulate,
                                        std::int64_t T, std::int64_t N, std::int64_t K) {
    ProductTile whole;
    whole.left_panels = left_panels(kernels_, N, T);
    whole.right_panels = right_panels(kernels_, K, T);
    const Operand left{dy, N, false}, right{x, K, false};
    float* const b = right_.floats(whole.right_panels.size());
    whole.right = b;
    if (kernels_.reads_memory && K <= few_columns && N <= few_columns) {
        whole.left_operand = left;
        pack({{b, whole.right_panels, right, T, kernels_.pack_right}});
    } else {
        float* const a = left_.floats(whole.left_panels.size());
        whole.left = a;
        pack({{a, whole.left_panels, left, T, kernels_.pack_left},
              {b, whole.right_panels, right, T, kernels_.pack_right}});
    }
    const TaskTiles tiles = cut(kernels_, N, K, T, threads_, false);
    Finish finish;
    finish.out = dweight;
    finish.stride = K;
    finish.residual = accumulate ? dweight : nullptr;
    reserve_thread_scratch(tiles.rows * tiles.columns);
    product_tasks("protalbert::weight_gradient", tiles.count(), N * K * T < worth_a_thread,
                  [=, this](std::int64_t index) {
                      ProductTile tile = whole;
                      set_place(tile, tiles, index, N, K);
                      tile.sums = thread_scratch();
                      tile.finish = finish.at(tile.row, tile.column);
                      kernels_.compute(tile);
                  });
}

void KokkosBackend::linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                           std::int64_t K, Stream) {
    Finish finish;
    finish.out = floats(out);
    finish.stride = N;
    finish.bias = floats(bias);
    product(T, N, K, {floats(x), K, true}, {floats(weight), K, true}, finish, 0);
}

void KokkosBackend::linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                                std::int64_t T, std::int64_t N, std::int64_t K, Stream) {
    Finish finish;
    finish.out = floats(out);
    finish.stride = N;
    finish.function = form == Gelu::erf ? Finish::Function::gelu_erf : Finish::Function::gelu_tanh;
    finish.bias = floats(bias);
    finish.before = floats(pre);
    product(T, N, K, {floats(x), K, true}, {floats(weight), K, true}, finish, 0);
}

void KokkosBackend::linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual,
                                         std::int64_t T, std::int64_t N, std::int64_t K, Stream) {
    Finish finish;
    finish.out = floats(dx);
    finish.stride = K;
    finish.residual = floats(residual);
    product(T, K, N, {floats(dy), N, true}, {floats(weight), K, false}, finish, 0);
}

void KokkosBackend::linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight,
                                              Activations pre, Gelu form, std::int64_t T, std::int64_t N,
                                              std::int64_t K, Stream) {
    if (T == 0) return;
    // Each row of tiles adds up its rows.
    const std::int64_t parts = pieces(T, kernels_.task_rows);
    Finish finish;
    finish.out = floats(dpre);
    finish.stride = K;
    finish.function =
        form == Gelu::erf ? Finish::Function::gelu_erf_derivative : Finish::Function::gelu_tanh_derivative;
    finish.argument = floats(pre);
    finish.sums = dbias == nullptr ? nullptr : scratch<float>(parts * K);
    product(T, K, N, {floats(dy), N, true}, {floats(weight), K, false}, finish, dbias == nullptr ? 0 : K);
    if (dbias != nullptr) add_parts(dbias, finish.sums, parts, K, true);
}

void KokkosBackend::linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                           std::int64_t T, std::int64_t N, std::int64_t K, Stream) {
    const float* const a = floats(dy);
    const float* const b = floats(x);
    if (N == 0 || K == 0) return;
    if (T == 0) {
        if (!accumulate) {
            set_zero(dweight, static_cast<std::size_t>(N * K) * sizeof(float), {});
            if (dbias != nullptr) set_zero(dbias, static_cast<std::size_t>(N) * sizeof(float), {});
        }
        return;
    }

    // Both operands are packed, a slice of tokens at a time. Where the result stays in a cache the panels do, too, some
    // 1.6 MB of them.
    constexpr std::int64_t result_in_cache = 500'000;  // elements
    const std::int64_t slice_floats = N * K <= result_in_cache ? 400'000 : gradient_slice;
    const std::int64_t slice = std::clamp<std::int64_t>(slice_floats / (N + K), std::min<std::int64_t>(T, 512), T);
    for (std::int64_t first = 0; first < T; first += slice)
        add_weight_gradient(dweight, a + first * N, b + first * K, accumulate || first > 0, std::min(slice, T - first),
                            N, K);

    if (dbias == nullptr) return;
    // At least 256 rows a chunk, at most 128 chunks: the parts stay small beside dy.
    const std::int64_t chunk = std::max<std::int64_t>(256, pieces(T, 128));
    const std::int64_t chunks = pieces(T, chunk);
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
    parallel("protalbert::add_parts", pieces(n, block), [=](std::int64_t b) {
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

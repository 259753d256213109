// Matrix products of one instruction set (included by product_kernels.cpp for each of them): packing operands into
// panels, multiplying panels, finishing tiles. panels.hpp says what these are.

#include "kernels/kokkos/gelu_kernels.hpp"

/// Rows of a tile in the registers, by two vectors of columns: as many as leave registers for the columns' vectors and
/// an element of the left operand. Eight sums under way keep two multiply-adds a cycle of four cycles each busy.
#if PROTALBERT_LANES == 16
constexpr int tile_rows = 12;
#elif PROTALBERT_LANES == 8
constexpr int tile_rows = 6;
#else
constexpr int tile_rows = 4;
#endif
constexpr int tile_columns = 2 * lanes;

/// How four bytes of a panel hold elements.
enum class Items {
    floats,          ///< one float32
    pairs,           ///< two bfloat16, the first in the lower half
    rounded_floats,  ///< one float32 of bfloat16's precision, two of them a step: for machines that multiply floats
                     ///< only
};

/// bfloat16 nearest to x in the upper half of each element, ties to even; the lower half is zero. NaN stays NaN.
PROTALBERT_INLINE Bits rounded_to_bfloat16(Floats x) {
    const Bits bits = reinterpret_cast<Bits>(x);
    const Bits rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    const Bits quiet = (bits | 0x400000U) & 0xffff0000U;
    return reinterpret_cast<Bits>(x == x ? reinterpret_cast<Floats>(rounded) : reinterpret_cast<Floats>(quiet));
}
PROTALBERT_INLINE Floats pair_of(Floats first, Floats second) {
    return reinterpret_cast<Floats>((rounded_to_bfloat16(first) >> 16) | rounded_to_bfloat16(second));
}
/// Elements 0, 2, 4, ... of a and b, from `first` 0, or 1, 3, 5, ... from 1.
PROTALBERT_INLINE Floats every_second(Floats a, Floats b, int first) {
    return shuffle(a, b, 2 * lane_numbers() + first);
}

PROTALBERT_INLINE Floats load_some(const float* p, std::int64_t n) {
    if (n >= lanes) return load(p);
    return n > 0 ? load_part(p, n) : Floats{};
}

/// Stores the lines from `line` on of one step of a panel. Where the last vector is wider than the panel it runs into
/// the next step, which is stored later; behind the last step nothing may be touched.
template <int width>
PROTALBERT_INLINE void store_lines(float* to, Floats x, int line, bool last) {
    if (line + lanes <= width || !last) {
        store(to + line, x);
    } else {
        store_part(to + line, x, width % lanes);
    }
}

/// Rows of a panel of `steps` steps.
template <Items items>
constexpr std::int64_t panel_rows(std::int64_t steps) {
    return items == Items::rounded_floats ? 2 * steps : steps;
}

/// The items of `lanes` lines of a panel from `line` on, whose elements stand side by side from `first` on. `full`: all
/// lines and elements are there.
template <Items items, int width, bool full>
PROTALBERT_INLINE void load_lines(Floats (&items_of_line)[lanes], const Operand& operand, int line, std::int64_t lines,
                                  std::int64_t first, std::int64_t elements) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
        items_of_line[i] = Floats{};
        if (full ? line + i >= width : line + i >= lines) continue;
        const float* const from = operand.from + (line + i) * operand.stride + first;
        items_of_line[i] = full ? load(from) : load_some(from, elements - first);
        if constexpr (items == Items::pairs) {
            const Floats more = full ? load(from + lanes) : load_some(from + lanes, elements - first - lanes);
            items_of_line[i] =
                pair_of(every_second(items_of_line[i], more, 0), every_second(items_of_line[i], more, 1));
        } else if constexpr (items == Items::rounded_floats) {
            items_of_line[i] = reinterpret_cast<Floats>(rounded_to_bfloat16(items_of_line[i]));
        }
    }
}

/// Sums run along rows. One panel, of which `lines` are there.
template <Items items, int width>
static void pack_transposed(float* to, const Operand& operand, std::int64_t lines, std::int64_t elements,
                            std::int64_t steps) {
    constexpr int elements_a_row = items == Items::pairs ? 2 : 1;
    const std::int64_t rows = panel_rows<items>(steps);
    for (int line = 0; line < width; line += lanes) {
        Floats square[lanes];
        std::int64_t row = 0;
        // The last rows are stored one by one below: nothing behind the panel may be touched.
        for (; lines >= width && (row + lanes) * elements_a_row <= elements && row + lanes < rows; row += lanes) {
            load_lines<items, width, true>(square, operand, line, lines, row * elements_a_row, elements);
            transpose(square);
#pragma GCC unroll 16
            for (int i = 0; i < lanes; ++i) store(to + (row + i) * width + line, square[i]);
        }
        for (; row < rows; row += lanes) {
            load_lines<items, width, false>(square, operand, line, lines, row * elements_a_row, elements);
            transpose(square);
            for (std::int64_t i = 0; i < std::min<std::int64_t>(lanes, rows - row); ++i)
                store_lines<width>(to + (row + i) * width, square[i], line, row + i + 1 == rows);
        }
    }
}

/// Lines stand side by side as in the panels.
template <Items items, int width>
static void pack_straight(float* to, const Operand& operand, std::int64_t lines, std::int64_t elements,
                          std::int64_t steps) {
    constexpr int elements_a_row = items == Items::pairs ? 2 : 1;
    const std::int64_t rows = panel_rows<items>(steps);
    // Rows outside, panels inside: memory is read as it lies, not a piece of each page for every panel.
    for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t element = row * elements_a_row;
        const float* const from = operand.from + element * operand.stride;
        for (std::int64_t first = 0; first < lines; first += width) {
            float* const panel = to + first * rows + row * width;
            for (int line = 0; line < width; line += lanes) {
                const std::int64_t left = lines - first - line;
                Floats x = element < elements ? load_some(from + first + line, left) : Floats{};
                if constexpr (items == Items::pairs) {
                    const float* const next = from + operand.stride + first + line;
                    x = pair_of(x, element + 1 < elements ? load_some(next, left) : Floats{});
                } else if constexpr (items == Items::rounded_floats) {
                    x = reinterpret_cast<Floats>(rounded_to_bfloat16(x));
                }
                store_lines<width>(panel, x, line, row + 1 == rows);
            }
        }
    }
}

template <Items items, int width>
static void pack(float* to, const Operand& operand, std::int64_t lines, std::int64_t elements, std::int64_t steps) {
    if (!operand.sums_along_rows) return pack_straight<items, width>(to, operand, lines, elements, steps);
    for (std::int64_t line = 0; line < lines; line += width) {
        Operand panel = operand;
        panel.from += line * operand.stride;
        pack_transposed<items, width>(to + line * panel_rows<items>(steps), panel, lines - line, elements, steps);
    }
}

/// Where the left operand's elements of a tile and step are: side by side, `stride` floats behind those of the step
/// before, or `stride` floats apart, behind the step before's.
enum class Left { side_by_side, apart };

/// sums += a b for one step: `columns` are the right operand's two vectors, a(r, i) the left operand's item i of row r.
template <Items items, int rows, class LeftItem>
PROTALBERT_INLINE void multiply_step(Floats (&sums)[rows][2], const LeftItem& a, const Floats (&columns)[2]) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
        for (int v = 0; v < 2; ++v) {
            if constexpr (items == Items::floats) {
                sums[r][v] = multiply_add(all(*a(r, 0)), columns[v], sums[r][v]);
            } else if constexpr (items == Items::rounded_floats) {
                const Bits pairs = reinterpret_cast<Bits>(columns[v]);
                sums[r][v] = multiply_add(all(*a(r, 0)), reinterpret_cast<Floats>(pairs << 16), sums[r][v]);
                sums[r][v] = multiply_add(all(*a(r, 1)), reinterpret_cast<Floats>(pairs & 0xffff0000U), sums[r][v]);
            } else {
#ifdef PROTALBERT_MULTIPLIES_PAIRS
                sums[r][v] = multiply_pairs(sums[r][v], a(r, 0), columns[v]);
#endif
            }
        }
    }
}

/// How far ahead the left operand is fetched: further than the second-level cache is away, and no more than the first-
/// level one can spare.
constexpr int steps_ahead = 16;

/// What is done with a tile in the registers.
struct TileEnd {
    float* to;
    std::int64_t to_stride;
    const float* from;  ///< what was summed up before, or null
    std::int64_t from_stride;
    const float* bias;      ///< [tile_columns], or null
    const float* residual;  ///< of to_stride, or null
};

/// to [rows, tile_columns] = from + a b + bias + residual, a b over `steps` steps. Every element is one chain of
/// multiply-adds from the first step to the last, whatever is computed beside it.
template <Items items, Left left, int rows>
static void multiply_rows(const TileEnd& end, const float* a, std::int64_t stride, const float* b, std::int64_t steps) {
    if (end.residual != nullptr) {
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v < 2; ++v) __builtin_prefetch(end.residual + r * end.to_stride + v * lanes);
    }
    Floats sums[rows][2] = {};
    if constexpr (left == Left::side_by_side) {
        for (std::int64_t step = 0; step < steps; ++step) {
            multiply_step<items, rows>(sums, [a](int r, int i) { return a + i * tile_rows + r; },
                                       {load(b), load(b + lanes)});
            __builtin_prefetch(a + steps_ahead * stride);
            a += stride;
            b += tile_columns;
        }
    } else {
        // An address has a base and one index: three rows from each of a few bases.
        const float* bases[(rows + 2) / 3];
        for (int base = 0; base < (rows + 2) / 3; ++base) bases[base] = a + 3 * base * stride;
        for (std::int64_t step = 0; step < steps; ++step) {
            multiply_step<items, rows>(sums, [&](int r, int) { return bases[r / 3] + r % 3 * stride; },
                                       {load(b), load(b + lanes)});
            for (const float*& base : bases) ++base;
            b += tile_columns;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
        for (int v = 0; v < 2; ++v) {
            Floats& sum = sums[r][v];
            if (end.from != nullptr) sum = load(end.from + r * end.from_stride + v * lanes) + sum;
            if (end.bias != nullptr) sum += load(end.bias + v * lanes);
            if (end.residual != nullptr) sum += load(end.residual + r * end.to_stride + v * lanes);
            store(end.to + r * end.to_stride + v * lanes, sum);
        }
    }
}

/// Tiles in vector registers.
template <Items items, Left left>
struct VectorTiles {
    static constexpr std::int64_t rows = tile_rows, columns = tile_columns;
    static constexpr bool finish_sums = true;  ///< whether multiply adds bias and residual

    static void multiply(std::int64_t rows, const TileEnd& end, const float* a, std::int64_t stride, const float* b,
                         std::int64_t steps) {
        using Multiply = void (*)(const TileEnd&, const float*, std::int64_t, const float*, std::int64_t);
        static constexpr auto of_rows = []<int... row>(std::integer_sequence<int, row...>) {
            return std::array<Multiply, sizeof...(row)>{multiply_rows<items, left, row + 1>...};
        }
        (std::make_integer_sequence<int, tile_rows>{});
        of_rows[static_cast<std::size_t>(rows - 1)](end, a, stride, b, steps);
    }
};

/// out = f(product + bias) + residual of `rows` rows of a tile, while it is in the first-level cache.
template <Finish::Function function>
static void finish_rows(const Finish& finish, const float* product, std::int64_t stride, std::int64_t rows,
                        std::int64_t columns) {
    for (std::int64_t n = 0; n < columns; n += lanes) {
        const std::int64_t count = std::min<std::int64_t>(lanes, columns - n);
        const auto get = [count](const float* p) { return load_some(p, count); };
        const auto put = [count](float* p, Floats x) {
            if (count == lanes) {
                store(p, x);
            } else {
                store_part(p, x, count);
            }
        };
        const Floats bias = finish.bias == nullptr ? Floats{} : get(finish.bias + n);
        Floats sums = finish.sums == nullptr ? Floats{} : get(finish.sums + n);
        for (std::int64_t r = 0; r < rows; ++r) {
            const std::int64_t place = r * finish.stride + n;
            Floats x = load(product + r * stride + n);
            if (finish.bias != nullptr) x += bias;
            if constexpr (function == Finish::Function::gelu_erf || function == Finish::Function::gelu_tanh) {
                if (finish.before != nullptr) put(finish.before + place, x);
                constexpr Gelu form = function == Finish::Function::gelu_erf ? Gelu::erf : Gelu::tanh;
                x = gelu<form>(x);
            } else if constexpr (function != Finish::Function::none) {
                constexpr Gelu form = function == Finish::Function::gelu_erf_derivative ? Gelu::erf : Gelu::tanh;
                x *= gelu_derivative<form>(get(finish.argument + place));
            }
            if (finish.residual != nullptr) x += get(finish.residual + place);
            put(finish.out + place, x);
            sums += x;
        }
        if (finish.sums != nullptr) put(finish.sums + n, sums);
    }
}

static void finish_tile(const Finish& finish, const float* product, std::int64_t stride, std::int64_t rows,
                        std::int64_t columns) {
    using Function = Finish::Function;
    switch (finish.function) {
        case Function::none:
            return finish_rows<Function::none>(finish, product, stride, rows, columns);
        case Function::gelu_erf:
            return finish_rows<Function::gelu_erf>(finish, product, stride, rows, columns);
        case Function::gelu_tanh:
            return finish_rows<Function::gelu_tanh>(finish, product, stride, rows, columns);
        case Function::gelu_erf_derivative:
            return finish_rows<Function::gelu_erf_derivative>(finish, product, stride, rows, columns);
        case Function::gelu_tanh_derivative:
            return finish_rows<Function::gelu_tanh_derivative>(finish, product, stride, rows, columns);
    }
}

/// A panel follows the other. While the rows of the left operand pass, each tile fetches its share of the next panel.
PROTALBERT_INLINE void prefetch_share(const float* panel, std::int64_t size, std::int64_t tile, std::int64_t tiles) {
    constexpr std::int64_t line = 16;  // floats of a cache line
    const float* const end = panel + size * (tile + 1) / tiles;
    for (const float* place = panel + size * tile / tiles; place < end; place += line) __builtin_prefetch(place);
}

template <class Tiles>
static void compute(const ProductTile& tile) {
    alignas(64) float finished[Tiles::rows * Tiles::columns];
    const std::int64_t stride = (tile.columns + Tiles::columns - 1) / Tiles::columns * Tiles::columns;
    const std::int64_t row_tiles = (tile.rows + Tiles::rows - 1) / Tiles::rows;
    const Finish& finish = tile.finish;
    const bool at_once = Tiles::finish_sums && finish.function == Finish::Function::none && finish.sums == nullptr;
    const bool packed = tile.left_operand.from == nullptr;
    const std::int64_t left_stride =
        packed ? tile.left_panels.width * tile.left_panels.items : tile.left_operand.stride;
    const Steps& all = tile.right_panels.steps;
    for (std::int64_t block = 0; block < all.blocks(); ++block) {
        const std::int64_t steps = all.of_block(block);
        const bool last = block + 1 == all.blocks();
        // A panel of the right operand stays in the nearest cache that holds it while all rows of the left one pass.
        for (std::int64_t column = 0; column < tile.columns; column += Tiles::columns) {
            const float* const b = tile.right + tile.right_panels.place(block, (tile.column + column) / Tiles::columns);
            const std::int64_t columns = std::min(Tiles::columns, tile.columns - column);
            for (std::int64_t row = 0; row < tile.rows; row += Tiles::rows) {
                const float* const a = packed
                                           ? tile.left + tile.left_panels.place(block, (tile.row + row) / Tiles::rows)
                                           : tile.left_operand.at(tile.row + row, block * all.block);
                float* const sums = tile.sums + row * stride + column;
                const std::int64_t rows = std::min(Tiles::rows, tile.rows - row);
                TileEnd end{sums, stride, block == 0 ? nullptr : sums, stride, nullptr, nullptr};
                if (last && at_once && columns == Tiles::columns) {
                    const std::int64_t place = row * finish.stride + column;
                    end.to = finish.out + place;
                    end.to_stride = finish.stride;
                    if (finish.bias != nullptr) end.bias = finish.bias + column;
                    if (finish.residual != nullptr) end.residual = finish.residual + place;
                } else if (last) {
                    end.to = finished;
                    end.to_stride = Tiles::columns;
                }
                prefetch_share(b + steps * Tiles::columns, steps * Tiles::columns, row / Tiles::rows, row_tiles);
                Tiles::multiply(rows, end, a, left_stride, b, steps);
                if (end.to == finished) finish_tile(finish.at(row, column), finished, Tiles::columns, rows, columns);
            }
        }
    }
}

template <Items items>
static void compute_tile(const ProductTile& tile) {
    if constexpr (items == Items::floats) {
        if (tile.left_operand.from != nullptr && tile.left_operand.sums_along_rows)
            return compute<VectorTiles<items, Left::apart>>(tile);
    }
    compute<VectorTiles<items, Left::side_by_side>>(tile);
}

/// Steps of a block, as measured: a panel of the right operand takes 32 KB of float32 with AVX-512, 24 KB with AVX2.
constexpr int block_steps = lanes == 8 ? 384 : 256;

template <Items left, Items right>
static constexpr ProductKernels vector_kernels(const char* name) {
    return {.name = name,
            .rows = tile_rows,
            .columns = tile_columns,
            .left_items = left == Items::rounded_floats ? 2 : 1,
            .step_elements = left == Items::floats ? 1 : 2,
            .step_multiple = 1,
            .block_steps = block_steps,
            .task_rows = 576,
            .reads_memory = left == Items::floats,
            .pack_left = pack<left, tile_rows>,
            .pack_right = pack<right, tile_columns>,
            .compute = compute_tile<left>};
}

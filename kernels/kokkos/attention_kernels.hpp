// Tiles of attention for one instruction set (included by attention.cpp through for_each_instruction_set.hpp).
//
// One head of one sequence: L tokens, head size D, padded to Dp, a multiple of the vector length. Keys go by in groups
// of key_group, packed so that the caches hold them (k and v transposed for scores, as rows for sums); a group in tiles
// of key_tile; queries in blocks of query_block. Nothing larger than a tile of scores exists. Everything adds in an
// order that depends on L alone.

/// Keys of one tile of scores: four vectors of 16, a panel of 16 KB for D = 64 in the first-level cache.
constexpr std::int64_t key_tile = 64;
/// Rows of a tile of scores: a multiple of every number of rows in row_counts.
constexpr std::int64_t query_block = 48;

// A small matrix product in registers

/// Vectors of accumulators a row and, by that number, rows at once: as many as fit the registers beside the operands.
#if PROTALBERT_LANES == 16
constexpr int most_vectors = 4;
constexpr int row_counts[most_vectors] = {12, 12, 8, 6};
#else
constexpr int most_vectors = 2;
constexpr int row_counts[most_vectors] = {12, 6};
#endif
constexpr int most_rows = 12;

/// What happens to c: c = a b, c += a b, or c = factor c + a b with a factor a row.
enum class Update { set, add, scale_and_add };

/// c [R, V lanes] from a [R, K] (or its transpose [K, R]) and b [K, V lanes]; the strides are between rows in memory.
template <int R, int V, Update update, bool transposed>
[[gnu::noinline]] static void register_product(float* c, std::int64_t c_stride, const float* a, std::int64_t a_stride,
                                               const float* b, std::int64_t b_stride, std::int64_t K,
                                               const float* factors) {
    Floats sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            if constexpr (update == Update::set) {
                sum[r][v] = Floats{};
            } else if constexpr (update == Update::add) {
                sum[r][v] = load(c + r * c_stride + v * lanes);
            } else {
                sum[r][v] = load(c + r * c_stride + v * lanes) * factors[r];
            }
        }
    }
    for (std::int64_t k = 0; k < K; ++k) {
        Floats row[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) row[v] = load(b + v * lanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const float factor = transposed ? a[r] : a[r * a_stride];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[r][v] += factor * row[v];
        }
        a += transposed ? a_stride : 1;
        b += b_stride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(c + r * c_stride + v * lanes, sum[r][v]);
    }
}

using RegisterProduct = void (*)(float*, std::int64_t, const float*, std::int64_t, const float*, std::int64_t,
                                 std::int64_t, const float*);

/// register_product for every number of rows up to row_counts.
template <Update update, bool transposed>
struct RegisterProducts {
    RegisterProduct of[most_vectors][most_rows] = {};

    constexpr RegisterProducts() { fill_vectors(std::make_integer_sequence<int, most_vectors>()); }
    template <int... V>
    constexpr void fill_vectors(std::integer_sequence<int, V...>) {
        (fill_rows<V>(std::make_integer_sequence<int, row_counts[V]>()), ...);
    }
    template <int V, int... R>
    constexpr void fill_rows(std::integer_sequence<int, R...>) {
        ((of[V][R] = &register_product<R + 1, V + 1, update, transposed>), ...);
    }
};

/// c [rows, columns] from a [rows, K] (transposed: [K, rows]) and b [K, columns]; columns is a multiple of lanes.
template <Update update, bool transposed>
static void tile_product(float* c, std::int64_t c_stride, const float* a, std::int64_t a_stride, const float* b,
                         std::int64_t b_stride, std::int64_t rows, std::int64_t columns, std::int64_t K,
                         const float* factors = nullptr) {
    static constexpr RegisterProducts<update, transposed> products;
    std::int64_t vectors = columns / lanes;
    while (vectors > 0) {
        // Equal panels: five vectors are three and two, not four and one.
        const std::int64_t panels = (vectors + most_vectors - 1) / most_vectors;
        const std::int64_t now = (vectors + panels - 1) / panels;
        const RegisterProduct* const of = products.of[now - 1];
        const std::int64_t step = row_counts[now - 1];
        for (std::int64_t r = 0; r < rows; r += step) {
            of[std::min(step, rows - r) - 1](c + r * c_stride, c_stride, a + (transposed ? r : r * a_stride), a_stride,
                                             b, b_stride, K, factors == nullptr ? nullptr : factors + r);
        }
        c += now * lanes;
        b += now * lanes;
        vectors -= now;
    }
}

// Packing

/// to [rows, padded] = from [rows, D] factor, zeros behind D.
static void pack_rows(float* to, const float* from, std::int64_t stride, std::int64_t rows, std::int64_t D,
                      std::int64_t padded, float factor) {
    for (std::int64_t r = 0; r < rows; ++r) {
        const float* const x = from + r * stride;
        float* const y = to + r * padded;
        std::int64_t d = 0;
        for (; d + lanes <= D; d += lanes) store(y + d, load(x + d) * factor);
        if (d < D) store(y + d, load_part(x + d, D - d) * factor);
    }
}

/// to [D, key_tile] = from [rows, D]^T, zeros behind `rows` up to the next multiple of lanes.
static void pack_transposed(float* to, const float* from, std::int64_t stride, std::int64_t rows, std::int64_t D) {
    for (std::int64_t r = 0; r < rows; r += lanes) {
        for (std::int64_t d = 0; d < D; d += lanes) {
            Floats square[lanes];
            for (int i = 0; i < lanes; ++i) {
                const float* const x = from + (r + i) * stride + d;
                square[i] = r + i >= rows ? Floats{} : d + lanes <= D ? load(x) : load_part(x, D - d);
            }
            transpose(square);
            for (int i = 0; i < lanes; ++i) {
                if (d + i < D) store(to + (d + i) * key_tile + r, square[i]);
            }
        }
    }
}

// Forward

/// Some queries of one head of one sequence against all its keys.
static void attention_forward_task(const AttentionForward& task, float* memory) {
    const std::int64_t L = task.length;
    const std::int64_t D = task.D;
    const std::int64_t padded = task.padded;
    const std::int64_t queries = task.last_query - task.first_query;
    const std::int64_t group = std::min(L, attention_key_group);
    const std::int64_t group_tiles = (group + key_tile - 1) / key_tile;
    float* const q = memory;                                  // [query_block, padded], times scale log2 e
    float* const scores = q + query_block * padded;           // [query_block, key_tile]
    float* const changes = scores + query_block * key_tile;   // [key_tile]: 2^(old - new largest score) of a row
    float* const largest = changes + key_tile;                // [queries] largest score so far, in units of log 2
    float* const sums = largest + attention_query_group;      // [queries, lanes] sums of probabilities so far
    float* const out = sums + attention_query_group * lanes;  // [queries, padded] sum of probabilities times v
    float* const k = out + attention_query_group * padded;    // [group_tiles, D, key_tile]
    float* const v = k + group_tiles * D * key_tile;          // [group, padded]
    const Ints numbers = lane_numbers();

    for (std::int64_t i = 0; i < queries; ++i) {
        largest[i] = -std::numeric_limits<float>::infinity();
        store(sums + i * lanes, Floats{});
    }
    for (std::int64_t first = 0; first < L; first += group) {
        const std::int64_t keys_of_group = std::min(group, L - first);
        for (std::int64_t j = 0; j < keys_of_group; j += key_tile) {
            pack_transposed(k + j * D, task.k + (first + j) * task.stride, task.stride,
                            std::min(key_tile, keys_of_group - j), D);
        }
        pack_rows(v, task.v + first * task.stride, task.stride, keys_of_group, D, padded, 1);
        for (std::int64_t i = 0; i < queries; i += query_block) {
            const std::int64_t rows = std::min(query_block, queries - i);
            pack_rows(q, task.q + (task.first_query + i) * task.stride, task.stride, rows, D, padded,
                      task.scale * log2_e);
            for (std::int64_t j = 0; j < keys_of_group; j += key_tile) {
                const std::int64_t keys = std::min(key_tile, keys_of_group - j);
                const std::int64_t vectors = (keys + lanes - 1) / lanes;
                const Ints last_valid = numbers < all_ints(static_cast<std::int32_t>(keys - (vectors - 1) * lanes));
                tile_product<Update::set, false>(scores, key_tile, q, padded, k + j * D, key_tile, rows,
                                                 vectors * lanes, D);
                for (std::int64_t r = 0; r < rows; ++r) {
                    float* const row = scores + r * key_tile;
                    float* const last = row + (vectors - 1) * lanes;
                    // Columns behind the last key: so low that their probability is 0.
                    Floats top = last_valid ? load(last) : all(-std::numeric_limits<float>::max());
                    store(last, top);
                    for (std::int64_t n = 0; n + 1 < vectors; ++n) top = larger(load(row + n * lanes), top);
                    const float before = largest[i + r];
                    const float now = std::max(before, largest_of(top));
                    changes[r] = before - now;
                    largest[i + r] = now;
                }
                for (std::int64_t r = 0; r < rows; r += lanes) store(changes + r, exp2(load(changes + r)));
                for (std::int64_t r = 0; r < rows; ++r) {
                    float* const row = scores + r * key_tile;
                    Floats sum = load(sums + (i + r) * lanes) * changes[r];
                    for (std::int64_t n = 0; n < vectors; ++n) {
                        const Floats p = exp2(load(row + n * lanes) - largest[i + r]);
                        sum += p;
                        store(row + n * lanes, p);
                    }
                    store(sums + (i + r) * lanes, sum);
                }
                if (first + j == 0) {
                    tile_product<Update::set, false>(out + i * padded, padded, scores, key_tile, v + j * padded, padded,
                                                     rows, padded, keys);
                } else {
                    tile_product<Update::scale_and_add, false>(out + i * padded, padded, scores, key_tile,
                                                               v + j * padded, padded, rows, padded, keys, changes);
                }
            }
        }
    }
    for (std::int64_t i = 0; i < queries; ++i) {
        const float sum = sum_of(load(sums + i * lanes));
        const float inverse = 1 / sum;
        float* const to = task.out + (task.first_query + i) * task.out_stride;
        std::int64_t d = 0;
        for (; d + lanes <= D; d += lanes) store(to + d, load(out + i * padded + d) * inverse);
        if (d < D) store_part(to + d, load(out + i * padded + d) * inverse, D - d);
        if (task.logsumexp != nullptr) {
            task.logsumexp[task.first_query + i] = largest[i] * ln_2 + std::log(sum);
        }
    }
}

/// Floats of memory that attention_forward_task needs.
static std::int64_t attention_forward_memory(std::int64_t length, std::int64_t D, std::int64_t padded) {
    const std::int64_t group = std::min(length, attention_key_group);
    const std::int64_t group_tiles = (group + key_tile - 1) / key_tile;
    return query_block * (padded + key_tile) + key_tile + attention_query_group * (1 + lanes + padded) +
           group_tiles * key_tile * D + group * padded;
}

// Backward

/// sums [rows] = row by row product of dout and out, both [rows, D] with the given stride.
static void attention_delta(float* sums, const float* dout, const float* out, std::int64_t stride, std::int64_t rows,
                            std::int64_t D) {
    for (std::int64_t r = 0; r < rows; ++r) {
        Floats sum{};
        std::int64_t d = 0;
        for (; d + lanes <= D; d += lanes) sum += load(dout + r * stride + d) * load(out + r * stride + d);
        if (d < D) sum += load_part(dout + r * stride + d, D - d) * load_part(out + r * stride + d, D - d);
        sums[r] = sum_of(sum);
    }
}

/// to [D] = from factor, or += when `add`.
static void put_row(float* to, const float* from, std::int64_t D, float factor, bool add) {
    std::int64_t d = 0;
    for (; d + lanes <= D; d += lanes) {
        const Floats x = load(from + d) * factor;
        store(to + d, add ? load(to + d) + x : x);
    }
    if (d < D) {
        const Floats x = load(from + d) * factor;
        store_part(to + d, add ? load_part(to + d, D - d) + x : x, D - d);
    }
}

/// Gradients of one head of one sequence: of some queries (want_dq), of some keys and values (want_dkv), or both.
static void attention_backward_task(const AttentionBackward& task, float* memory) {
    const std::int64_t L = task.length;
    const std::int64_t D = task.D;
    const std::int64_t padded = task.padded;
    const std::int64_t group = std::min(L, attention_key_group);
    const std::int64_t group_tiles = (group + key_tile - 1) / key_tile;
    float* const q = memory;                          // [query_block, padded], times scale log2 e
    float* const dout = q + query_block * padded;     // [query_block, padded]
    float* const dq = dout + query_block * padded;    // [query_block, padded], without the scale
    float* const p = dq + query_block * padded;       // [query_block, key_tile] probabilities
    float* const ds = p + query_block * key_tile;     // [query_block, key_tile] gradients of scores
    float* const k = ds + query_block * key_tile;     // [group, padded]
    float* const dk = k + group * padded;             // [group, padded], without the scale
    float* const dv = dk + group * padded;            // [group, padded]
    float* const k_transposed = dv + group * padded;  // [group_tiles, D, key_tile]
    float* const v_transposed = k_transposed + group_tiles * D * key_tile;

    for (std::int64_t first = task.first_key; first < task.last_key; first += group) {
        const std::int64_t keys_of_group = std::min(group, task.last_key - first);
        for (std::int64_t j = 0; j < keys_of_group; j += key_tile) {
            const std::int64_t keys = std::min(key_tile, keys_of_group - j);
            pack_transposed(k_transposed + j * D, task.k + (first + j) * task.stride, task.stride, keys, D);
            pack_transposed(v_transposed + j * D, task.v + (first + j) * task.stride, task.stride, keys, D);
        }
        if (task.want_dq) pack_rows(k, task.k + first * task.stride, task.stride, keys_of_group, D, padded, 1);
        if (task.want_dkv) {
            std::memset(dk, 0, static_cast<std::size_t>(keys_of_group * padded) * sizeof(float));
            std::memset(dv, 0, static_cast<std::size_t>(keys_of_group * padded) * sizeof(float));
        }
        for (std::int64_t i = task.first_query; i < task.last_query; i += query_block) {
            const std::int64_t rows = std::min(query_block, task.last_query - i);
            pack_rows(q, task.q + i * task.stride, task.stride, rows, D, padded, task.scale * log2_e);
            pack_rows(dout, task.dout + i * task.out_stride, task.out_stride, rows, D, padded, 1);
            for (std::int64_t j = 0; j < keys_of_group; j += key_tile) {
                const std::int64_t keys = std::min(key_tile, keys_of_group - j);
                const std::int64_t columns = (keys + lanes - 1) / lanes * lanes;
                tile_product<Update::set, false>(p, key_tile, q, padded, k_transposed + j * D, key_tile, rows, columns,
                                                 D);
                tile_product<Update::set, false>(ds, key_tile, dout, padded, v_transposed + j * D, key_tile, rows,
                                                 columns, D);
                // Columns behind the last key hold nonsense that no product reads.
                for (std::int64_t r = 0; r < rows; ++r) {
                    const float logsumexp = task.logsumexp[i + r] * log2_e;
                    const float delta = task.delta[i + r];
                    for (std::int64_t n = r * key_tile; n < r * key_tile + columns; n += lanes) {
                        const Floats probability = exp2(load(p + n) - logsumexp);
                        store(p + n, probability);
                        store(ds + n, probability * (load(ds + n) - delta));
                    }
                }
                if (task.want_dkv) {
                    tile_product<Update::add, true>(dv + j * padded, padded, p, key_tile, dout, padded, keys, padded,
                                                    rows);
                    tile_product<Update::add, true>(dk + j * padded, padded, ds, key_tile, q, padded, keys, padded,
                                                    rows);
                }
                if (!task.want_dq) continue;
                if (j == 0) {
                    tile_product<Update::set, false>(dq, padded, ds, key_tile, k + j * padded, padded, rows, padded,
                                                     keys);
                } else {
                    tile_product<Update::add, false>(dq, padded, ds, key_tile, k + j * padded, padded, rows, padded,
                                                     keys);
                }
            }
            for (std::int64_t r = 0; task.want_dq && r < rows; ++r) {
                put_row(task.dq + (i + r) * task.stride, dq + r * padded, D, task.scale, first > 0);
            }
        }
        for (std::int64_t j = 0; task.want_dkv && j < keys_of_group; ++j) {
            // q holds scale log2 e, the gradient wants the scale alone.
            put_row(task.dk + (first + j) * task.stride, dk + j * padded, D, ln_2, false);
            put_row(task.dv + (first + j) * task.stride, dv + j * padded, D, 1, false);
        }
    }
}

/// Floats of memory that attention_backward_task needs.
static std::int64_t attention_backward_memory(std::int64_t length, std::int64_t D, std::int64_t padded) {
    const std::int64_t group = std::min(length, attention_key_group);
    const std::int64_t group_tiles = (group + key_tile - 1) / key_tile;
    return query_block * (3 * padded + 2 * key_tile) + group * 3 * padded + 2 * group_tiles * key_tile * D;
}

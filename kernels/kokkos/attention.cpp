// Attention within each sequence, tile by tile (flash attention, Dao et al. 2022, arXiv:2205.14135): the forward pass
// keeps a running maximum and sum for each query, the backward pass recomputes the probabilities from the logsumexp.
//
// Tasks are (sequence, head, group of queries or keys), the longest sequences first, each in one thread. Their sums do
// not depend on how the work is shared out, so results are the same bits for any number of threads and any packing.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/kokkos/backend_class.hpp"
#include "kernels/kokkos/instruction_sets.hpp"

namespace protalbert {

/// Keys that are packed at once: k and v in three or five forms of 64 KB each (D = 64), within the second-level cache.
constexpr std::int64_t attention_key_group = 256;
/// Queries of one forward task: enough to hide packing the keys (2 % of its time), few enough to share out.
constexpr std::int64_t attention_query_group = 480;

/// One task of the forward pass. Pointers are to the sequence's first row and the head's first column.
struct AttentionForward {
    float* out;
    float* logsumexp;  ///< null: not wanted
    const float *q, *k, *v;
    std::int64_t stride, out_stride;  ///< 3H, H
    std::int64_t length, first_query, last_query;
    std::int64_t D, padded;  ///< head size, and its next multiple of the vector length
    float scale;             ///< 1 / sqrt D
};

/// One task of the backward pass. All keys for want_dq, all queries for want_dkv.
struct AttentionBackward {
    float *dq, *dk, *dv;
    const float *dout, *q, *k, *v, *logsumexp;
    const float* delta;               ///< sum of dout out for each query
    std::int64_t stride, out_stride;  ///< 3H, H
    std::int64_t length, first_query, last_query, first_key, last_key;
    std::int64_t D, padded;
    float scale;
    bool want_dq, want_dkv;
};

}  // namespace protalbert

#define PROTALBERT_KERNELS "kernels/kokkos/attention_kernels.hpp"
#include "kernels/kokkos/for_each_instruction_set.hpp"

namespace protalbert {

namespace {

/// A part of one sequence's work: the same for each head.
struct Part {
    std::int64_t sequence;
    std::int64_t first, last;  ///< queries or keys
    int kind;                  ///< backward: 0 everything, 1 keys and values, 2 queries
};

std::int64_t length_of(const PackedSequences& sequences, std::int64_t s) {
    return sequences.host_offsets[s + 1] - sequences.host_offsets[s];
}

/// order [count] = numbers of the sequences that are not empty, longest first. Returns the count.
std::int64_t longest_first(std::int64_t* order, const PackedSequences& sequences) {
    std::int64_t count = 0;
    for (std::int64_t s = 0; s < sequences.count; ++s) {
        if (length_of(sequences, s) > 0) order[count++] = s;
    }
    std::sort(order, order + count, [&](std::int64_t a, std::int64_t b) {
        const std::int64_t length_a = length_of(sequences, a);
        const std::int64_t length_b = length_of(sequences, b);
        return length_a != length_b ? length_a > length_b : a < b;
    });
    return count;
}

std::int64_t padded_head(std::int64_t D) {
    const std::int64_t vector = PROTALBERT_SELECT(lanes);
    return (D + vector - 1) / vector * vector;
}

}  // namespace

void KokkosBackend::attention_forward(Activations out, float* logsumexp, Activations qkv, PackedSequences sequences,
                                      std::int64_t A, std::int64_t D, Stream) {
    const std::int64_t H = A * D;
    const std::int64_t T = sequences.tokens;
    const std::int64_t padded = padded_head(D);
    const auto run = PROTALBERT_SELECT(attention_forward_task);
    const auto memory = PROTALBERT_SELECT(attention_forward_memory);
    // Every sequence gives one part more than it has full groups, at most.
    const std::int64_t most_parts = sequences.count + T / attention_query_group;
    auto* const part = reinterpret_cast<Part*>(
        scratch<std::byte>(most_parts * std::int64_t{sizeof(Part)} + sequences.count * std::int64_t{sizeof(T)}));
    auto* const order = reinterpret_cast<std::int64_t*>(part + most_parts);
    const std::int64_t nonempty = longest_first(order, sequences);
    std::int64_t parts = 0;
    for (std::int64_t n = 0; n < nonempty; ++n) {
        const std::int64_t s = order[n];
        for (std::int64_t i = 0; i < length_of(sequences, s); i += attention_query_group) {
            part[parts++] = {s, i, std::min(i + attention_query_group, length_of(sequences, s)), 0};
        }
    }
    float* const to = floats(out);
    const float* const from = floats(qkv);
    const float scale = 1 / std::sqrt(static_cast<float>(D));
    if (nonempty > 0) reserve_thread_scratch(memory(length_of(sequences, order[0]), D, padded));
    parallel_tasks("protalbert::attention_forward", parts * A, [=, this](std::int64_t task) {
        const auto& [s, first, last, kind] = part[task / A];
        const std::int64_t a = task % A;
        const std::int64_t begin = sequences.host_offsets[s];
        const std::int64_t length = length_of(sequences, s);
        const float* const q = from + begin * 3 * H + a * D;
        run({to + begin * H + a * D, logsumexp == nullptr ? nullptr : logsumexp + a * T + begin, q, q + H, q + 2 * H,
             3 * H, H, length, first, last, D, padded, scale},
            thread_scratch());
    });
}

void KokkosBackend::attention_backward(Activations dqkv, Activations dout, Activations out, Activations qkv,
                                       const float* logsumexp, PackedSequences sequences, std::int64_t A,
                                       std::int64_t D, Stream) {
    const std::int64_t H = A * D;
    const std::int64_t T = sequences.tokens;
    const std::int64_t padded = padded_head(D);
    const float* const gradient = floats(dout);
    const float* const result = floats(out);

    // A sequence that is cut gives a part of each kind more than it has full groups, at most.
    const std::int64_t most_parts = 2 * (sequences.count + T / attention_key_group);
    auto* const part = reinterpret_cast<Part*>(scratch<std::byte>(most_parts * std::int64_t{sizeof(Part)} +
                                                                  sequences.count * std::int64_t{sizeof(T)} +
                                                                  A * T * std::int64_t{sizeof(float)}));
    auto* const order = reinterpret_cast<std::int64_t*>(part + most_parts);
    float* const delta = reinterpret_cast<float*>(order + sequences.count);  // [A, T]
    const auto sum_rows = PROTALBERT_SELECT(attention_delta);
    constexpr std::int64_t rows = 64;  // of one task: a few microseconds
    parallel("protalbert::attention_delta", (T + rows - 1) / rows, [=](std::int64_t block) {
        const std::int64_t t = block * rows;
        for (std::int64_t a = 0; a < A; ++a) {
            sum_rows(delta + a * T + t, gradient + t * H + a * D, result + t * H + a * D, H, std::min(rows, T - t), D);
        }
    });

    // A sequence whose one task would keep the other threads waiting is cut: its keys and its queries go to tasks of
    // their own, at the price of computing the probabilities twice. The sums stay the same.
    constexpr double price = 1.4;  // seven products instead of five
    const std::int64_t nonempty = longest_first(order, sequences);
    double total = 0;
    for (std::int64_t n = 0; n < nonempty; ++n) {
        const auto length = static_cast<double>(length_of(sequences, order[n]));
        total += static_cast<double>(A) * length * length;
    }
    std::int64_t parts = 0;
    for (std::int64_t n = 0; n < nonempty; ++n) {
        const std::int64_t s = order[n];
        const std::int64_t length = length_of(sequences, s);
        const bool cut = static_cast<double>(length * length) > price * total / threads_;
        if (!cut) part[parts++] = {s, 0, length, 0};
        for (int kind = 1; cut && kind <= 2; ++kind) {
            for (std::int64_t i = 0; i < length; i += attention_key_group) {
                part[parts++] = {s, i, std::min(i + attention_key_group, length), kind};
            }
        }
    }
    float* const to = floats(dqkv);
    const float* const from = floats(qkv);
    const float scale = 1 / std::sqrt(static_cast<float>(D));
    const auto run = PROTALBERT_SELECT(attention_backward_task);
    const auto memory = PROTALBERT_SELECT(attention_backward_memory);
    if (nonempty > 0) reserve_thread_scratch(memory(length_of(sequences, order[0]), D, padded));
    parallel_tasks("protalbert::attention_backward", parts * A, [=, this](std::int64_t task) {
        const auto& [s, first, last, kind] = part[task / A];
        const std::int64_t a = task % A;
        const std::int64_t begin = sequences.host_offsets[s];
        const std::int64_t length = length_of(sequences, s);
        const std::int64_t row = begin * 3 * H + a * D;
        const bool some_keys = kind == 1;
        const bool some_queries = kind == 2;
        run({to + row,
             to + row + H,
             to + row + 2 * H,
             gradient + begin * H + a * D,
             from + row,
             from + row + H,
             from + row + 2 * H,
             logsumexp + a * T + begin,
             delta + a * T + begin,
             3 * H,
             H,
             length,
             some_keys ? 0 : first,
             some_keys ? length : last,
             some_queries ? 0 : first,
             some_queries ? length : last,
             D,
             padded,
             scale,
             !some_keys,
             !some_queries},
            thread_scratch());
    });
}

}  // namespace protalbert

// LAMB, AdamW and the gradient's norm, each a few kernels over all variables at once.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/packs.cuh"

namespace protalbert::cuda {

namespace {

constexpr int threads = 256;
/// Elements of a block: ProtAlbert's 223 M make 6800 blocks, whose starts and last sums are nothing beside the work. A
/// constant, so that sums have the same order on every GPU.
constexpr std::int64_t piece_size = 32768;

/// A piece of a variable, the work of one block.
struct Piece {
    std::int64_t first;
    std::int32_t size;
    std::int32_t variable;
};

/// What the kernels know of a variable.
struct VariableEntry {
    std::int64_t first_piece, pieces;
    bool regularised;
};

/// Sums of squares of a piece's values and of its update.
struct SquareSums {
    double w, u;
};

/// A step's factors in float32. rest1 = 1 - beta1, rest2 = 1 - beta2, each rounded once.
struct Factors {
    float beta1, rest1, beta2, rest2, epsilon, decay, rate;
    double clip;
    const double* squared_norm;
};

/// min(1, clip / norm); 1 without clipping; negative when the norm is not finite and the step must be left out.
__device__ float clip_factor(const Factors& factors) {
    if (factors.squared_norm == nullptr) return 1;
    const double squared = *factors.squared_norm;
    if (squared - squared != 0) return -1;  // infinite or not a number: the difference is neither
    if (factors.clip <= 0) return 1;
    const double norm = sqrt(squared);
    return norm > factors.clip ? static_cast<float>(factors.clip / norm) : 1.0F;
}

/// The block's sum in one thread's hands, in a fixed order.
__device__ double sum_of_block(double value, Shared<double> sums) {
    value = warp_sum(value);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x % 32 == 0) sums[warp] = value;
    __syncthreads();
    if (threadIdx.x > 0) return 0;
    double sum = 0;
    for (int w = 0; w < threads / 32; ++w) sum += sums[w];
    return sum;
}

/// body(i, Number<Width>) for the elements [0, size) of a piece: four at a time where the arrays are aligned.
template <class Body>
__device__ void for_piece(const Piece& piece, bool arrays_aligned, const Body& body) {
    std::int64_t scalar_begin = 0;
    if (arrays_aligned && piece.first % 4 == 0) {
        scalar_begin = piece.size / 4 * 4;
        for (std::int64_t i = threadIdx.x * 4; i < scalar_begin; i += threads * 4) body(piece.first + i, Number<4>{});
    }
    for (std::int64_t i = scalar_begin + threadIdx.x; i < piece.size; i += threads) body(piece.first + i, Number<1>{});
}

template <int Width>
__device__ void store_copies(bfloat16* to, const float (&values)[Width]) {
    if constexpr (Width == 1) {
        *to = __float2bfloat16_rn(values[0]);
    } else {
        std::uint32_t halves[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) halves[i] = __bfloat16_as_ushort(__float2bfloat16_rn(values[i]));
        *reinterpret_cast<uint2*>(to) = make_uint2(halves[0] | halves[1] << 16, halves[2] | halves[3] << 16);
    }
}

/// Moments and updates; grid (pieces). With a trust ratio the updates replace the gradients and their squares go to
/// `squares` [pieces]; without one (Apply) the parameters and their copies move at once.
template <bool Apply>
__global__ void update_moments_kernel(float* w, bfloat16* copies, float* m, float* v, float* gradient,
                                      SquareSums* squares, const Piece* pieces, const VariableEntry* variables,
                                      Factors factors, bool arrays_aligned) {
    SHARED_ARRAY(double, w_sums, threads / 32);
    SHARED_ARRAY(double, u_sums, threads / 32);
    const float clip = clip_factor(factors);
    if (clip < 0) return;
    const Piece piece = pieces[blockIdx.x];
    const float decay = variables[piece.variable].regularised ? factors.decay : 0;
    float w_squares = 0, u_squares = 0;  // of at most 128 values a thread
    for_piece(piece, arrays_aligned, [&](std::int64_t i, auto width) {
        constexpr int Width = decltype(width)::value;
        float g[Width], m_i[Width], v_i[Width], w_i[Width], u[Width];
        load_floats<Width>(g, gradient + i);
        load_floats<Width>(m_i, m + i);
        load_floats<Width>(v_i, v + i);
        load_floats<Width>(w_i, w + i);
#pragma unroll
        for (int k = 0; k < Width; ++k) {
            g[k] *= clip;
            m_i[k] = factors.beta1 * m_i[k] + factors.rest1 * g[k];
            v_i[k] = factors.beta2 * v_i[k] + factors.rest2 * (g[k] * g[k]);
            u[k] = m_i[k] / (sqrtf(v_i[k]) + factors.epsilon) + decay * w_i[k];
            w_squares += w_i[k] * w_i[k];
            u_squares += u[k] * u[k];
        }
        store_floats<Width>(m + i, m_i);
        store_floats<Width>(v + i, v_i);
        if constexpr (Apply) {
#pragma unroll
            for (int k = 0; k < Width; ++k) w_i[k] -= factors.rate * u[k];
            store_floats<Width>(w + i, w_i);
            if (copies != nullptr) store_copies<Width>(copies + i, w_i);
        } else {
            store_floats<Width>(gradient + i, u);
        }
    });
    if constexpr (!Apply) {
        const double w_sum = sum_of_block(static_cast<double>(w_squares), w_sums);
        const double u_sum = sum_of_block(static_cast<double>(u_squares), u_sums);
        if (threadIdx.x == 0) squares[blockIdx.x] = {w_sum, u_sum};
    }
}

/// rates [variables] = learning rate times the trust ratio |w| / |u|. Grid (variables), one warp each; a variable's
/// pieces are added by lanes, each its every 32nd, then the lanes.
__global__ void trust_ratios_kernel(float* rates, const SquareSums* squares, const VariableEntry* variables,
                                    Factors factors) {
    if (clip_factor(factors) < 0) return;  // the squares were never written
    const VariableEntry variable = variables[blockIdx.x];
    double w = 0, u = 0;
    for (std::int64_t p = threadIdx.x; p < variable.pieces; p += 32) {
        w += squares[variable.first_piece + p].w;
        u += squares[variable.first_piece + p].u;
    }
    w = warp_sum(w);
    u = warp_sum(u);
    if (threadIdx.x > 0) return;
    const bool scaled = variable.regularised && w > 0 && u > 0;
    rates[blockIdx.x] = static_cast<float>(static_cast<double>(factors.rate) * (scaled ? sqrt(w) / sqrt(u) : 1));
}

/// w -= rate u, and the copies. Grid (pieces).
__global__ void apply_kernel(float* w, bfloat16* copies, const float* u, const float* rates, const Piece* pieces,
                             Factors factors, bool arrays_aligned) {
    if (clip_factor(factors) < 0) return;
    const Piece piece = pieces[blockIdx.x];
    const float rate = rates[piece.variable];
    for_piece(piece, arrays_aligned, [&](std::int64_t i, auto width) {
        constexpr int Width = decltype(width)::value;
        float w_i[Width], u_i[Width];
        load_floats<Width>(w_i, w + i);
        load_floats<Width>(u_i, u + i);
#pragma unroll
        for (int k = 0; k < Width; ++k) w_i[k] -= rate * u_i[k];
        store_floats<Width>(w + i, w_i);
        if (copies != nullptr) store_copies<Width>(copies + i, w_i);
    });
}

/// partials [pieces]: sums of squares in double precision. Grid (pieces).
__global__ void squares_kernel(double* partials, const float* x, std::int64_t n, bool array_aligned) {
    SHARED_ARRAY(double, sums, threads / 32);
    const std::int64_t first = blockIdx.x * piece_size;
    const std::int64_t rest = n - first;
    const Piece piece{first, static_cast<std::int32_t>(rest < piece_size ? rest : piece_size), 0};
    double sum = 0;
    for_piece(piece, array_aligned, [&](std::int64_t i, auto width) {
        constexpr int Width = decltype(width)::value;
        float values[Width];
        load_floats<Width>(values, x + i);
#pragma unroll
        for (int k = 0; k < Width; ++k) sum += static_cast<double>(values[k]) * static_cast<double>(values[k]);
    });
    sum = sum_of_block(sum, sums);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// out [1] = sum of partials [n]. One block.
__global__ void sum_kernel(double* out, const double* partials, std::int64_t n) {
    SHARED_ARRAY(double, sums, threads / 32);
    double sum = 0;
    for (std::int64_t p = threadIdx.x; p < n; p += threads) sum += partials[p];
    sum = sum_of_block(sum, sums);
    if (threadIdx.x == 0) *out = sum;
}

/// The variables as the kernels read them, in device memory: entries [variables], then pieces.
struct PieceTable {
    std::vector<VariableEntry> entries;
    std::vector<Piece> pieces;
    std::size_t entry_bytes() const { return (entries.size() * sizeof(VariableEntry) + 255) / 256 * 256; }
};

PieceTable cut(const std::vector<Variable>& variables) {
    PieceTable table;
    for (std::size_t variable = 0; variable < variables.size(); ++variable) {
        const auto& [offset, size, regularised] = variables[variable];
        table.entries.push_back({std::ssize(table.pieces), divide_up(size, piece_size), regularised});
        for (std::int64_t i = 0; i < size; i += piece_size)
            table.pieces.push_back({offset + i, static_cast<std::int32_t>(std::min(piece_size, size - i)),
                                    static_cast<std::int32_t>(variable)});
    }
    return table;
}

std::int64_t count_pieces(const std::vector<Variable>& variables) {
    std::int64_t count = 0;
    for (const Variable& variable : variables) count += divide_up(variable.size, piece_size);
    return count;
}

void* upload_table(const PieceTable& table) {
    auto* const memory =
        static_cast<std::byte*>(allocate_device(table.entry_bytes() + table.pieces.size() * sizeof(Piece)));
    PROTALBERT_CUDA_CHECK(
        cudaMemcpy(memory, table.entries.data(), table.entries.size() * sizeof(VariableEntry), cudaMemcpyHostToDevice));
    PROTALBERT_CUDA_CHECK(cudaMemcpy(memory + table.entry_bytes(), table.pieces.data(),
                                     table.pieces.size() * sizeof(Piece), cudaMemcpyHostToDevice));
    return memory;
}

}  // namespace

void CudaBackend::sum_of_squares(double* out, const float* x, std::int64_t n, Stream stream) {
    const std::int64_t pieces = divide_up(n, piece_size);
    PROTALBERT_CHECK(pieces <= scratch_elements<double>(), "the sums of pieces fit the scratch memory");
    auto* const partials = scratch<double>();
    launch("squares", squares_kernel, dim3(static_cast<unsigned>(pieces)), dim3(threads), 0, handle(stream), partials,
           x, n, aligned(x));
    launch("sum", sum_kernel, dim3(1), dim3(threads), 0, handle(stream), out, static_cast<const double*>(partials),
           pieces);
}

void CudaBackend::optimize(float* parameters, void* copies, float* m, float* v, float* gradients,
                           const std::vector<Variable>& variables, const OptimizerStep& step, bool trust_ratio,
                           Stream stream) {
    if (variables.empty()) return;
    void*& memory = piece_tables_[variables.data()];
    if (memory == nullptr) memory = upload_table(cut(variables));
    const auto* const entries = static_cast<const VariableEntry*>(memory);
    const auto* const pieces =
        reinterpret_cast<const Piece*>(static_cast<const std::byte*>(memory) +
                                       PieceTable{std::vector<VariableEntry>(variables.size()), {}}.entry_bytes());
    const std::int64_t count = count_pieces(variables);
    const std::size_t squares_bytes = static_cast<std::size_t>(count) * sizeof(SquareSums);
    PROTALBERT_CHECK(squares_bytes + variables.size() * sizeof(float) <= scratch_bytes,
                     "the sums of pieces fit the scratch memory");
    auto* const squares = scratch<SquareSums>();
    auto* const rates = reinterpret_cast<float*>(squares + count);
    const Factors factors{static_cast<float>(step.beta1),
                          static_cast<float>(1 - step.beta1),
                          static_cast<float>(step.beta2),
                          static_cast<float>(1 - step.beta2),
                          static_cast<float>(step.epsilon),
                          static_cast<float>(step.weight_decay),
                          static_cast<float>(step.learning_rate),
                          step.clip,
                          step.squared_norm};
    auto* const halves = precision_ == Precision::float32 ? nullptr : static_cast<bfloat16*>(copies);
    const bool wide = aligned(parameters, halves, m, v, gradients);
    const dim3 grid(static_cast<unsigned>(count)), block(threads);
    const cudaStream_t queue = handle(stream);
    if (!trust_ratio) {
        launch("adamw", update_moments_kernel<true>, grid, block, 0, queue, parameters, halves, m, v, gradients,
               squares, pieces, entries, factors, wide);
        return;
    }
    launch("lamb_moments", update_moments_kernel<false>, grid, block, 0, queue, parameters, halves, m, v, gradients,
           squares, pieces, entries, factors, wide);
    launch("lamb_trust_ratios", trust_ratios_kernel, dim3(static_cast<unsigned>(variables.size())), dim3(32), 0, queue,
           rates, static_cast<const SquareSums*>(squares), entries, factors);
    launch("lamb_apply", apply_kernel, grid, block, 0, queue, parameters, halves, static_cast<const float*>(gradients),
           static_cast<const float*>(rates), pieces, factors, wide);
}

void CudaBackend::lamb(float* parameters, void* copies, float* m, float* v, float* gradients,
                       const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) {
    optimize(parameters, copies, m, v, gradients, variables, step, true, stream);
}

void CudaBackend::adamw(float* parameters, void* copies, float* m, float* v, float* gradients,
                        const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) {
    optimize(parameters, copies, m, v, gradients, variables, step, false, stream);
}

}  // namespace protalbert::cuda

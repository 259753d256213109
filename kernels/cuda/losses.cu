// Classification losses: softmax, cross-entropy and its gradient in one pass over the logits.

#include <algorithm>
#include <limits>

#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

namespace {

constexpr int warps = 8;  // of a block: rows side by side

/// logits [M, C] float32, rows of `stride` = x [M, K] weight [C, K]^T: for the few classes of a protein's vocabulary
/// and of the sentence task. Grid (M / 8), block (32, 8): a warp a row; a lane takes every 32nd feature.
template <class Element>
__global__ void small_logits_kernel(float* logits, std::int64_t stride, const Element* x, const Element* weight,
                                    std::int64_t M, std::int64_t C, std::int64_t K) {
    const std::int64_t m = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.y;
    if (m >= M) return;  // a whole warp
    for (std::int64_t c = 0; c < C; ++c) {
        float sum = 0;
        for (std::int64_t k = threadIdx.x; k < K; k += 32) sum += to_float(x[m * K + k]) * to_float(weight[c * K + k]);
        sum = warp_sum(sum);
        if (threadIdx.x == 0) logits[m * stride + c] = sum;
    }
}

/// Loss and gradient of the rows of logits [M, C] (rows of `stride`) with bias [C] (may be null). Grid (M / 8), block
/// (32, 8): a warp a row. dlogits [M, C] may be null, or logits. Each block's sums go to partials [blocks].
template <class Element, class Logit>
__global__ void cross_entropy_kernel(LossSums* partials, Element* dlogits, const Logit* logits, std::int64_t stride,
                                     const float* bias, const std::int32_t* labels, double scale, std::int64_t M,
                                     std::int64_t C) {
    SHARED_ARRAY(double, losses, warps);
    SHARED_ARRAY(int, hits, warps);
    const int lane = static_cast<int>(threadIdx.x);
    const int warp = static_cast<int>(threadIdx.y);
    const std::int64_t m = static_cast<std::int64_t>(blockIdx.x) * warps + warp;
    const std::int32_t label = m < M ? labels[m] : -1;
    double loss = 0;
    int correct = 0;
    if (label >= 0) {
        const Logit* const row = logits + m * stride;
        const auto logit = [&](std::int64_t c) { return to_float(row[c]) + (bias == nullptr ? 0.0F : bias[c]); };
        // The largest logit, and the first class that has it. fmaxf passes over NaN, the sum below does not.
        float top = -std::numeric_limits<float>::infinity();
        std::int64_t best = C;
        for (std::int64_t c = lane; c < C; c += 32) {
            const float value = logit(c);
            if (value > top) {
                top = value;
                best = c;
            }
        }
        const float lane_top = top;
        top = warp_max(top);
        if (lane_top != top) best = C;
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            const std::int64_t other = __shfl_xor_sync(all_lanes, best, lanes);
            best = other < best ? other : best;
        }
        float part = 0;
        for (std::int64_t c = lane; c < C; c += 32) part += expf(logit(c) - top);
        const double sum = static_cast<double>(warp_sum(part));
        // In double precision: close to a certain label the differences would cancel.
        const double distance = static_cast<double>(logit(label)) - static_cast<double>(top);
        loss = log(sum) - distance;
        correct = best == label ? 1 : 0;
        if (loss != loss) correct = 0;  // NaN somewhere in the row
        __syncwarp();                   // all lanes have read the label's logit, which one of them may overwrite
        if (dlogits != nullptr) {
            const float factor = static_cast<float>(scale / sum);
            for (std::int64_t c = lane; c < C; c += 32) {
                const float gradient =
                    c == label ? static_cast<float>((exp(distance) / sum - 1) * scale) : expf(logit(c) - top) * factor;
                dlogits[m * C + c] = from_float<Element>(gradient);
            }
        }
    } else if (m < M && dlogits != nullptr) {
        for (std::int64_t c = lane; c < C; c += 32) dlogits[m * C + c] = from_float<Element>(0);
    }
    if (lane == 0) {
        losses[warp] = loss;
        hits[warp] = correct;
    }
    __syncthreads();
    if (lane > 0 || warp > 0) return;
    LossSums sum{0, 0};
    for (int w = 0; w < warps; ++w) {
        sum.loss += losses[w];
        sum.correct += hits[w];
    }
    partials[blockIdx.x] = sum;
}

constexpr int sum_threads = 256;

/// sums [1] += partials [n]. One block; each thread adds every 256th, then one adds theirs in order.
__global__ void add_losses_kernel(LossSums* sums, const LossSums* partials, std::int64_t n) {
    SHARED_ARRAY(double, losses, sum_threads);
    SHARED_ARRAY(long long, hits, sum_threads);
    const int thread = static_cast<int>(threadIdx.x);
    LossSums sum{0, 0};
    for (std::int64_t p = thread; p < n; p += sum_threads) {
        sum.loss += partials[p].loss;
        sum.correct += partials[p].correct;
    }
    losses[thread] = sum.loss;
    hits[thread] = sum.correct;
    __syncthreads();
    if (thread > 0) return;
    for (int t = 1; t < sum_threads; ++t) {
        sum.loss += losses[t];
        sum.correct += hits[t];
    }
    sums->loss += sum.loss;
    sums->correct += sum.correct;
}

}  // namespace

void CudaBackend::classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                           const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                           Stream stream) {
    const cudaStream_t queue = handle(stream);
    // Rows of logits in multiples of 16 bytes suit cuBLASLt. As many rows at a time as half of the scratch memory
    // holds.
    const std::int64_t stride = divide_up(C, 4) * 4;
    const std::int64_t piece = std::min(M, scratch_elements<float>() / 2 / stride);
    PROTALBERT_CHECK(M == 0 || piece > 0, "a row of logits fits the scratch memory");
    float* const logits = scratch<float>();
    auto* const partials = reinterpret_cast<LossSums*>(logits + scratch_elements<float>() / 2);
    for (std::int64_t begin = 0; begin < M; begin += piece) {
        const std::int64_t rows = std::min(piece, M - begin);
        const std::int64_t blocks = divide_up(rows, warps);
        constexpr std::int64_t few_classes = 64;  // above, the tensor cores win
        with_element([&](auto element) {
            using Element = decltype(element);
            const Element* const from = elements<Element>(x) + begin * K;
            if (C <= few_classes) {
                launch("small_logits", small_logits_kernel<Element>, dim3(static_cast<unsigned>(blocks)),
                       dim3(32, warps), 0, queue, logits, stride, from,
                       static_cast<const Element*>(elements<Element>(weight)), rows, C, K);
            } else {
                Product product;
                product.d = logits;
                product.d_is_float32 = true;
                product.d_stride = stride;
                product.a = from;
                product.b = weight.data;
                product.transpose_b = true;
                product.rows = rows;
                product.columns = C;
                product.depth = K;
                products_->multiply(product, queue);
            }
            Element* const gradient = dlogits ? elements<Element>(dlogits) + begin * C : nullptr;
            launch("cross_entropy", cross_entropy_kernel<Element, float>, dim3(static_cast<unsigned>(blocks)),
                   dim3(32, warps), 0, queue, partials, gradient, static_cast<const float*>(logits), stride, bias,
                   labels + begin, scale, rows, C);
        });
        launch("add_losses", add_losses_kernel, dim3(1), dim3(sum_threads), 0, queue, sums,
               static_cast<const LossSums*>(partials), blocks);
    }
}

void CudaBackend::cross_entropy(LossSums* sums, Activations dlogits, Activations logits, const std::int32_t* labels,
                                double scale, std::int64_t M, std::int64_t C, Stream stream) {
    if (M == 0) return;
    const cudaStream_t queue = handle(stream);
    // As many rows at a time as their blocks' sums fit the scratch memory.
    const std::int64_t piece = std::min(M, scratch_elements<LossSums>() * warps);
    auto* const partials = scratch<LossSums>();
    for (std::int64_t begin = 0; begin < M; begin += piece) {
        const std::int64_t rows = std::min(piece, M - begin);
        const std::int64_t blocks = divide_up(rows, warps);
        with_element([&](auto element) {
            using Element = decltype(element);
            Element* const gradient = dlogits ? elements<Element>(dlogits) + begin * C : nullptr;
            launch("cross_entropy", cross_entropy_kernel<Element, Element>, dim3(static_cast<unsigned>(blocks)),
                   dim3(32, warps), 0, queue, partials, gradient,
                   static_cast<const Element*>(elements<Element>(logits) + begin * C), C,
                   static_cast<const float*>(nullptr), labels + begin, scale, rows, C);
        });
        launch("add_losses", add_losses_kernel, dim3(1), dim3(sum_threads), 0, queue, sums,
               static_cast<const LossSums*>(partials), blocks);
    }
}

}  // namespace protalbert::cuda

// Classification losses.

#include <cmath>

#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

void KokkosBackend::classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                             const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                             Stream stream) {
    const Activations logits{reinterpret_cast<std::byte*>(scratch<float>(M * C)), 4};
    linear(logits, x, weight, bias, M, C, K, stream);
    const float* const z = floats(logits);
    float* const g = floats(dlogits);
    for (std::int64_t m = 0; m < M; ++m) {
        const float* row = z + m * C;
        const std::int32_t label = labels[m];
        if (label < 0) {
            for (std::int64_t c = 0; g != nullptr && c < C; ++c) g[m * C + c] = 0;
            continue;
        }
        std::int64_t best = 0;
        for (std::int64_t c = 1; c < C; ++c) {
            if (row[c] > row[best]) best = c;
        }
        double sum = 0;
        for (std::int64_t c = 0; c < C; ++c) sum += std::exp(static_cast<double>(row[c]) - row[best]);
        sums->loss += std::log(sum) + row[best] - row[label];
        if (best == label) ++sums->correct;
        for (std::int64_t c = 0; g != nullptr && c < C; ++c) {
            const double p = std::exp(static_cast<double>(row[c]) - row[best]) / sum;
            g[m * C + c] = static_cast<float>((p - (c == label ? 1 : 0)) * scale);
        }
    }
}

}  // namespace protalbert

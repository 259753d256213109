#pragma once
// The yardstick of the benchmarks: what oneDNN's matrix product reaches by itself on this machine at this moment.

#include <cstdint>
#include <memory>
#include <string>

namespace protalbert {

/// out [M, N] = x [M, K] w [K, N] in float32, by the fastest of oneDNN's ways: gemm, or the matmul primitive with
/// weights in plain, transposed or its own layout (reordered beforehand, untimed).
class ReferenceProduct {
  public:
    ReferenceProduct(std::int64_t M, std::int64_t N, std::int64_t K);
    ~ReferenceProduct();
    /// FLOP/s of one product, timed now.
    double rate();
    /// Which way was fastest when it was made.
    const std::string& way() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace protalbert

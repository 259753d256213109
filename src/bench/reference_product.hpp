#pragma once
// The yardstick of the benchmarks: what oneDNN's matrix product reaches by itself on this machine at this moment. A
// build without oneDNN has none.

#include <cstdint>
#include <memory>
#include <string>

namespace protalbert {

/// out [M, N] = left [M, K] right [K, N] in float32, or += where `accumulate`.
struct ReferenceShape {
    std::int64_t M, N, K;
    bool left_transposed = false;  ///< memory holds left as [K, M]
    /// Memory holds right as [K, N]. Else it is a weight, which oneDNN may have as it likes: plain, transposed, or in
    /// its own layout (reordered beforehand, untimed).
    bool right_given = false;
    bool accumulate = false;
};

/// A product by the fastest of oneDNN's ways: sgemm or the matmul primitive, with each layout that is allowed.
class ReferenceProduct {
  public:
    /// Whether this program was built with oneDNN; if not, there is nothing to make.
    static bool available();
    /// What to tell people where it was not.
    static constexpr const char* absence = "built without oneDNN: products are compared with nothing";

    explicit ReferenceProduct(const ReferenceShape& shape);
    ~ReferenceProduct();
    void run();
    /// FLOP/s of one product, timed now.
    double rate();
    /// Which way was fastest when it was made.
    const std::string& way() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace protalbert

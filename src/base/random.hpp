#pragma once
// Counter-based random numbers: everything random is a pure function of (seed, purpose, a, b), so that a restart
// needs no generator state and the number of ranks or threads never changes what is drawn.
// Generator: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011).

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace protalbert {

/// Ten rounds of Philox4x32: 128 random bits from a 128-bit counter and a 64-bit key.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    constexpr std::uint32_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;  // from the paper
    constexpr std::uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{multiplier0} * counter[0];
        const std::uint64_t product1 = std::uint64_t{multiplier1} * counter[2];
        counter = {
            static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
            static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
        key[0] += weyl0;
        key[1] += weyl1;
    }
    return counter;
}

/// What random numbers are drawn for: streams of different purposes never overlap.
enum class Purpose : std::uint32_t {
    corpus_order = 1,    ///< order of documents in a prepared corpus
    block_order = 2,     ///< permutation of an epoch's blocks
    window_order = 3,    ///< shuffle within a window of blocks
    sample = 4,          ///< cropping, segments, swap, masking and replacement of one sample
    initialisation = 5,  ///< initial parameters
    bench = 6,           ///< benchmarks' and tests' data
    head = 7,            ///< initial parameters of a head of predictions, and the proteins of its epochs
    bootstrap = 8        ///< resampled proteins behind standard errors
};

/// A stream of random numbers addressed by (seed, purpose, a, b): for example (seed, sample, epoch, sequence id).
/// `b` may use 48 bits (a million times UniRef100); a stream holds 2^34 numbers of 32 bits.
class RandomStream {
  public:
    RandomStream(std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b)
        : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
          counter_{0, static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(b >> 32) << 16 | static_cast<std::uint32_t>(purpose), a} {}

    /// 32 uniform random bits.
    std::uint32_t bits32() {
        if (used_ == 4) {
            numbers_ = philox(counter_, key_);
            ++counter_[0];
            used_ = 0;
        }
        return numbers_[used_++];
    }
    /// 64 uniform random bits.
    std::uint64_t bits64() {
        const std::uint64_t high = bits32();
        return high << 32 | bits32();
    }
    /// Uniform in [0, 1) with 53 bits.
    double uniform() { return static_cast<double>(bits64() >> 11) * 0x1.0p-53; }
    /// Uniform integer in [0, bound), bound >= 1; multiply-shift, whose bias is below bound / 2^64.
    std::uint64_t below(std::uint64_t bound) {
        return static_cast<std::uint64_t>(static_cast<unsigned __int128>(bits64()) * bound >> 64);
    }
    /// Standard normal by Box and Muller's transform.
    double normal() {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
        return radius * std::cos(2.0 * std::numbers::pi * uniform());
    }

  private:
    std::array<std::uint32_t, 2> key_;
    std::array<std::uint32_t, 4> counter_;
    std::array<std::uint32_t, 4> numbers_{};
    unsigned used_ = 4;
};

/// The image of `index` under a keyed bijection of [0, size): a Feistel network on Philox over the next even power of
/// two, walked until it falls into the range (Black and Rogaway, Ciphers with arbitrary finite domains, 2002).
/// Random access without memory; expected walks below 4. size >= 1, index < size.
std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t a,
                      std::uint64_t b);

/// The images of `first`, first + 1, ... under it, [count]: faster than one by one. first + count <= size.
std::vector<std::uint64_t> permute_range(std::uint64_t first, std::uint64_t count, std::uint64_t size,
                                         std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b);

}  // namespace protalbert

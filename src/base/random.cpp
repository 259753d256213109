#include "base/random.hpp"

#include <bit>

#include "base/error.hpp"

namespace protalbert {

namespace {

/// Four rounds make a Feistel network strongly pseudo-random (Luby and Rackoff 1988) where its halves are large; two
/// more are spare. Halves of a few bits mix slowly: sixteen rounds leave no bias that the tests can see.
constexpr std::uint32_t rounds_for(int half_bits) { return half_bits <= 4 ? 16 : 6; }

}  // namespace

std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t a,
                      std::uint64_t b) {
    PROTALBERT_CHECK(index < size, "permute needs an index inside the range");
    if (size == 1) return 0;
    const int half_bits = (std::bit_width(size - 1) + 1) / 2;  // 1 to 32
    const std::uint32_t rounds = rounds_for(half_bits);
    const std::uint64_t half_mask = (std::uint64_t{1} << half_bits) - 1;

    // 128 bits that belong to this permutation alone: the last block of the stream (seed, purpose, a, b), which
    // RandomStream reaches only after 2^34 numbers.
    const auto secret = philox({0xFFFFFFFF, static_cast<std::uint32_t>(b),
                                static_cast<std::uint32_t>(b >> 32) << 16 | static_cast<std::uint32_t>(purpose), a},
                               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    do {
        std::uint64_t left = index >> half_bits, right = index & half_mask;
        for (std::uint32_t round = 0; round < rounds; ++round) {
            const auto mixed =
                philox({static_cast<std::uint32_t>(right), round, secret[2], secret[3]}, {secret[0], secret[1]});
            const std::uint64_t next = left ^ (mixed[0] & half_mask);
            left = right;
            right = next;
        }
        index = left << half_bits | right;
    } while (index >= size);
    return index;
}

}  // namespace protalbert

#include "base/random.hpp"

#include <bit>
#include <numeric>

#include "base/error.hpp"

namespace protalbert {

namespace {

/// Four rounds make a Feistel network strongly pseudo-random (Luby and Rackoff 1988) where its halves are large; two
/// more are spare. Halves of a few bits mix slowly: sixteen rounds leave no bias that the tests can see.
constexpr std::uint32_t rounds_for(int half_bits) { return half_bits <= 4 ? 16 : 6; }

/// A permutation of the numbers of 2 x half_bits bits.
struct Feistel {
    int half_bits;  ///< 1 to 32
    std::array<std::uint32_t, 4> secret;
};

/// The smallest that has all of [0, size).
Feistel make_feistel(std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b) {
    // 128 bits that belong to this permutation alone: the last block of the stream (seed, purpose, a, b), which
    // RandomStream reaches only after 2^34 numbers.
    return {.half_bits = static_cast<int>(std::bit_width(size - 1) + 1) / 2,
            .secret = philox({0xFFFFFFFF, static_cast<std::uint32_t>(b),
                              static_cast<std::uint32_t>(b >> 32) << 16 | static_cast<std::uint32_t>(purpose), a},
                             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)})};
}

/// values [n] = their images.
void apply(const Feistel& feistel, std::uint64_t* values, std::size_t n) {
    const int half_bits = feistel.half_bits;
    const auto half_mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_bits) - 1);
    const std::uint32_t rounds = rounds_for(half_bits);
    const auto [key0, key1, counter2, counter3] = feistel.secret;
    for (std::size_t i = 0; i < n; ++i) {
        auto left = static_cast<std::uint32_t>(values[i] >> half_bits);
        auto right = static_cast<std::uint32_t>(values[i]) & half_mask;
        for (std::uint32_t round = 0; round < rounds; ++round) {
            const std::uint32_t mixed = philox({right, round, counter2, counter3}, {key0, key1})[0];
            const std::uint32_t next = left ^ (mixed & half_mask);
            left = right;
            right = next;
        }
        values[i] = std::uint64_t{left} << half_bits | right;
    }
}

}  // namespace

std::uint64_t permute(std::uint64_t index, std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t a,
                      std::uint64_t b) {
    PROTALBERT_CHECK(index < size, "permute needs an index inside the range");
    if (size == 1) return 0;
    const Feistel feistel = make_feistel(size, seed, purpose, a, b);
    do {
        apply(feistel, &index, 1);
    } while (index >= size);
    return index;
}

std::vector<std::uint64_t> permute_range(std::uint64_t first, std::uint64_t count, std::uint64_t size,
                                         std::uint64_t seed, Purpose purpose, std::uint32_t a, std::uint64_t b) {
    PROTALBERT_CHECK(first <= size && count <= size - first, "permute needs indices inside the range");
    std::vector<std::uint64_t> images(count);
    if (size <= 1) return images;
    const Feistel feistel = make_feistel(size, seed, purpose, a, b);
    std::iota(images.begin(), images.end(), first);
    apply(feistel, images.data(), count);
    for (std::uint64_t& image : images)
        while (image >= size) apply(feistel, &image, 1);
    return images;
}

}  // namespace protalbert

// The instructions of AVX-512 BF16 and AMX that kernels/kokkos/product_kernels.cpp uses, in plain C++, as Intel's
// manual defines them but for numbers below 2^-126. Vectors are as wide as every machine has them: the kernels know no
// width.

PROTALBERT_INLINE float first_of_pair(std::uint32_t pair) {
    const std::uint32_t bits = pair << 16;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
PROTALBERT_INLINE float second_of_pair(std::uint32_t pair) {
    const std::uint32_t bits = pair & 0xffff0000U;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

PROTALBERT_INLINE Floats multiply_pairs(Floats sums, const float* a, Floats b) {
    std::uint32_t left = 0;
    std::memcpy(&left, a, sizeof left);
    const Bits right = reinterpret_cast<Bits>(b);
    for (int i = 0; i < lanes; ++i) {
        sums[i] = std::fma(second_of_pair(left), second_of_pair(right[i]), sums[i]);
        sums[i] = std::fma(first_of_pair(left), first_of_pair(right[i]), sums[i]);
    }
    return sums;
}

/// The tile registers of a thread, and whether they are configured as palette 1 with eight full tiles.
struct EmulatedTiles {
    std::uint32_t tile[8][16][16] = {};
    bool configured = false;
};
inline EmulatedTiles& emulated_tiles() {
    static thread_local EmulatedTiles tiles;
    return tiles;
}
inline void need_configuration() {
    if (!emulated_tiles().configured) std::abort();  // as the processor does: no such instruction
}
inline void emulated_loadconfig(const void* memory) {
    std::uint8_t bytes[64];
    std::memcpy(bytes, memory, sizeof bytes);
    bool full = bytes[0] == 1 && bytes[1] == 0;
    for (int i = 2; i < 16; ++i) full = full && bytes[i] == 0;
    for (int i = 0; i < 16; ++i) {
        std::uint16_t row_bytes = 0;
        std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
        full = full && row_bytes == (i < 8 ? 64 : 0) && bytes[48 + i] == (i < 8 ? 16 : 0);
    }
    if (!full) std::abort();
    emulated_tiles() = {};
    emulated_tiles().configured = true;
}
inline void emulated_release() { emulated_tiles().configured = false; }
inline void emulated_zero(int to) {
    need_configuration();
    std::memset(emulated_tiles().tile[to], 0, sizeof emulated_tiles().tile[to]);
}
inline void emulated_load(int to, const void* from, std::int64_t stride) {
    need_configuration();
    for (int row = 0; row < 16; ++row)
        std::memcpy(emulated_tiles().tile[to][row], static_cast<const std::byte*>(from) + row * stride, 64);
}
inline void emulated_store(int from, void* to, std::int64_t stride) {
    need_configuration();
    for (int row = 0; row < 16; ++row)
        std::memcpy(static_cast<std::byte*>(to) + row * stride, emulated_tiles().tile[from][row], 64);
}
inline void emulated_multiply(int sums, int a, int b) {
    need_configuration();
    auto& tile = emulated_tiles().tile;
    for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
            // First elements and second ones apart, then both to the sum.
            float first = 0, second = 0, sum = 0;
            for (int k = 0; k < 16; ++k) {
                first = std::fma(first_of_pair(tile[a][m][k]), first_of_pair(tile[b][k][n]), first);
                second = std::fma(second_of_pair(tile[a][m][k]), second_of_pair(tile[b][k][n]), second);
            }
            std::memcpy(&sum, &tile[sums][m][n], sizeof sum);
            sum += first + second;
            std::memcpy(&tile[sums][m][n], &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_load
#define _tile_stored emulated_store
#define _tile_dpbf16ps emulated_multiply

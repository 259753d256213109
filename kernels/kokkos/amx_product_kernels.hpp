// Products of bfloat16 by AMX (included by product_kernels.cpp behind product_kernels.hpp). A tile register holds 16
// rows of 64 bytes: 16 x 16 sums, 16 lines of the left operand by 16 pairs, or 16 pairs by 16 lines of the right
// operand, as its panels have them. The left operand's panels are [16 steps][line][step], so that each such piece is a
// tile, too.

constexpr int amx_side = 16;
constexpr int amx_lines = 2 * amx_side;  ///< rows and columns of four tiles of sums

/// Palette 1: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static constexpr TileConfiguration tile_configuration;

static void pack_left_amx(float* to, const Operand& operand, std::int64_t lines, std::int64_t elements,
                          std::int64_t steps) {
    for (std::int64_t first_line = 0; first_line < lines; first_line += amx_lines) {
        Operand panel = operand;
        panel.from = operand.at(first_line, 0);
        const std::int64_t there = lines - first_line;
        for (std::int64_t step = 0; step < steps; step += lanes) {
            float* const piece = to + first_line * steps + step / amx_side * amx_side * amx_lines + step % amx_side;
            for (int line = 0; line < amx_lines; line += lanes) {
                Floats square[lanes];
                if (operand.sums_along_rows) {
                    load_lines<Items::pairs, amx_lines, false>(square, panel, line, there, 2 * step, elements);
                } else {
                    const auto load_element = [&](std::int64_t k) {
                        return k < elements ? load_some(panel.at(line, k), there - line) : Floats{};
                    };
                    for (int i = 0; i < lanes; ++i) {
                        const std::int64_t element = 2 * (step + i);
                        square[i] = pair_of(load_element(element), load_element(element + 1));
                    }
                    transpose(square);
                }
                for (int i = 0; i < lanes; ++i) store(piece + (line + i) * amx_side, square[i]);
            }
        }
    }
}

struct AmxTiles {
    static constexpr std::int64_t rows = amx_lines, columns = amx_lines;
    static constexpr bool finish_sums = false;

    /// Always of 32 rows: behind the operand's last there are zeros, and room for their sums.
    static void multiply(std::int64_t, const TileEnd& end, const float* a, std::int64_t, const float* b,
                         std::int64_t steps) {
        constexpr std::int64_t tile_bytes = 64, panel_bytes = amx_lines * sizeof(float);
        // To the compiler a tile's load reads no memory: what it reads, other functions or a tile's store have written.
        if (end.from == nullptr) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        } else {
            const std::int64_t bytes = end.from_stride * static_cast<std::int64_t>(sizeof(float));
            const float* const below = end.from + amx_side * end.from_stride;
            _tile_loadd(0, end.from, bytes);
            _tile_loadd(1, end.from + amx_side, bytes);
            _tile_loadd(2, below, bytes);
            _tile_loadd(3, below + amx_side, bytes);
        }
        for (std::int64_t step = 0; step < steps; step += amx_side) {
            _tile_loadd(4, a, tile_bytes);
            _tile_loadd(5, a + amx_side * amx_side, tile_bytes);
            _tile_loadd(6, b, panel_bytes);
            _tile_loadd(7, b + amx_side, panel_bytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            a += amx_lines * amx_side;
            b += amx_lines * amx_side;
        }
        const std::int64_t bytes = end.to_stride * static_cast<std::int64_t>(sizeof(float));
        float* const below = end.to + amx_side * end.to_stride;
        _tile_stored(0, end.to, bytes);
        _tile_stored(1, end.to + amx_side, bytes);
        _tile_stored(2, below, bytes);
        _tile_stored(3, below + amx_side, bytes);
    }
};

static void compute_tile_amx(const ProductTile& tile) {
    // The registers are given back at the end: a thread that keeps them is switched slowly.
    _tile_loadconfig(&tile_configuration);
    compute<AmxTiles>(tile);
    _tile_release();
}

static constexpr ProductKernels amx_kernels(const char* name) {
    return {.name = name,
            .rows = amx_lines,
            .columns = amx_lines,
            .left_items = 1,
            .step_elements = 2,
            .step_multiple = amx_side,
            .block_steps = 256,
            .task_rows = 576,
            .reads_memory = false,
            .pack_left = pack_left_amx,
            .pack_right = pack<Items::pairs, amx_lines>,
            .compute = compute_tile_amx};
}

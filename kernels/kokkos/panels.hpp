#pragma once
// The shape in which products read their operands, and the functions of an instruction set that work on it.
//
// A product is out [m, n] = left [m, k] right [k, n]. Its operands come as the model has them and are packed first: the
// lines of an operand (rows of the left one, columns of the right one) are put together in panels of as many lines as
// a tile in the registers has, and within a panel the elements of one step of the sum stand side by side:
// panel [step][line]. A step is one element of k in float32, a pair of neighbours in bfloat16. Long sums are cut into
// blocks of equally many steps, so that a panel of one block stays in the first-level cache; an operand's memory is
// [block][panel][step][line], lines that fill up the last panel being zeros.
//
// An element of the result is the sum of its blocks, one after the other, each summed up from its first step to its
// last in an order that the instruction set fixes. So a row of the result depends on its own row of the left operand
// and on the right operand, to the last bit, wherever the row stands and whoever computes it.

#include <algorithm>
#include <cstdint>

#include "kernels/backend.hpp"

namespace protalbert {

/// A matrix as the model has it: element (line, place in k) is from[line * stride + k] where sums run along its rows,
/// else from[k * stride + line].
struct Operand {
    const float* from = nullptr;
    std::int64_t stride = 0;  ///< elements between two rows in memory
    bool sums_along_rows = false;

    const float* at(std::int64_t line, std::int64_t k) const {
        return from + (sums_along_rows ? line * stride + k : k * stride + line);
    }
};

/// How many steps a sum over k has, and how many of them a block.
struct Steps {
    std::int64_t count = 0, block = 0;

    std::int64_t blocks() const { return count == 0 ? 0 : (count + block - 1) / block; }
    std::int64_t of_block(std::int64_t b) const { return std::min(block, count - b * block); }
};

/// Where the panels of a packed operand are. Sizes are in items of four bytes: a float32, or a pair of bfloat16.
struct Panels {
    std::int64_t lines = 0, width = 0;  ///< of the operand, of a panel
    std::int64_t items = 1;             ///< of a line and step
    Steps steps;

    std::int64_t count() const { return (lines + width - 1) / width; }
    std::int64_t size() const { return count() * width * items * steps.count; }
    std::int64_t place(std::int64_t block, std::int64_t panel) const {
        return (block * steps.block * count() + panel * steps.of_block(block)) * width * items;
    }
};

/// What becomes of a product: out [m, n] = f(product + bias) + residual, or the product times the derivative of f.
/// All arrays but bias and sums have `stride` elements a row.
struct Finish {
    enum class Function { none, gelu_erf, gelu_tanh, gelu_erf_derivative, gelu_tanh_derivative };

    float* out = nullptr;
    std::int64_t stride = 0;
    Function function = Function::none;
    const float* bias = nullptr;      ///< [n], or null
    const float* residual = nullptr;  ///< or null; may be out
    float* before = nullptr;          ///< product + bias before the GELU is kept here; may be null
    const float* argument = nullptr;  ///< of the derivative; may be out
    float* sums = nullptr;            ///< [n] += column sums of out; null: none

    /// The same from another row and column on.
    Finish at(std::int64_t row, std::int64_t column) const {
        Finish moved = *this;
        const std::int64_t place = row * stride + column;
        const auto move = [](auto*& pointer, std::int64_t by) {
            if (pointer != nullptr) pointer += by;
        };
        move(moved.out, place);
        move(moved.bias, column);
        move(moved.residual, place);
        move(moved.before, place);
        move(moved.argument, place);
        move(moved.sums, column);
        return moved;
    }
};

/// One tile of a result, for one thread.
struct ProductTile {
    Panels left_panels, right_panels;
    const float *left = nullptr, *right = nullptr;  ///< the packed operands
    Operand left_operand;                           ///< the left one as it is, where it is not packed
    std::int64_t row = 0, column = 0;               ///< of the operands' lines: multiples of the panels' widths
    std::int64_t rows = 0, columns = 0;
    float* sums = nullptr;  ///< scratch [rows, columns], both rounded up to a panel
    Finish finish;          ///< at (row, column)
};

/// Packs `lines` lines, whole panels but at the operand's end, and the `elements` elements that make up one block of
/// `steps` steps; operand.from is the first of them.
using Pack = void (*)(float* to, const Operand& operand, std::int64_t lines, std::int64_t elements, std::int64_t steps);

/// What an instruction set does with float32, or with bfloat16, operands.
struct ProductKernels {
    const char* name;            ///< the instructions, for people
    std::int64_t rows, columns;  ///< of a tile in the registers
    std::int64_t left_items;     ///< of a line and step of the left operand
    std::int64_t step_elements;  ///< elements of k in a step
    std::int64_t step_multiple;  ///< steps are filled up with zeros to a multiple of so many
    std::int64_t block_steps;    ///< at most
    std::int64_t task_rows;      ///< of a task's tile: each panel of the right operand meets so many rows in the cache
    bool reads_memory;           ///< whether the left operand need not be packed
    Pack pack_left, pack_right;
    void (*compute)(const ProductTile& tile);
};

/// The kernels for the chosen instruction set.
const ProductKernels& product_kernels(Precision precision);

/// The steps of a sum over k: blocks of equal size, in multiples that the kernels want.
inline Steps steps_of(const ProductKernels& kernels, std::int64_t k) {
    const auto rounded = [&](std::int64_t steps) {
        return (steps + kernels.step_multiple - 1) / kernels.step_multiple * kernels.step_multiple;
    };
    const std::int64_t count = rounded((k + kernels.step_elements - 1) / kernels.step_elements);
    if (count == 0) return {};
    const std::int64_t blocks = (count + kernels.block_steps - 1) / kernels.block_steps;
    return {count, rounded((count + blocks - 1) / blocks)};
}
inline Panels left_panels(const ProductKernels& kernels, std::int64_t lines, std::int64_t k) {
    return {lines, kernels.rows, kernels.left_items, steps_of(kernels, k)};
}
inline Panels right_panels(const ProductKernels& kernels, std::int64_t lines, std::int64_t k) {
    return {lines, kernels.columns, 1, steps_of(kernels, k)};
}

}  // namespace protalbert

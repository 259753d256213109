#include "tests/emulation/emulated_instructions.hpp"

#include <algorithm>
#include <cstring>

#include "tests/emulation/device_memory.hpp"
#include "tests/emulation/execution.hpp"

namespace emulation {
namespace {

float low(std::uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high(std::uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000U); }

struct MmaArguments {
    float* c;
    const std::uint32_t *a, *b;
};

/// c [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane % 4 a lane holds
/// a: rows g and g + 8 by columns 2t, 2t + 1 and 2t + 8, 2t + 9 (registers: row g, row g + 8, then the second columns);
/// b: rows 2t, 2t + 1 and 2t + 8, 2t + 9 of column g;  c: columns 2t, 2t + 1 of row g, then of row g + 8.
void perform_mma(void* const* arguments) {
    float a[16][16], b[16][8], c[16][8];
    for (int lane = 0; lane < warp_size; ++lane) {
        const auto& own = *static_cast<const MmaArguments*>(arguments[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) {
            const int row = g + 8 * (i % 2), column = 2 * t + 8 * (i / 2);
            a[row][column] = low(own.a[i]);
            a[row][column + 1] = high(own.a[i]);
        }
        for (int i = 0; i < 2; ++i) {
            b[2 * t + 8 * i][g] = low(own.b[i]);
            b[2 * t + 8 * i + 1][g] = high(own.b[i]);
        }
        for (int i = 0; i < 4; ++i) c[g + 8 * (i / 2)][2 * t + i % 2] = own.c[i];
    }
    for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < 16; ++k) {
            for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
        }
    }
    for (int lane = 0; lane < warp_size; ++lane) {
        const auto& own = *static_cast<const MmaArguments*>(arguments[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) own.c[i] = c[g + 8 * (i / 2)][2 * t + i % 2];
    }
}

struct LdmatrixArguments {
    std::uint32_t* to;
    std::uint32_t row;  ///< address of 16 bytes
    int matrices;
    bool transposed;
};

/// Banks are 4 bytes wide and 32; a row of 16 bytes takes four that follow each other.
void count_conflicts(const std::uint32_t (&rows)[8]) {
    int users[8] = {};
    for (const std::uint32_t row : rows) ++users[row / 16 % 8];
    ++bank_statistics().matrices;
    bank_statistics().conflicts += static_cast<std::uint64_t>(*std::max_element(users, users + 8) - 1);
}

void perform_ldmatrix(void* const* arguments) {
    const auto& first = *static_cast<const LdmatrixArguments*>(arguments[0]);
    for (int matrix = 0; matrix < first.matrices; ++matrix) {
        std::uint16_t element[8][8];
        std::uint32_t rows[8];
        for (int row = 0; row < 8; ++row) {
            rows[row] = static_cast<const LdmatrixArguments*>(arguments[8 * matrix + row])->row;
            std::memcpy(element[row], shared_memory.read_by_warp(rows[row], 16), 16);
        }
        count_conflicts(rows);
        // Lane 4 r + t gets the elements 2t and 2t + 1 of row r, or of column r where transposed.
        for (int lane = 0; lane < warp_size; ++lane) {
            const int r = lane / 4, t = lane % 4;
            const std::uint32_t even = first.transposed ? element[2 * t][r] : element[r][2 * t];
            const std::uint32_t odd = first.transposed ? element[2 * t + 1][r] : element[r][2 * t + 1];
            static_cast<const LdmatrixArguments*>(arguments[lane])->to[matrix] = even | odd << 16;
        }
    }
}

}  // namespace

BankStatistics& bank_statistics() {
    static BankStatistics statistics;
    return statistics;
}

void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    MmaArguments arguments{c, a, b};
    warp_instruction("mma.sync", whole_warp, &arguments, perform_mma);
}

void ldmatrix(std::uint32_t* to, int matrices, bool transposed, std::uint32_t row, std::uint32_t begin,
              std::uint32_t end) {
    // The rows of .x1 and .x2 come from the first lanes; the addresses of the others are not used.
    if (this_thread().lane < 8 * matrices) {
        if (row % 16 != 0) fail("ldmatrix of a row that is not aligned: shared byte " + std::to_string(row));
        if (row < begin || row + 16 > end) {
            fail("ldmatrix out of bounds: byte " + std::to_string(static_cast<std::int32_t>(row - begin)) +
                 " of an array of " + std::to_string(end - begin));
        }
    }
    LdmatrixArguments arguments{to, row, matrices, transposed};
    warp_instruction("ldmatrix", whole_warp, &arguments, perform_ldmatrix);
}

void cp_async(std::uint32_t to, std::uint32_t begin, std::uint32_t end, const void* from, std::uint32_t bytes,
              bool valid) {
    if (to % bytes != 0) fail("cp.async to shared byte " + std::to_string(to) + ", which is not aligned");
    if (valid) {
        if (reinterpret_cast<std::uintptr_t>(from) % bytes != 0) fail("cp.async from memory that is not aligned");
        if (!in_device_memory(from, bytes)) fail("cp.async from outside of device memory");
    }
    shared_memory.start_copy(to, bytes, begin, end);
    Thread& self = this_thread();
    self.copies.push_back({to, from, bytes, valid ? bytes : 0, self.committed_groups});
}

void cp_async_commit() { ++this_thread().committed_groups; }

void cp_async_wait(int most_pending) {
    Thread& self = this_thread();
    const auto done = [&](const PendingCopy& copy) {
        return copy.group + static_cast<std::uint64_t>(most_pending) < self.committed_groups;
    };
    for (const PendingCopy& copy : self.copies) {
        if (done(copy)) shared_memory.finish_copy(copy.from, copy.to, copy.bytes, copy.valid);
    }
    self.copies.erase(std::remove_if(self.copies.begin(), self.copies.end(), done), self.copies.end());
}

}  // namespace emulation

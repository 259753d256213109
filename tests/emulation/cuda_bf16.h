#pragma once
// bfloat16 as CUDA's header of this name: the upper half of a float, rounded to nearest, ties to even.

#include <bit>
#include <cmath>

#include "tests/emulation/vector_types.hpp"

struct alignas(2) __nv_bfloat16 {
    unsigned short bits;

    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float x) {
        auto wide = std::bit_cast<unsigned>(x);
        // Half a step, and the last bit that stays: a tie goes to the even neighbour.
        wide += 0x7fffU + ((wide >> 16) & 1U);
        bits = static_cast<unsigned short>(std::isnan(x) ? 0x7fffU : wide >> 16);
    }
    explicit operator float() const { return std::bit_cast<float>(static_cast<unsigned>(bits) << 16); }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
inline float __bfloat162float(__nv_bfloat16 x) { return static_cast<float>(x); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 x) { return __floats2bfloat162_rn(x.x, x.y); }
inline float2 __bfloat1622float2(__nv_bfloat162 x) { return {static_cast<float>(x.x), static_cast<float>(x.y)}; }
inline float __low2float(__nv_bfloat162 x) { return static_cast<float>(x.x); }
inline float __high2float(__nv_bfloat162 x) { return static_cast<float>(x.y); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }

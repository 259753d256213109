#pragma once
// Half precision as CUDA's header of this name: conversions alone, rounded to nearest, ties to even.

#include <bit>

struct alignas(2) __half {
    unsigned short bits;

    __half() = default;
    explicit __half(float x) : bits(std::bit_cast<unsigned short>(static_cast<_Float16>(x))) {}
    explicit operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};
struct alignas(4) __half2 {
    __half x, y;
};

inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline float __half2float(__half x) { return static_cast<float>(x); }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }

#pragma once
// Elements of activations, read and written 16 bytes at a time where a tensor allows it, computed with as float32.

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/device.cuh"

namespace protalbert::cuda {

/// Elements in 16 bytes: one access of a thread.
template <class Element>
constexpr int full_width = 16 / static_cast<int>(sizeof(Element));

/// Width elements as they lie in memory; Width is 1 or full_width.
template <class Element, int Width>
using Packed = std::conditional_t<Width == 1, Element, uint4>;

/// From memory; the address is a multiple of 16 bytes where Width is full_width.
template <int Width, class Element>
__device__ inline Packed<Element, Width> load_packed(const Element* from) {
    return *reinterpret_cast<const Packed<Element, Width>*>(from);
}

template <class Element, int Width>
__device__ inline void unpack(float (&values)[Width], const Packed<Element, Width>& packed) {
    if constexpr (Width == 1) {
        values[0] = to_float(packed);
    } else {
        static_assert(Width == full_width<Element>);
        const std::uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (sizeof(Element) == 4) {
                values[i] = __uint_as_float(words[i]);
            } else {
                // bfloat16 is the upper half of a float32.
                values[2 * i] = __uint_as_float(words[i] << 16);
                values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000U);
            }
        }
    }
}

/// values [Width] from memory, as by load_packed.
template <int Width, class Element>
__device__ inline void load_pack(float (&values)[Width], const Element* from) {
    unpack<Element>(values, load_packed<Width>(from));
}

/// The opposite of unpack; rounds to nearest.
template <class Element, int Width>
__device__ inline Packed<Element, Width> pack(const float (&values)[Width]) {
    if constexpr (Width == 1) {
        return from_float<Element>(values[0]);
    } else {
        static_assert(Width == full_width<Element>);
        std::uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (sizeof(Element) == 4) {
                words[i] = __float_as_uint(values[i]);
            } else {
                words[i] = pack_bfloat16(values[2 * i], values[2 * i + 1]);
            }
        }
        return make_uint4(words[0], words[1], words[2], words[3]);
    }
}

template <int Width, class Element>
__device__ inline void store_packed(Element* to, const Packed<Element, Width>& packed) {
    *reinterpret_cast<Packed<Element, Width>*>(to) = packed;
}

/// The opposite of load_pack; rounds to nearest.
template <int Width, class Element>
__device__ inline void store_pack(Element* to, const float (&values)[Width]) {
    store_packed<Width>(to, pack<Element, Width>(values));
}

/// As load_pack, of float32 parameters beside activations of any element: Width is 1, 4 or 8.
template <int Width>
__device__ inline void load_floats(float (&values)[Width], const float* from) {
    if constexpr (Width == 1) {
        values[0] = *from;
    } else {
#pragma unroll
        for (int i = 0; i < Width; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(from + i);
            values[i] = four.x;
            values[i + 1] = four.y;
            values[i + 2] = four.z;
            values[i + 3] = four.w;
        }
    }
}

template <int Width>
__device__ inline void store_floats(float* to, const float (&values)[Width]) {
    if constexpr (Width == 1) {
        *to = values[0];
    } else {
#pragma unroll
        for (int i = 0; i < Width; i += 4)
            *reinterpret_cast<float4*>(to + i) = make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]);
    }
}

/// Whether every address is a multiple of 16 bytes (null is).
template <class... Pointers>
bool aligned(Pointers... pointers) {
    return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

template <int N>
using Number = std::integral_constant<int, N>;

/// body(Element{}, Number<Width>{}): full packs where `wide`, else single elements.
template <class Element, class Body>
void with_width(bool wide, const Body& body) {
    if (wide) {
        body(Number<full_width<Element>>{});
    } else {
        body(Number<1>{});
    }
}

inline std::int64_t divide_up(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

}  // namespace protalbert::cuda

#pragma once
// CUDA's vector types, with CUDA's sizes and alignments.

#define PROTALBERT_VECTOR_2(name, type, alignment) \
    struct alignas(alignment) name {               \
        type x, y;                                 \
    };                                             \
    inline name make_##name(type x, type y) { return {x, y}; }
#define PROTALBERT_VECTOR_3(name, type) \
    struct name {                       \
        type x, y, z;                   \
    };                                  \
    inline name make_##name(type x, type y, type z) { return {x, y, z}; }
#define PROTALBERT_VECTOR_4(name, type, alignment) \
    struct alignas(alignment) name {               \
        type x, y, z, w;                           \
    };                                             \
    inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }

PROTALBERT_VECTOR_2(short2, short, 4)
PROTALBERT_VECTOR_4(short4, short, 8)
PROTALBERT_VECTOR_2(ushort2, unsigned short, 4)
PROTALBERT_VECTOR_4(ushort4, unsigned short, 8)
PROTALBERT_VECTOR_2(int2, int, 8)
PROTALBERT_VECTOR_3(int3, int)
PROTALBERT_VECTOR_4(int4, int, 16)
PROTALBERT_VECTOR_2(uint2, unsigned int, 8)
PROTALBERT_VECTOR_3(uint3, unsigned int)
PROTALBERT_VECTOR_4(uint4, unsigned int, 16)
PROTALBERT_VECTOR_2(longlong2, long long, 16)
PROTALBERT_VECTOR_2(float2, float, 8)
PROTALBERT_VECTOR_3(float3, float)
PROTALBERT_VECTOR_4(float4, float, 16)
PROTALBERT_VECTOR_2(double2, double, 16)

#undef PROTALBERT_VECTOR_2
#undef PROTALBERT_VECTOR_3
#undef PROTALBERT_VECTOR_4

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

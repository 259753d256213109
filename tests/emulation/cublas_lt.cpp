// cuBLASLt's matrix products as loops of the host. It counts columns first, as cuBLASLt does. An algorithm holds what
// it was asked for: a call of other alignments or distances between columns fails, where a GPU would read at a wrong
// place, stop, or happen to do well. So does what cuBLASLt leaves open: nothing is to depend on it.
//
// The library has no algorithm for some products, and nobody knows before for which. With PROTALBERT_TEST_REFUSALS =
// SEED this one refuses half of those that are small or have an epilogue, and half of the uses of an algorithm for
// another size than it was asked for; seed and product decide which. So every way around a refusal is walked.

#include <cublasLt.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "tests/emulation/device_memory.hpp"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
    cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void* bias = nullptr;
    void* aux = nullptr;
    std::int64_t aux_stride = 0;
};
struct cublasLtMatrixLayoutOpaque_t {
    cudaDataType_t type;
    std::int64_t rows, columns, stride;
};
struct cublasLtMatmulPreferenceOpaque_t {
    std::size_t workspace = 0;
    std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    std::array<std::uint32_t, 4> alignments{256, 256, 256, 256};  ///< of a, b, c, d
};

namespace {

/// What an algorithm is for.
struct Purpose {
    std::int64_t a_stride, b_stride, d_stride;
    std::int32_t columns, depth;
    std::array<std::uint16_t, 6> alignments;  ///< of a, b, c, d, the bias and the second output
    std::uint16_t epilogue;
    std::uint16_t tile;
    std::uint8_t transpose_a, transpose_b, d_type;
};
static_assert(sizeof(Purpose) <= sizeof(cublasLtMatmulAlgo_t));

std::map<cublasLtMatmulTile_t, std::int64_t> products_by_tile;

/// The alignment that the vectors of an epilogue have where it reads and writes 16 bytes at once.
constexpr std::uintptr_t vector_bytes = 16;

cublasStatus_t refuse(const char* why) {
    std::fprintf(stderr, "emulated cuBLASLt: %s\n", why);
    return CUBLAS_STATUS_EXECUTION_FAILED;
}

bool divides(std::uintptr_t alignment, const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0;
}

std::uint16_t alignment_of(const void* pointer) {
    std::uint16_t alignment = 256;
    while (!divides(alignment, pointer)) alignment /= 2;
    return alignment;
}

template <class Value>
cublasStatus_t set(Value& to, const void* value, std::size_t bytes) {
    if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

float read(const void* from, std::int64_t place, cudaDataType_t type) {
    return type == CUDA_R_32F ? static_cast<const float*>(from)[place]
                              : __bfloat162float(static_cast<const __nv_bfloat16*>(from)[place]);
}

void write(void* to, std::int64_t place, float value, cudaDataType_t type) {
    if (type == CUDA_R_32F) {
        static_cast<float*>(to)[place] = value;
    } else {
        static_cast<__nv_bfloat16*>(to)[place] = __float2bfloat16_rn(value);
    }
}

/// The columns of a matrix, or its rows, one after the other.
std::vector<float> read(const void* from, const cublasLtMatrixLayoutOpaque_t& layout, bool by_rows) {
    std::vector<float> values(static_cast<std::size_t>(layout.rows * layout.columns));
    for (std::int64_t column = 0; column < layout.columns; ++column) {
        for (std::int64_t row = 0; row < layout.rows; ++row) {
            const std::int64_t place = by_rows ? row * layout.columns + column : column * layout.rows + row;
            values[static_cast<std::size_t>(place)] = read(from, column * layout.stride + row, layout.type);
        }
    }
    return values;
}

float gelu_tanh(float x) { return x / (1 + std::exp(-2 * 0.797884560802865F * (x + 0.044715F * x * x * x))); }

bool has_gelu(cublasLtEpilogue_t epilogue) {
    return epilogue == CUBLASLT_EPILOGUE_GELU_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
}

bool has_bias(cublasLtEpilogue_t epilogue) { return epilogue == CUBLASLT_EPILOGUE_BIAS || has_gelu(epilogue); }

/// Whether op(a) op(b) has the shape of d.
bool fit(const cublasLtMatmulDescOpaque_t& description, const cublasLtMatrixLayoutOpaque_t& a,
         const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& d) {
    const bool ta = description.transpose_a == CUBLAS_OP_T, tb = description.transpose_b == CUBLAS_OP_T;
    return (ta ? a.columns : a.rows) == d.rows && (tb ? b.rows : b.columns) == d.columns &&
           (ta ? a.rows : a.columns) == (tb ? b.columns : b.rows) && a.stride >= a.rows && b.stride >= b.rows &&
           d.stride >= d.rows;
}

Purpose purpose_of(const cublasLtMatmulDescOpaque_t& description, const cublasLtMatrixLayoutOpaque_t& a,
                   const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& d) {
    return {.a_stride = a.stride,
            .b_stride = b.stride,
            .d_stride = d.stride,
            .columns = static_cast<std::int32_t>(d.columns),
            .depth = static_cast<std::int32_t>(description.transpose_a == CUBLAS_OP_T ? a.rows : a.columns),
            .alignments = {1, 1, 1, 1, alignment_of(description.bias), alignment_of(description.aux)},
            .epilogue = static_cast<std::uint16_t>(description.epilogue),
            .tile = 0,  // of an algorithm
            .transpose_a = description.transpose_a == CUBLAS_OP_T,
            .transpose_b = description.transpose_b == CUBLAS_OP_T,
            .d_type = static_cast<std::uint8_t>(d.type)};
}

bool same(const Purpose& one, const Purpose& other) {
    return one.a_stride == other.a_stride && one.b_stride == other.b_stride && one.d_stride == other.d_stride &&
           one.epilogue == other.epilogue && one.transpose_a == other.transpose_a &&
           one.transpose_b == other.transpose_b && one.d_type == other.d_type;
}

/// Whether PROTALBERT_TEST_REFUSALS takes an algorithm away. `purpose`: of the product that is asked for or computed,
/// `rows` of its d; `borrowed`: the algorithm was chosen for another size.
bool refused(const Purpose& purpose, std::int64_t rows, bool borrowed) {
    const char* const seed = std::getenv("PROTALBERT_TEST_REFUSALS");
    if (seed == nullptr) return false;
    constexpr std::int64_t small = 64;
    const bool is_small = std::min({rows, std::int64_t{purpose.columns}, std::int64_t{purpose.depth}}) <= small;
    if (!is_small && !borrowed && purpose.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return false;
    std::uint64_t hash = std::strtoull(seed, nullptr, 10);
    for (const std::int64_t part :
         {rows, std::int64_t{purpose.columns}, std::int64_t{purpose.depth}, std::int64_t{purpose.epilogue},
          std::int64_t{purpose.transpose_a}, std::int64_t{purpose.transpose_b}, std::int64_t{borrowed}}) {
        hash = (hash ^ static_cast<std::uint64_t>(part)) * 0x9e3779b97f4a7c15U;
        hash ^= hash >> 32;
    }
    return hash % 2 == 1;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS:
            return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_INVALID_VALUE:
            return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED:
            return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED:
            return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}
std::size_t cublasLtGetVersion() { return 0; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t, cudaDataType_t) {
    *description = new cublasLtMatmulDescOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            return set(description->transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB:
            return set(description->transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            return set(description->epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            return set(description->bias, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
            return set(description->aux, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
            return set(description->aux_stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t stride) {
    *layout = new cublasLtMatrixLayoutOpaque_t{type, static_cast<std::int64_t>(rows),
                                               static_cast<std::int64_t>(columns), stride};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            return set(preference->workspace, value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
            return set(preference->reductions, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
            return set(preference->alignments[0], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
            return set(preference->alignments[1], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
            return set(preference->alignments[2], value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            return set(preference->alignments[3], value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most_results,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
    *count = 0;
    if (most_results < 1 || c != d || !fit(*description, *a, *b, *d)) return CUBLAS_STATUS_INVALID_VALUE;
    const cublasLtEpilogue_t epilogue = description->epilogue;
    if (has_bias(epilogue) && !divides(vector_bytes, description->bias)) return refuse("the bias is not aligned");
    if (epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS &&
        (description->aux_stride % 8 != 0 || description->aux_stride < d->rows ||
         !divides(vector_bytes, description->aux)))
        return refuse("the second output is not aligned");
    if (d->type != CUDA_R_32F && preference->reductions != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)
        return refuse("parts of a sum may be rounded before they are added");
    Purpose purpose = purpose_of(*description, *a, *b, *d);
    if (refused(purpose, d->rows, false)) return CUBLAS_STATUS_NOT_SUPPORTED;
    std::copy(preference->alignments.begin(), preference->alignments.end(), purpose.alignments.begin());
    // Two algorithms that do the same: as on Hopper, the second has the other tiles.
    constexpr std::array<std::pair<cublasLtMatmulTile_t, int>, 2> tiles{
        {{CUBLASLT_MATMUL_TILE_192x192, 192 * 192}, {CUBLASLT_MATMUL_TILE_256x128, 256 * 128}}};
    for (; *count < std::min(most_results, static_cast<int>(tiles.size())); ++*count) {
        const auto& [tile, elements] = tiles[static_cast<std::size_t>(*count)];
        purpose.tile = static_cast<std::uint16_t>(tile);
        results[*count] = {};
        results[*count].wavesCount = static_cast<float>(d->rows * d->columns) / static_cast<float>(elements);
        std::memcpy(results[*count].algo.data, &purpose, sizeof purpose);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    std::size_t bytes, std::size_t*) {
    if (attribute != CUBLASLT_ALGO_CONFIG_TILE_ID || bytes != sizeof(std::uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
    Purpose purpose{};
    std::memcpy(&purpose, algorithm->data, sizeof purpose);
    const std::uint32_t tile = purpose.tile;
    std::memcpy(value, &tile, sizeof tile);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void*,
                              std::size_t, cudaStream_t) {
    if (!fit(*description, *a_layout, *b_layout, *d_layout) || c_layout != d_layout) return CUBLAS_STATUS_INVALID_VALUE;
    if (*static_cast<const float*>(alpha) != 1) return CUBLAS_STATUS_INVALID_VALUE;
    Purpose purpose{};
    std::memcpy(&purpose, algorithm->data, sizeof purpose);
    const Purpose here = purpose_of(*description, *a_layout, *b_layout, *d_layout);
    if (!same(purpose, here)) return refuse("the algorithm is for a product of another layout");
    ++products_by_tile[static_cast<cublasLtMatmulTile_t>(purpose.tile)];
    const bool borrowed = purpose.columns != here.columns || purpose.depth != here.depth;
    if (borrowed && refused(here, d_layout->rows, true)) return CUBLAS_STATUS_NOT_SUPPORTED;
    const std::array<const void*, 6> pointers{a, b, c, d, description->bias, description->aux};
    for (std::size_t i = 0; i < pointers.size(); ++i) {
        if (!divides(purpose.alignments[i], pointers[i])) return refuse("the algorithm is for more aligned matrices");
    }

    const emulation::DeviceAccess access;
    const bool add = *static_cast<const float*>(beta) != 0;
    const std::int64_t rows = d_layout->rows, columns = d_layout->columns;
    const std::vector<float> left = read(a, *a_layout, purpose.transpose_a);   // columns of op(a)
    const std::vector<float> right = read(b, *b_layout, purpose.transpose_b);  // columns of op(b)
    const std::int64_t depth = static_cast<std::int64_t>(right.size()) / columns;
    const cublasLtEpilogue_t epilogue = description->epilogue;
    std::vector<float> sums(static_cast<std::size_t>(rows));
    for (std::int64_t column = 0; column < columns; ++column) {
        std::fill(sums.begin(), sums.end(), 0.0F);
        for (std::int64_t k = 0; k < depth; ++k) {
            const float factor = right[static_cast<std::size_t>(column * depth + k)];
            const float* const from = left.data() + k * rows;
            for (std::int64_t row = 0; row < rows; ++row) sums[static_cast<std::size_t>(row)] += factor * from[row];
        }
        for (std::int64_t row = 0; row < rows; ++row) {
            float value = sums[static_cast<std::size_t>(row)];
            const std::int64_t place = column * d_layout->stride + row;
            if (add) value += read(c, place, d_layout->type);
            if (has_bias(epilogue)) value += read(description->bias, row, d_layout->type);
            if (epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
                write(description->aux, column * description->aux_stride + row, value, d_layout->type);
            write(d, place, has_gelu(epilogue) ? gelu_tanh(value) : value, d_layout->type);
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}

std::int64_t emulation::products_with(cublasLtMatmulTile_t tile) { return products_by_tile[tile]; }

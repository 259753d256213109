// Matrix products by cuBLASLt. It counts columns first: what is row-major here is a transposed matrix there, so that
// d = op(a) op(b) is computed as d^T = op(b)^T op(a)^T, cuBLASLt's A is b, and its m counts the columns of d.

#include "kernels/cuda/products.hpp"

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <map>
#include <span>
#include <string_view>
#include <tuple>

#include "base/error.hpp"
#include "base/log.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device_arena.hpp"
#include "kernels/cuda/product_simple.hpp"

namespace protalbert::cuda {

namespace {

/// cuBLASLt's advice for Hopper is 32 MiB; its kernels that cut the depth need the more the larger the result.
constexpr std::size_t workspace_size = std::size_t{32} << 20;

void check_library(cublasStatus_t status, const char* call) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw Error(fmt::format("{} failed: {}", call, cublasLtGetStatusString(status)));
}
#define PROTALBERT_CUBLASLT_CHECK(call) check_library((call), #call)

/// Handles of cuBLASLt that free themselves.
struct Description {
    Description(cublasComputeType_t compute, cudaDataType_t scale) {
        PROTALBERT_CUBLASLT_CHECK(cublasLtMatmulDescCreate(&handle, compute, scale));
    }
    ~Description() { cublasLtMatmulDescDestroy(handle); }
    Description(const Description&) = delete;
    Description& operator=(const Description&) = delete;
    template <class Value>
    void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
        PROTALBERT_CUBLASLT_CHECK(cublasLtMatmulDescSetAttribute(handle, attribute, &value, sizeof value));
    }
    cublasLtMatmulDesc_t handle = nullptr;
};

struct Layout {
    Layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
        PROTALBERT_CUBLASLT_CHECK(cublasLtMatrixLayoutCreate(&handle, type, static_cast<std::uint64_t>(rows),
                                                             static_cast<std::uint64_t>(columns), stride));
    }
    ~Layout() { cublasLtMatrixLayoutDestroy(handle); }
    Layout(const Layout&) = delete;
    Layout& operator=(const Layout&) = delete;
    cublasLtMatrixLayout_t handle = nullptr;
};

struct Preference {
    Preference() { PROTALBERT_CUBLASLT_CHECK(cublasLtMatmulPreferenceCreate(&handle)); }
    ~Preference() { cublasLtMatmulPreferenceDestroy(handle); }
    Preference(const Preference&) = delete;
    Preference& operator=(const Preference&) = delete;
    template <class Value>
    void set(cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
        PROTALBERT_CUBLASLT_CHECK(cublasLtMatmulPreferenceSetAttribute(handle, attribute, &value, sizeof value));
    }
    cublasLtMatmulPreference_t handle = nullptr;
};

/// The largest power of two up to 256, cuBLASLt's own assumption, that divides the address.
std::uint32_t alignment_of(const void* pointer) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256;
    return static_cast<std::uint32_t>(address & (~address + 1));
}

cublasLtEpilogue_t library_epilogue(Epilogue epilogue) {
    switch (epilogue) {
        case Epilogue::none:
            return CUBLASLT_EPILOGUE_DEFAULT;
        case Epilogue::bias:
            return CUBLASLT_EPILOGUE_BIAS;
        case Epilogue::gelu:
            return CUBLASLT_EPILOGUE_GELU_BIAS;
        case Epilogue::gelu_pre:
            return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    }
    throw Error("an epilogue that products.cpp does not know");
}

/// What decides on an algorithm: the shape and the alignments of a, b, c, d, the bias and `pre`. The number of tokens
/// differs from batch to batch: it counts in steps, so that the same algorithms serve similar batches. Taken from the
/// shape and not by timing: the same run takes the same algorithms, and so has the same bits, whenever it is started.
using Alignments = std::array<std::uint32_t, 6>;
using PlanKey =
    std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, Epilogue, bool, bool, bool, bool, Alignments>;

struct Plan {
    bool possible = false;
    cublasLtMatmulAlgo_t algorithm{};
};

/// How full the multiprocessors are over the waves of tiles that a product takes: 0.75 for 1.5 waves, which take as
/// long as two.
float fullness(const cublasLtMatmulHeuristicResult_t& result) {
    return result.wavesCount > 0 ? result.wavesCount / std::ceil(result.wavesCount) : 0;
}

/// The algorithm to take of those that the library found, its own choice first. On an H200 its choices with tiles of
/// 192 x 192 and 320 x 128 took 3 to 8 % longer at ProtAlbert's products than those with 256 x 128 or 128 x 256, which
/// it names second or third (cuBLASLt 13.1; tests/gpu/probe_products.cpp measures it). Those are taken where they leave
/// the multiprocessors no emptier.
/// Of products of bfloat16, for which this was measured.
const cublasLtMatmulHeuristicResult_t& best_of(std::span<const cublasLtMatmulHeuristicResult_t> results) {
    for (const cublasLtMatmulHeuristicResult_t& result : results) {
        std::uint32_t tile = 0;
        if (result.state != CUBLAS_STATUS_SUCCESS ||
            cublasLtMatmulAlgoConfigGetAttribute(&result.algo, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile,
                                                 nullptr) != CUBLAS_STATUS_SUCCESS)
            continue;
        if ((tile == CUBLASLT_MATMUL_TILE_256x128 || tile == CUBLASLT_MATMUL_TILE_128x256) &&
            fullness(result) >= fullness(results.front()))
            return result;
    }
    return results.front();
}

constexpr std::int64_t least_step = 256;

/// Upwards: what an algorithm needs for more does for less.
std::int64_t in_steps(std::int64_t n, std::int64_t step) { return n <= step ? n : (n + step - 1) / step * step; }

/// Of rows: how many tiles they fill decides.
std::int64_t rounded_rows(std::int64_t rows) { return in_steps(rows, least_step); }

/// Of the depth, to a sixteenth of it: that hardly decides. A weight's gradient sums over the tokens of all iterations,
/// hundreds of steps of 256: two batches would rarely share one.
std::int64_t rounded_depth(std::int64_t depth) {
    const auto power = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(depth)));
    return in_steps(depth, std::max(least_step, power / 16));
}

/// What PROTALBERT_PRODUCTS says.
bool wants_simple_products(const char* products) {
    if (products == nullptr || *products == '\0') return false;
    if (std::string_view(products) == "simple") return true;
    throw InputError(fmt::format("PROTALBERT_PRODUCTS is {}, and only simple is known; unset it", products));
}

}  // namespace

struct Products::Library {
    explicit Library(Precision p) : precision(p) {
        if (simple_alone)
            log_warning("PROTALBERT_PRODUCTS=simple: a slow kernel computes all products; unset it for speed");
        PROTALBERT_CUBLASLT_CHECK(cublasLtCreate(&handle));
        workspace = allocate_device(workspace_size);
        int device = 0, major = 0;
        PROTALBERT_CUDA_CHECK(cudaGetDevice(&device));
        PROTALBERT_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
        hopper = major == 9;
    }
    ~Library() {
        free_device(workspace);
        if (!leaving_device()) cublasLtDestroy(handle);  // it waits as freeing does
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    cudaDataType_t type() const { return precision == Precision::bfloat16 ? CUDA_R_16BF : CUDA_R_32F; }
    bool run(const Product& product, bool rounded, cudaStream_t stream);

    Precision precision;
    cublasLtHandle_t handle = nullptr;
    void* workspace = nullptr;
    /// PROTALBERT_PRODUCTS=simple: the slow kernel does all products. compute-sanitizer's racecheck needs it, which
    /// cannot run the library's kernels for Hopper.
    const bool simple_alone = wants_simple_products(std::getenv("PROTALBERT_PRODUCTS"));
    bool hopper = false;  ///< where best_of() was measured; other GPUs take the library's own choice
    std::map<PlanKey, Plan> plans;
    std::map<PlanKey, Plan> exact_plans;  ///< of shapes for which the rounded shape's algorithm does not do
    std::int64_t simple_products = 0;
};

/// One attempt with the algorithm for the rounded or the exact shape. False where there is none.
bool Products::Library::run(const Product& p, bool rounded, cudaStream_t stream) {
    const cudaDataType_t d_type = p.d_is_float32 ? CUDA_R_32F : type();
    const std::int64_t d_stride = p.d_stride > 0 ? p.d_stride : p.columns;
    // Float32 in full: TensorFloat-32 would lose what `precision = "float32"` is chosen for.
    Description description(CUBLAS_COMPUTE_32F, CUDA_R_32F);
    description.set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    description.set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    description.set(CUBLASLT_MATMUL_DESC_EPILOGUE, library_epilogue(p.epilogue));
    if (p.bias != nullptr) description.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    if (p.epilogue == Epilogue::gelu_pre) {
        description.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, static_cast<const void*>(p.pre));
        description.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.columns);
    }

    const auto a_layout = [&](std::int64_t columns, std::int64_t depth) {
        return p.transpose_b ? std::tuple(depth, columns, depth) : std::tuple(columns, depth, columns);
    };
    const auto b_layout = [&](std::int64_t rows, std::int64_t depth) {
        return p.transpose_a ? std::tuple(rows, depth, rows) : std::tuple(depth, rows, depth);
    };
    const auto layout = [](cudaDataType_t element, const std::tuple<std::int64_t, std::int64_t, std::int64_t>& shape) {
        return Layout(element, std::get<0>(shape), std::get<1>(shape), std::get<2>(shape));
    };
    const void* const c = p.c != nullptr ? p.c : p.d;
    // Only what is no distance between rows or columns of a or b is rounded: an algorithm may rely on those.
    const std::int64_t key_rows = rounded && !p.transpose_a ? rounded_rows(p.rows) : p.rows;
    const std::int64_t key_depth = rounded && p.transpose_a && !p.transpose_b ? rounded_depth(p.depth) : p.depth;
    const PlanKey key{key_rows,
                      p.columns,
                      key_depth,
                      d_stride,
                      p.epilogue,
                      p.transpose_a,
                      p.transpose_b,
                      p.d_is_float32,
                      p.c != nullptr,
                      {alignment_of(p.a), alignment_of(p.b), alignment_of(c), alignment_of(p.d), alignment_of(p.bias),
                       alignment_of(p.pre)}};
    auto& cache = rounded ? plans : exact_plans;
    auto found = cache.find(key);
    if (found == cache.end()) {
        Preference preference;
        preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_size);
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b));
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a));
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(c));
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.d));
        // Where the depth is cut, parts of a sum are not to be rounded to bfloat16 before they are added.
        if (d_type == CUDA_R_16BF)
            preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
        const Layout a = layout(type(), a_layout(p.columns, key_depth));
        const Layout b = layout(type(), b_layout(key_rows, key_depth));
        const Layout d = layout(d_type, {p.columns, key_rows, d_stride});
        std::array<cublasLtMatmulHeuristicResult_t, 8> results{};
        int count = 0;
        const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
            handle, description.handle, a.handle, b.handle, d.handle, d.handle, preference.handle,
            hopper && precision == Precision::bfloat16 ? static_cast<int>(results.size()) : 1, results.data(), &count);
        if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE)
            check_library(status, "cublasLtMatmulAlgoGetHeuristic");
        Plan plan;
        if (status == CUBLAS_STATUS_SUCCESS && count > 0) {
            const cublasLtMatmulHeuristicResult_t& best =
                best_of(std::span(results).first(static_cast<std::size_t>(count)));
            plan.possible = best.state == CUBLAS_STATUS_SUCCESS;
            plan.algorithm = best.algo;
        }
        found = cache.emplace(key, plan).first;
    }
    if (!found->second.possible) return false;

    const Layout a = layout(type(), a_layout(p.columns, p.depth));
    const Layout b = layout(type(), b_layout(p.rows, p.depth));
    const Layout d = layout(d_type, {p.columns, p.rows, d_stride});
    const float one = 1, beta = p.c != nullptr ? 1 : 0;
    const cublasStatus_t status =
        cublasLtMatmul(handle, description.handle, &one, p.b, a.handle, p.a, b.handle, &beta, c, d.handle, p.d,
                       d.handle, &found->second.algorithm, workspace, workspace_size, stream);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
    check_library(status, "cublasLtMatmul");
    return true;
}

Products::Products(Precision precision) : library_(std::make_unique<Library>(precision)) {}

Products::~Products() = default;

bool Products::multiply(const Product& product, cudaStream_t stream) {
    PROTALBERT_CHECK(product.rows > 0 && product.columns > 0 && product.depth > 0, "products have no empty side");
    const bool simple_alone = library_->simple_alone;
    if (!simple_alone && (library_->run(product, true, stream) || library_->run(product, false, stream))) return true;
    if (product.epilogue != Epilogue::none && product.epilogue != Epilogue::bias) return false;
    if (library_->simple_products++ == 0 && !simple_alone) {
        log_warning(
            fmt::format("cuBLASLt has no algorithm for a product of [{}, {}] by [{}, {}]: a slow kernel computes it "
                        "and, without further messages, others like it; protalbert_bench train --breakdown counts them",
                        product.rows, product.depth, product.depth, product.columns));
    }
    simple_product(product, library_->precision, stream);
    return true;
}

std::int64_t Products::simple_products() const { return library_->simple_products; }

const char* Products::description() {
    static const std::string text = fmt::format("cuBLASLt {}", cublasLtGetVersion());
    return text.c_str();
}

std::size_t Products::workspace_bytes() { return workspace_size; }

}  // namespace protalbert::cuda

#pragma once
// What the programs that measure cuBLASLt's products share: random numbers, products with the algorithms that cuBLASLt
// proposes for them, timing in turns, errors, lines of JSON.

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/handles.hpp"

namespace protalbert::gpu_probe {

using Index = std::int64_t;
using Line = nlohmann::ordered_json;

constexpr Index iterations = 12;
struct Sizes {
    Index T = 8192, H = 4096, F = 16384;
};

inline void print(const Line& line) {
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
}

inline void check(cublasStatus_t status, const char* call) {
    if (status != CUBLAS_STATUS_SUCCESS) throw Error(fmt::format("{}: {}", call, cublasLtGetStatusString(status)));
}
#define CHECK_CUBLASLT(call) ::protalbert::gpu_probe::check((call), #call)

/// bfloat16 on the host.
struct Bfloat16 {
    using Bits = std::uint16_t;
    static double to_double(Bits bits) {
        const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
        float value = 0;
        std::memcpy(&value, &word, sizeof value);
        return static_cast<double>(value);
    }
    static Bits from(float value) {
        std::uint32_t word = 0;
        std::memcpy(&word, &value, sizeof word);
        return static_cast<Bits>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
    }
};

/// to [n] = the period's numbers from `offset` on, again and again.
template <class Element>
void fill_repeating(Backend& backend, const DeviceMemory& to, Index n, const std::vector<Element>& period,
                    Index offset) {
    const auto count = static_cast<Index>(period.size());
    Element* const begin = to.as<Element>();
    Index done = 0;
    while (done < std::min(n, count)) {
        const Index from = (offset + done) % count, part = std::min(std::min(n, count) - done, count - from);
        backend.upload(begin + done, period.data() + from, static_cast<std::size_t>(part) * sizeof(Element), {});
        done += part;
    }
    // A period is there, and its copies: twice as much each time.
    while (done < n) {
        const Index part = std::min(n - done, done);
        backend.copy(begin + done, begin, static_cast<std::size_t>(part) * sizeof(Element), {});
        done += part;
    }
    backend.synchronize({});
}

/// Random numbers on the host, in a Format. Arrays of the device repeat them, each from an offset of its own; their
/// count is a prime, so that no row is like another.
template <class Format>
class RandomNumbers {
  public:
    static constexpr Index count = 4'194'319;

    explicit RandomNumbers(float deviation, bool positive = false) : values_(count) {
        std::mt19937 generator(1);
        std::normal_distribution<float> normal(0, deviation);
        for (typename Format::Bits& value : values_) {
            const float number = normal(generator);
            value = Format::from(positive ? std::fabs(number) : number);
        }
    }
    double operator()(Index i) const { return Format::to_double(values_[static_cast<std::size_t>(i % count)]); }
    /// to [n] = the numbers from `offset` on.
    void fill(Backend& backend, const DeviceMemory& to, Index n, Index offset) const {
        fill_repeating(backend, to, n, values_, offset);
    }

  private:
    std::vector<typename Format::Bits> values_;
};

/// d [rows, columns] = op(a) op(b), or += when `accumulate`, row-major, as kernels/cuda/products.hpp has it.
struct Product {
    Index rows = 0, columns = 0, depth = 0;
    cudaDataType_t type = CUDA_R_16BF;  ///< of a and b
    const void* a = nullptr;
    const void* b = nullptr;
    bool transpose_a = false, transpose_b = false;
    void* d = nullptr;
    bool d_is_float32 = false, accumulate = false;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void* bias = nullptr;
    bool bias_is_float32 = false;                             ///< where that is not what d's type implies
    void* aux = nullptr;                                      ///< [rows, columns] like d
    std::function<void(cublasLtMatmulDesc_t)> describe_more;  ///< sets further attributes; null for none

    double flops() const {
        return 2 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(depth);
    }
};

/// cuBLASLt's handle and its workspace, of the size that the backend gives it.
struct Library {
    explicit Library(Backend& backend) : workspace(backend, cuda::Products::workspace_bytes()) {
        CHECK_CUBLASLT(cublasLtCreate(&handle));
    }
    ~Library() { cublasLtDestroy(handle); }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    DeviceMemory workspace;
    cublasLtHandle_t handle = nullptr;
};

template <class Value>
void set_attribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    CHECK_CUBLASLT(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value));
}

/// A product with the algorithms that cuBLASLt proposes for it, best first.
class Matmul {
  public:
    static constexpr int most_algorithms = 8;

    /// Without an algorithm where cuBLASLt has none; run() tells why.
    Matmul(const Library& library, const Product& p) : library_(library), product_(p) {
        try {
            find_algorithms();
        } catch (const std::exception& error) {
            algorithm_count_ = 0;
            problem_ = error.what();
        }
    }
    ~Matmul() {
        for (const cublasLtMatrixLayout_t made : {a_, b_, d_})
            if (made != nullptr) cublasLtMatrixLayoutDestroy(made);
        if (description_ != nullptr) cublasLtMatmulDescDestroy(description_);
    }
    Matmul(const Matmul&) = delete;
    Matmul& operator=(const Matmul&) = delete;

    int algorithms() const { return algorithm_count_; }
    const Product& product() const { return product_; }

    void run(int algorithm) const {
        if (algorithm >= algorithm_count_) throw Error(problem_);
        const cublasLtMatmulHeuristicResult_t& chosen = algorithms_[static_cast<std::size_t>(algorithm)];
        CHECK_CUBLASLT(chosen.state);
        const float one = 1, beta = product_.accumulate ? 1 : 0;
        CHECK_CUBLASLT(cublasLtMatmul(library_.handle, description_, &one, product_.b, a_, product_.a, b_, &beta,
                                      product_.d, d_, product_.d, d_, &chosen.algo, library_.workspace.data(),
                                      cuda::Products::workspace_bytes(), nullptr));
    }

    /// What is known of an algorithm, for people.
    void describe(Line& line, int algorithm) const {
        line["algorithm"] = algorithm;
        if (algorithm >= algorithm_count_) return;
        const cublasLtMatmulHeuristicResult_t& chosen = algorithms_[static_cast<std::size_t>(algorithm)];
        line["workspace_bytes"] = chosen.workspaceSize;
        line["waves"] = chosen.wavesCount;
        const auto attribute = [&](const char* name, cublasLtMatmulAlgoConfigAttributes_t which, auto value) {
            std::size_t written = 0;
            if (cublasLtMatmulAlgoConfigGetAttribute(&chosen.algo, which, &value, sizeof value, &written) ==
                CUBLAS_STATUS_SUCCESS)
                line[name] = value;
        };
        attribute("id", CUBLASLT_ALGO_CONFIG_ID, std::int32_t{});
        attribute("tile", CUBLASLT_ALGO_CONFIG_TILE_ID, std::uint32_t{});
        attribute("stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, std::uint32_t{});
        attribute("split_k", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, std::int32_t{});
        attribute("reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, std::uint32_t{});
        attribute("swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, std::uint32_t{});
        attribute("option", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, std::uint32_t{});
        attribute("inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, std::uint16_t{});
        attribute("cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, std::uint16_t{});
    }

  private:
    void find_algorithms() {
        const Product& p = product_;
        CHECK_CUBLASLT(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
        set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.epilogue);
        if (p.bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
        if (p.bias_is_float32) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<std::int32_t>(CUDA_R_32F));
        if (p.aux != nullptr) {
            set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux);
            set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.columns);
        }
        if (p.describe_more) p.describe_more(description_);
        a_ = p.transpose_b ? layout(p.type, p.depth, p.columns) : layout(p.type, p.columns, p.depth);
        b_ = p.transpose_a ? layout(p.type, p.rows, p.depth) : layout(p.type, p.depth, p.rows);
        d_ = layout(p.d_is_float32 ? CUDA_R_32F : CUDA_R_16BF, p.columns, p.rows);
        cublasLtMatmulPreference_t preference = nullptr;
        CHECK_CUBLASLT(cublasLtMatmulPreferenceCreate(&preference));
        const std::size_t workspace = cuda::Products::workspace_bytes();
        const std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        CHECK_CUBLASLT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                            &workspace, sizeof workspace));
        if (!p.d_is_float32)
            CHECK_CUBLASLT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                                &reductions, sizeof reductions));
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(library_.handle, description_, a_, b_, d_, d_, preference, most_algorithms,
                                           algorithms_.data(), &algorithm_count_);
        cublasLtMatmulPreferenceDestroy(preference);
        check(status, "cublasLtMatmulAlgoGetHeuristic");
        if (algorithm_count_ == 0) throw Error("cuBLASLt proposes no algorithm");
    }
    template <class Value>
    void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
        set_attribute(description_, attribute, value);
    }
    static cublasLtMatrixLayout_t layout(cudaDataType_t type, Index rows, Index columns) {
        cublasLtMatrixLayout_t made = nullptr;
        CHECK_CUBLASLT(cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(rows),
                                                  static_cast<std::uint64_t>(columns), rows));
        return made;
    }

    const Library& library_;
    Product product_;
    cublasLtMatmulDesc_t description_ = nullptr;
    cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, d_ = nullptr;
    std::array<cublasLtMatmulHeuristicResult_t, most_algorithms> algorithms_{};
    int algorithm_count_ = 0;
    std::string problem_;
};

/// Something to time, with the line that will tell it.
struct Candidate {
    Line line;
    double flops;
    std::function<void()> run;
};

/// Times the candidates, and tells each line as soon as it has its time, or its "error". They take turns: the clock
/// that the GPU's power allows falls while it works, and is to fall for all alike. The whole takes about `seconds`, and
/// at least `least` turns.
template <class Tell>
void take_turns(std::vector<Candidate>& candidates, double seconds, int least, Backend& backend, const Tell& tell) {
    std::vector<Candidate*> able;
    for (Candidate& candidate : candidates) {
        try {
            candidate.run();  // loads its code too
            PROTALBERT_CUDA_CHECK(cudaDeviceSynchronize());
            able.push_back(&candidate);
        } catch (const std::exception& error) {
            cudaGetLastError();  // told here
            candidate.line["error"] = error.what();
            tell(candidate.line);
        }
    }
    if (able.empty()) return;
    struct Timing {
        OwnEvent begin, end;
    };
    std::vector<std::vector<Timing>> timings(able.size());
    const auto turn = [&] {
        for (std::size_t i = 0; i < able.size(); ++i) {
            const Timing& timing = timings[i].emplace_back(Timing{OwnEvent(backend), OwnEvent(backend)});
            backend.record(timing.begin.get(), {});
            able[i]->run();
            backend.record(timing.end.get(), {});
        }
    };
    try {
        turn();
        backend.synchronize({});
        const double once =
            backend.seconds_between(timings.front().front().begin.get(), timings.back().back().end.get());
        constexpr double most = 50;
        const auto turns =
            static_cast<int>(std::clamp(seconds / std::max(once, 1e-6), static_cast<double>(least), most));
        for (int n = 1; n < turns; ++n) turn();
        backend.synchronize({});
    } catch (const std::exception& error) {
        cudaGetLastError();
        for (Candidate* candidate : able) {
            candidate->line["error"] = error.what();
            tell(candidate->line);
        }
        return;
    }
    const auto rounded = [](double x, double parts) { return std::round(x * parts) / parts; };
    for (std::size_t i = 0; i < able.size(); ++i) {
        std::vector<double> times;
        for (const Timing& timing : timings[i])
            times.push_back(1e3 * backend.seconds_between(timing.begin.get(), timing.end.get()));
        std::sort(times.begin(), times.end());
        const double median = times[times.size() / 2];
        Line& line = able[i]->line;
        line["ms"] = rounded(median, 1e4);
        line["ms_least"] = rounded(times.front(), 1e4);
        line["runs"] = times.size();
        if (able[i]->flops > 0) line["tflops"] = rounded(1e-9 * able[i]->flops / median, 100);
        tell(line);
    }
}

/// Times the candidates in turns and prints their lines. Returns the lines of those that ran.
inline std::vector<Line> measure(std::vector<Candidate> candidates, double seconds, Backend& backend) {
    std::vector<Line> lines;
    take_turns(candidates, seconds, 3, backend, [&](const Line& line) {
        print(line);
        if (!line.contains("error")) lines.push_back(line);
    });
    return lines;
}

/// How far numbers are from what they should be, in root mean squares of that; `mean`: on average.
struct Errors {
    double rms, worst, mean;
};
inline Errors errors_of(const std::vector<double>& got, const std::vector<double>& want) {
    double squares = 0, errors = 0, worst = 0, sum = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        const double error = got[i] - want[i];
        squares += want[i] * want[i];
        errors += error * error;
        sum += error;
        worst = std::isfinite(error) ? std::max(worst, std::fabs(error)) : INFINITY;
    }
    const auto n = static_cast<double>(want.size());
    const double scale = std::sqrt(squares / n);
    return {std::sqrt(errors / n) / scale, worst / scale, sum / n / scale};
}

inline std::vector<double> download_floats(Backend& backend, const float* from, Index n) {
    std::vector<float> values(static_cast<std::size_t>(n));
    backend.download(values.data(), from, values.size() * sizeof(float), {});
    backend.synchronize({});
    return {values.begin(), values.end()};
}

inline std::vector<double> download_bfloat16(Backend& backend, const void* from, Index n) {
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(n));
    backend.download(bits.data(), from, bits.size() * 2, {});
    backend.synchronize({});
    std::vector<double> values;
    for (const std::uint16_t value : bits) values.push_back(Bfloat16::to_double(value));
    return values;
}

/// The weights of a layer, [N, K].
struct WeightShape {
    const char* name;
    Index N, K;
};
inline std::array<WeightShape, 4> weights_of(const Sizes& s) {
    return {{{"QKV", 3 * s.H, s.H}, {"Wo", s.H, s.H}, {"W1", s.F, s.H}, {"W2", s.H, s.F}}};
}

/// Runs the sections that were asked for; what goes wrong in one is a line with "error". Returns the exit code.
template <class Section>
int run_sections(const std::string& sections, const Section& run) {
    int problems = 0;
    for (const char section : sections) {
        try {
            run(section);
        } catch (const std::exception& error) {
            cudaGetLastError();
            print({{"section", std::string(1, section)}, {"error", error.what()}});
            ++problems;
        }
    }
    return problems > 0 ? 1 : 0;
}

/// A probe's main: run(SECTIONS, sizes / DIVISOR), or 77 without a GPU.
inline int probe_main(int argc, char** argv, const char* name, const char* all_sections,
                      int (*run)(const std::string& sections, const Sizes& sizes)) {
    const CudaDevices devices = cuda_devices();
    if (devices.count == 0) {
        std::printf("%s: %s\n", name, devices.none.c_str());
        return 77;
    }
    try {
        const Index divisor = argc > 2 ? std::max(1L, std::atol(argv[2])) : 1;
        const Sizes sizes;
        return run(argc > 1 ? argv[1] : all_sections, {sizes.T / divisor, sizes.H / divisor, sizes.F / divisor});
    } catch (const std::exception& error) {
        print({{"error", error.what()}});
        return 1;
    }
}

}  // namespace protalbert::gpu_probe

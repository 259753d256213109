// Measures ProtAlbert's large products on a GPU, in bfloat16: what the backend's choices cost beside the alternatives.
//
//   probe_products [SECTIONS [DIVISOR]]
//
// SECTIONS, "abcd" where none is named:
//   a  weight gradients over all iterations' tokens: the bias's gradient by cuBLASLt's epilogue or by our column sums
//   b  the feed-forward layer's first product: bias alone, GELU, GELU with its second output
//   c  the data gradient behind the GELU: slices of several sizes in two passes, cuBLASLt's own epilogues
//   d  the first eight algorithms that cuBLASLt proposes for each of the twelve products of a layer
// DIVISOR makes every size smaller, to try the program itself.
//
// One line of JSON a measurement, printed at once: a run that is cut off leaves what it has measured. What cannot be
// measured is a line with "error". Exit code 77 without a GPU.

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
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/handles.hpp"

namespace protalbert {
namespace {

using Index = std::int64_t;
using Line = nlohmann::ordered_json;

constexpr Index iterations = 12;
struct Sizes {
    Index T = 8192, H = 4096, F = 16384;
};

void print(const Line& line) {
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
}

void check(cublasStatus_t status, const char* call) {
    if (status != CUBLAS_STATUS_SUCCESS) throw Error(fmt::format("{}: {}", call, cublasLtGetStatusString(status)));
}
#define CHECK_CUBLASLT(call) check((call), #call)

/// A device's bfloat16 as a double.
double to_double(std::uint16_t bits) {
    const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
    float value = 0;
    std::memcpy(&value, &word, sizeof value);
    return static_cast<double>(value);
}

std::uint16_t to_bfloat16(float value) {
    std::uint32_t word = 0;
    std::memcpy(&word, &value, sizeof word);
    return static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
}

/// Random numbers on the host, as bfloat16. Arrays of the device repeat them, each from an offset of its own; their
/// count is a prime, so that no row is like another.
class Numbers {
  public:
    static constexpr Index count = 4'194'319;

    explicit Numbers(float deviation) : values_(count) {
        std::mt19937 generator(1);
        std::normal_distribution<float> normal(0, deviation);
        for (std::uint16_t& value : values_) value = to_bfloat16(normal(generator));
    }
    double operator()(Index i) const { return to_double(values_[static_cast<std::size_t>(i % count)]); }
    /// to [n] = the numbers from `offset` on.
    void fill(Backend& backend, const DeviceMemory& to, Index n, Index offset) const {
        for (Index done = 0; done < n;) {
            const Index from = (offset + done) % count, part = std::min(count - from, n - done);
            backend.upload(to.as<std::uint16_t>() + done, values_.data() + from, static_cast<std::size_t>(part) * 2,
                           {});
            done += part;
        }
        backend.synchronize({});
    }

  private:
    std::vector<std::uint16_t> values_;
};

/// d [rows, columns] = op(a) op(b), or += when `accumulate`, row-major, as kernels/cuda/products.hpp has it.
struct Product {
    Index rows = 0, columns = 0, depth = 0;
    const void* a = nullptr;
    const void* b = nullptr;
    bool transpose_a = false, transpose_b = false;
    void* d = nullptr;
    bool d_is_float32 = false, accumulate = false;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void* bias = nullptr;
    bool bias_is_float32 = false;  ///< where d is bfloat16
    void* aux = nullptr;           ///< [rows, columns] like d

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
        a_ = p.transpose_b ? layout(CUDA_R_16BF, p.depth, p.columns) : layout(CUDA_R_16BF, p.columns, p.depth);
        b_ = p.transpose_a ? layout(CUDA_R_16BF, p.rows, p.depth) : layout(CUDA_R_16BF, p.depth, p.rows);
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
        CHECK_CUBLASLT(cublasLtMatmulDescSetAttribute(description_, attribute, &value, sizeof value));
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

/// Times the candidates and prints their lines. They take turns: the clock that the GPU's power allows falls while it
/// works, and is to fall for all alike. The whole takes about `seconds`, and at least three turns. Returns the lines of
/// those that ran.
std::vector<Line> measure(std::vector<Candidate> candidates, double seconds, Backend& backend) {
    std::vector<Candidate> able;
    for (Candidate& candidate : candidates) {
        try {
            candidate.run();  // loads its code too
            PROTALBERT_CUDA_CHECK(cudaDeviceSynchronize());
            able.push_back(std::move(candidate));
        } catch (const std::exception& error) {
            cudaGetLastError();  // told here
            candidate.line["error"] = error.what();
            print(candidate.line);
        }
    }
    if (able.empty()) return {};
    struct Timing {
        OwnEvent begin, end;
    };
    std::vector<std::vector<Timing>> timings(able.size());
    const auto turn = [&] {
        for (std::size_t i = 0; i < able.size(); ++i) {
            const Timing& timing = timings[i].emplace_back(Timing{OwnEvent(backend), OwnEvent(backend)});
            backend.record(timing.begin.get(), {});
            able[i].run();
            backend.record(timing.end.get(), {});
        }
    };
    try {
        turn();
        backend.synchronize({});
        const double once =
            backend.seconds_between(timings.front().front().begin.get(), timings.back().back().end.get());
        constexpr double least = 3, most = 50;
        const auto turns = static_cast<int>(std::clamp(seconds / std::max(once, 1e-6), least, most));
        for (int n = 1; n < turns; ++n) turn();
        backend.synchronize({});
    } catch (const std::exception& error) {
        cudaGetLastError();
        for (Candidate& candidate : able) {
            candidate.line["error"] = error.what();
            print(candidate.line);
        }
        return {};
    }
    const auto rounded = [](double x, double parts) { return std::round(x * parts) / parts; };
    std::vector<Line> lines;
    for (std::size_t i = 0; i < able.size(); ++i) {
        std::vector<double> times;
        for (const Timing& timing : timings[i])
            times.push_back(1e3 * backend.seconds_between(timing.begin.get(), timing.end.get()));
        std::sort(times.begin(), times.end());
        const double median = times[times.size() / 2];
        able[i].line["ms"] = rounded(median, 1e4);
        able[i].line["ms_least"] = rounded(times.front(), 1e4);
        able[i].line["runs"] = times.size();
        if (able[i].flops > 0) able[i].line["tflops"] = rounded(1e-9 * able[i].flops / median, 100);
        print(able[i].line);
        lines.push_back(std::move(able[i].line));
    }
    return lines;
}

Line line_of(const char* section, const std::string& product, const Product& p, const std::string& variant) {
    return {{"section", section}, {"product", product},   {"variant", variant},
            {"rows", p.rows},     {"columns", p.columns}, {"depth", p.depth}};
}

Candidate first_choice(const char* section, const std::string& name, const Matmul& matmul, const std::string& variant) {
    Candidate candidate{line_of(section, name, matmul.product(), variant), matmul.product().flops(),
                        [&matmul] { matmul.run(0); }};
    matmul.describe(candidate.line, 0);
    return candidate;
}

/// Times every algorithm of a product, and tells the fastest beside the first, which the backend takes.
void measure_algorithms(const char* section, const std::string& name, const Matmul& matmul, const std::string& variant,
                        double seconds, Backend& backend) {
    std::vector<Candidate> candidates;
    for (int i = 0; i < std::max(matmul.algorithms(), 1); ++i) {
        candidates.push_back({line_of(section, name, matmul.product(), variant), matmul.product().flops(),
                              [&matmul, i] { matmul.run(i); }});
        matmul.describe(candidates.back().line, i);
    }
    const std::vector<Line> lines = measure(std::move(candidates), seconds, backend);
    if (lines.empty()) return;
    const auto fastest =
        std::min_element(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a["ms"] < b["ms"]; });
    Line line = line_of(section, name, matmul.product(), variant + ": fastest");
    for (const char* key : {"algorithm", "ms", "tflops"}) line[key] = (*fastest)[key];
    if (lines.front()["algorithm"] == 0) line["ms_of_first"] = lines.front()["ms"];
    print(line);
}

/// How far numbers are from what they should be, in root mean squares of that; `bias`: on average.
void add_errors(Line& line, const std::string& name, const std::vector<double>& got, const std::vector<double>& want) {
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
    line[name] = {{"rms", std::sqrt(errors / n) / scale}, {"worst", worst / scale}, {"mean", sum / n / scale}};
}

std::vector<double> download_floats(Backend& backend, const float* from, Index n) {
    std::vector<float> values(static_cast<std::size_t>(n));
    backend.download(values.data(), from, values.size() * sizeof(float), {});
    backend.synchronize({});
    return {values.begin(), values.end()};
}

std::vector<double> download_bfloat16(Backend& backend, const void* from, Index n) {
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(n));
    backend.download(bits.data(), from, bits.size() * 2, {});
    backend.synchronize({});
    std::vector<double> values;
    for (const std::uint16_t value : bits) values.push_back(to_double(value));
    return values;
}

/// Sums over the rows of numbers [T, N] that begin at `offset`, in double precision.
std::vector<double> column_sums(const Numbers& numbers, Index offset, Index T, Index N) {
    constexpr Index workers = 8;
    std::vector<std::vector<double>> parts(workers, std::vector<double>(static_cast<std::size_t>(N)));
    std::vector<std::thread> threads;
    for (Index w = 0; w < workers; ++w) {
        threads.emplace_back([&, w] {
            std::vector<double>& sums = parts[static_cast<std::size_t>(w)];
            for (Index t = T * w / workers; t < T * (w + 1) / workers; ++t) {
                Index i = (offset + t * N) % Numbers::count;
                for (double& sum : sums) {
                    sum += numbers(i);
                    if (++i == Numbers::count) i = 0;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (Index w = 1; w < workers; ++w)
        for (Index n = 0; n < N; ++n)
            parts[0][static_cast<std::size_t>(n)] += parts[static_cast<std::size_t>(w)][static_cast<std::size_t>(n)];
    return parts[0];
}

struct Probe {
    Sizes sizes;
    cuda::CudaBackend& backend;
    const Library& library;
    const Numbers& numbers;  ///< of activations
    const Numbers& weights;  ///< as small as a model's

    DeviceMemory weight() const {
        DeviceMemory memory(backend, static_cast<std::size_t>(sizes.F * sizes.H) * 2);
        weights.fill(backend, memory, sizes.F * sizes.H, 0);
        return memory;
    }
    DeviceMemory filled(Index n, Index offset) const {
        DeviceMemory memory(backend, static_cast<std::size_t>(n) * 2);
        numbers.fill(backend, memory, n, offset);
        return memory;
    }
    DeviceMemory floats(Index n) const { return DeviceMemory(backend, static_cast<std::size_t>(n) * sizeof(float)); }
};

/// Where an array's numbers begin.
constexpr Index large_offset = 0, small_offset = 1'400'000;

/// The weights of a layer, [N, K].
struct WeightShape {
    const char* name;
    Index N, K;
};
std::array<WeightShape, 4> weights_of(const Sizes& s) {
    return {{{"QKV", 3 * s.H, s.H}, {"Wo", s.H, s.H}, {"W1", s.F, s.H}, {"W2", s.H, s.F}}};
}

/// dweight [N, K] float32 = dy [T, N]^T x [T, K].
Product weight_gradient(float* dweight, const void* dy, const void* x, Index T, Index N, Index K) {
    Product product;
    product.rows = N;
    product.columns = K;
    product.depth = T;
    product.a = dy;
    product.transpose_a = true;
    product.b = x;
    product.d = dweight;
    product.d_is_float32 = true;
    product.accumulate = true;  // as in all micro-batches of a step
    return product;
}

void weight_gradients(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const Index depth = iterations * T;
    const DeviceMemory large = probe.filled(depth * F, large_offset), small = probe.filled(depth * H, small_offset);
    const DeviceMemory dweight = probe.floats(F * H), theirs = probe.floats(F), ours = probe.floats(F);
    for (const auto& [name, N, K] : weights_of(probe.sizes)) {
        const bool dy_large = N > H || K == H, x_large = K > H;
        const DeviceMemory& dy = dy_large ? large : small;
        const DeviceMemory& x = x_large ? large : small;
        Product product = weight_gradient(dweight.as<float>(), dy.data(), x.data(), depth, N, K);
        const Matmul plain(probe.library, product);
        product.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        product.bias = theirs.data();
        const Matmul fused(probe.library, product);
        // Captured by name: a structured binding cannot be.
        const Index rows = N;
        const auto sums = [&] {
            probe.backend.column_sums(ours.as<float>(), {dy.as<std::byte>(), 2}, false, depth, rows, {});
        };
        std::vector<Candidate> candidates;
        candidates.push_back(first_choice("a", name, fused, "bgradb"));
        candidates.push_back(first_choice("a", name, plain, "no bias gradient"));
        candidates.push_back(first_choice("a", name, plain, "column sums after"));
        candidates.back().run = [&] {
            plain.run(0);
            sums();
        };
        candidates.push_back({line_of("a", name, product, "column sums alone"), 0, sums});
        measure(std::move(candidates), 0.5, probe.backend);
        measure_algorithms("a", name, fused, "bgradb, each algorithm", 0.3, probe.backend);

        // From zero, once.
        Line line = line_of("a", name, product, "errors");
        try {
            const Index dy_offset = dy_large ? large_offset : small_offset;
            const Index x_offset = x_large ? large_offset : small_offset;
            const std::vector<double> want = column_sums(probe.numbers, dy_offset, depth, N);
            sums();
            add_errors(line, "column_sums", download_floats(probe.backend, ours.as<float>(), N), want);
            std::mt19937_64 generator(1);
            std::vector<Index> places;
            std::vector<double> elements;
            for (int i = 0; i < 128; ++i) {
                const auto n = static_cast<Index>(generator() % static_cast<std::uint64_t>(N));
                const auto k = static_cast<Index>(generator() % static_cast<std::uint64_t>(K));
                double sum = 0;
                for (Index t = 0; t < depth; ++t)
                    sum += probe.numbers(dy_offset + t * N + n) * probe.numbers(x_offset + t * K + k);
                places.push_back(n * K + k);
                elements.push_back(sum);
            }
            for (const Matmul* matmul : {&plain, &fused}) {
                const bool is_fused = matmul == &fused;
                try {
                    probe.backend.set_zero(dweight.data(), static_cast<std::size_t>(N * K) * sizeof(float), {});
                    matmul->run(0);
                    std::vector<double> got;
                    for (const Index place : places)
                        got.push_back(download_floats(probe.backend, dweight.as<float>() + place, 1)[0]);
                    add_errors(line, is_fused ? "weight_with_bgradb" : "weight", got, elements);
                    if (is_fused)
                        add_errors(line, "bgradb", download_floats(probe.backend, theirs.as<float>(), N), want);
                } catch (const std::exception& error) {
                    line["error"] = error.what();
                }
            }
        } catch (const std::exception& error) {
            line["error"] = error.what();
        }
        print(line);
    }
}

void gelu_epilogues(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const DeviceMemory x = probe.filled(T * H, small_offset), weight = probe.weight();
    const DeviceMemory bias = probe.filled(F, large_offset), out = probe.filled(T * F, 0), pre = probe.filled(T * F, 0);
    Product product;
    product.rows = T;
    product.columns = F;
    product.depth = H;
    product.a = x.data();
    product.b = weight.data();
    product.transpose_b = true;
    product.d = out.data();
    product.epilogue = CUBLASLT_EPILOGUE_BIAS;
    product.bias = bias.data();
    const Matmul biased(probe.library, product);
    product.epilogue = CUBLASLT_EPILOGUE_GELU_BIAS;
    const Matmul gelu(probe.library, product);
    product.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    product.aux = pre.data();
    const Matmul gelu_pre(probe.library, product);
    measure({first_choice("b", "W1", biased, "bias"), first_choice("b", "W1", gelu, "gelu"),
             first_choice("b", "W1", gelu_pre, "gelu and pre")},
            0.5, probe.backend);
    measure_algorithms("b", "W1", gelu, "gelu, each algorithm", 0.3, probe.backend);
    measure_algorithms("b", "W1", gelu_pre, "gelu and pre, each algorithm", 0.3, probe.backend);
}

void gelu_derivative(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const DeviceMemory dy = probe.filled(T * H, small_offset), weight = probe.weight();
    const DeviceMemory pre = probe.filled(T * F, large_offset);
    const DeviceMemory slice_memory = probe.filled(T * F, 0), out = probe.filled(T * F, 0),
                       fused_out = probe.filled(T * F, 0);
    const DeviceMemory bias_gradient = probe.floats(F), sums = probe.floats(F);
    const Activations d = {dy.as<std::byte>(), 2}, w = {weight.as<std::byte>(), 2}, p = {pre.as<std::byte>(), 2};
    const Activations result = {out.as<std::byte>(), 2}, slice = {slice_memory.as<std::byte>(), 2};

    Product product;
    product.rows = T;
    product.columns = F;
    product.depth = H;
    product.a = dy.data();
    product.b = weight.data();
    product.d = fused_out.data();
    const Matmul plain(probe.library, product);
    product.aux = pre.data();
    product.epilogue = CUBLASLT_EPILOGUE_DGELU;
    const Matmul dgelu(probe.library, product);
    product.epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD;
    product.bias = bias_gradient.data();
    const Matmul dgelu_bgrad(probe.library, product);
    product.bias_is_float32 = true;
    const Matmul dgelu_bgrad_float32(probe.library, product);

    std::vector<Candidate> candidates;
    // What CudaBackend::linear_backward_data_gelu does, in slices of `rows`.
    const auto two_passes = [&probe, &d, &w, &p, &result, &slice, T = T, H = H, F = F](Index rows) {
        for (Index begin = 0; begin < T; begin += rows) {
            const Index n = std::min(rows, T - begin);
            probe.backend.linear_backward_data(slice, d + begin * H, w, {}, n, H, F, {});
            probe.backend.gelu_backward(result + begin * F, slice, p + begin * F, Gelu::tanh, n * F, {});
        }
    };
    const auto backward = [&probe, &d, &w, &p, &result, T = T, H = H, F = F](float* dbias) {
        probe.backend.linear_backward_data_gelu(result, dbias, d, w, p, Gelu::tanh, T, H, F, {});
    };
    candidates.push_back(
        {line_of("c", "W2", product, "backend as it is"), product.flops(), [&backward] { backward(nullptr); }});
    candidates.push_back({line_of("c", "W2", product, "backend as it is, with sums"), product.flops(),
                          [&backward, &sums] { backward(sums.as<float>()); }});
    for (const Index parts : {16, 8, 4, 2, 1}) {
        const Index rows = std::max<Index>(T / parts, 1);
        candidates.push_back({line_of("c", "W2", product, fmt::format("two passes, slices of {} rows", rows)),
                              product.flops(), [&two_passes, rows] { two_passes(rows); }});
    }
    candidates.push_back(first_choice("c", "W2", plain, "product alone"));
    candidates.push_back(
        {line_of("c", "W2", product, "derivative alone"), 0, [&probe, &p, &result, &slice, T = T, F = F] {
             probe.backend.gelu_backward(result, slice, p, Gelu::tanh, T * F, {});
         }});
    candidates.push_back(first_choice("c", "W2", dgelu, "dgelu"));
    candidates.push_back(first_choice("c", "W2", dgelu_bgrad, "dgelu_bgrad"));
    candidates.push_back(first_choice("c", "W2", dgelu_bgrad_float32, "dgelu_bgrad, float32 sums"));
    candidates.push_back({line_of("c", "W2", product, "column sums alone"), 0, [&probe, &result, &sums, T = T, F = F] {
                              probe.backend.column_sums(sums.as<float>(), result, false, T, F, {});
                          }});
    measure(std::move(candidates), 1.5, probe.backend);
    measure_algorithms("c", "W2", dgelu, "dgelu, each algorithm", 0.3, probe.backend);
    measure_algorithms("c", "W2", dgelu_bgrad, "dgelu_bgrad, each algorithm", 0.3, probe.backend);

    // Beside two passes, whose product is rounded to bfloat16 before the derivative is multiplied in.
    Line line = line_of("c", "W2", product, "differences from two passes");
    const Index rows = std::min<Index>(T, 64);
    const auto compare = [&, F = F, T = T](const char* name, const Matmul& matmul, bool has_sums, bool float32) {
        try {
            matmul.run(0);
            add_errors(line, name, download_bfloat16(probe.backend, fused_out.data(), rows * F),
                       download_bfloat16(probe.backend, out.data(), rows * F));
            if (!has_sums) return;
            probe.backend.column_sums(sums.as<float>(), {fused_out.as<std::byte>(), 2}, false, T, F, {});
            add_errors(line, std::string(name) + " sums",
                       float32 ? download_floats(probe.backend, bias_gradient.as<float>(), F)
                               : download_bfloat16(probe.backend, bias_gradient.data(), F),
                       download_floats(probe.backend, sums.as<float>(), F));
        } catch (const std::exception& error) {
            cudaGetLastError();
            line[std::string(name) + " error"] = error.what();
        }
    };
    backward(nullptr);
    compare("dgelu", dgelu, false, false);
    compare("dgelu_bgrad", dgelu_bgrad, true, false);
    compare("dgelu_bgrad float32", dgelu_bgrad_float32, true, true);
    print(line);
}

void algorithms(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const DeviceMemory large = probe.filled(iterations * T * F, large_offset);
    const DeviceMemory small = probe.filled(iterations * T * H, small_offset);
    const DeviceMemory weight = probe.weight(), out = probe.filled(T * F, 0);
    const DeviceMemory bias = probe.filled(F, large_offset), dweight = probe.floats(F * H);
    for (const auto& [name, N, K] : weights_of(probe.sizes)) {
        Product product;
        product.rows = T;
        product.columns = N;
        product.depth = K;
        product.a = large.data();
        product.b = weight.data();
        product.transpose_b = true;
        product.d = out.data();
        product.epilogue = CUBLASLT_EPILOGUE_BIAS;
        product.bias = bias.data();
        measure_algorithms("d", name, Matmul(probe.library, product), "forward, bias", 0.3, probe.backend);
    }
    for (const auto& [name, N, K] : weights_of(probe.sizes)) {
        Product product;
        product.rows = T;
        product.columns = K;
        product.depth = N;
        product.a = large.data();
        product.b = weight.data();
        product.d = out.data();
        // Those that a residual branch joins add it.
        const std::string layer = name;
        product.accumulate = layer == "QKV" || layer == "W1";
        measure_algorithms("d", name, Matmul(probe.library, product), "data gradient", 0.3, probe.backend);
    }
    for (const auto& [name, N, K] : weights_of(probe.sizes)) {
        const DeviceMemory& dy = N > H || K == H ? large : small;
        const DeviceMemory& x = K > H ? large : small;
        const Product product = weight_gradient(dweight.as<float>(), dy.data(), x.data(), iterations * T, N, K);
        measure_algorithms("d", name, Matmul(probe.library, product), "weight gradient", 0.5, probe.backend);
    }
}

int run(const std::string& sections, Index divisor) {
    auto backend = std::make_unique<cuda::CudaBackend>(Precision::bfloat16);
    print({{"device", backend->description()}, {"cublaslt", cublasLtGetVersion()}});
    const Library library(*backend);
    const Numbers numbers(1), weights(1.0F / 64);
    Sizes sizes;
    sizes = {sizes.T / divisor, sizes.H / divisor, sizes.F / divisor};
    const Probe probe{sizes, *backend, library, numbers, weights};
    int problems = 0;
    for (const char section : sections) {
        try {
            switch (section) {
                case 'a':
                    weight_gradients(probe);
                    break;
                case 'b':
                    gelu_epilogues(probe);
                    break;
                case 'c':
                    gelu_derivative(probe);
                    break;
                case 'd':
                    algorithms(probe);
                    break;
                default:
                    throw Error("there is no such section");
            }
        } catch (const std::exception& error) {
            cudaGetLastError();
            print({{"section", std::string(1, section)}, {"error", error.what()}});
            ++problems;
        }
    }
    return problems > 0 ? 1 : 0;
}

}  // namespace
}  // namespace protalbert

int main(int argc, char** argv) {
    using namespace protalbert;
    const CudaDevices devices = cuda_devices();
    if (devices.count == 0) {
        std::printf("probe_products: %s\n", devices.none.c_str());
        return 77;
    }
    try {
        return run(argc > 1 ? argv[1] : "abcd", argc > 2 ? std::max(1L, std::atol(argv[2])) : 1);
    } catch (const std::exception& error) {
        print({{"error", error.what()}});
        return 1;
    }
}

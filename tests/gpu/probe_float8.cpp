// Measures ProtAlbert's large products on a GPU with operands in FP8 (e4m3): which of cuBLASLt's ways to scale them
// work, how fast, how exactly, and with which epilogues.
//
//   probe_float8 [SECTIONS [DIVISOR]]
//
// SECTIONS, "abc" where none is named:
//   a  the twelve products of a layer, in each mode: the first and the fastest of the algorithms that cuBLASLt proposes
//   b  results beside a product in double precision: layouts of the scales, both types of d, sums over 12 T tokens
//   c  the feed-forward layer's first product with each epilogue, type of d, and beta
// DIVISOR makes every size smaller, to try the program itself.
//
// A mode names how cuBLASLt's A is scaled, then its B. A is the operand of d's columns: a weight where there is one.
//   scalar   a factor each
//   outer    a factor for every row of A and column of B
//   vec-vec  a factor for 128 elements along the depth, in both
//   blk-vec  the same in B, a factor for 128 x 128 elements in A
//   vec-blk  the other way round
// "fast" is CUBLASLT_MATMUL_DESC_FAST_ACCUM.
//
// One line of JSON a result, printed at once; what cannot be measured is a line with "error". Exit code 77 without a
// GPU.

#include <cuda_fp8.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "probe.hpp"

namespace protalbert::gpu_probe {
namespace {

/// e4m3 on the host.
struct Float8 {
    using Bits = std::uint8_t;
    static double to_double(Bits bits) {
        static const std::array<double, 256> values = [] {
            std::array<double, 256> made{};
            for (int i = 0; i < 256; ++i) {
                const int exponent = (i >> 3) & 15, mantissa = i & 7;
                const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
                made[static_cast<std::size_t>(i)] = i < 128 ? size : -size;
            }
            return made;
        }();
        return values[bits];
    }
    static Bits from(float value) { return __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3); }
};
using Numbers = RandomNumbers<Float8>;

constexpr Index block = 128;
Index blocks(Index n) { return (n + block - 1) / block; }
Index multiple(Index n, Index of) { return (n + of - 1) / of * of; }

enum class Scaling { scalar, outer, vec128, blk128 };

/// How a table of scales [groups, blocks along the depth] lies in memory. The documentation has VEC128 group-major and
/// BLK128x128 padded.
enum class Layout { group_major, depth_major, padded };
constexpr std::array<Layout, 3> all_layouts = {Layout::group_major, Layout::depth_major, Layout::padded};
const char* name_of(Layout layout) {
    switch (layout) {
        case Layout::group_major:
            return "group-major";  // factors of all groups for a block of the depth are neighbours
        case Layout::depth_major:
            return "depth-major";
        case Layout::padded:
            return "padded";  // depth-major, a group's factors filled up to a multiple of 4
    }
    return "";
}
Layout documented(Scaling scaling) { return scaling == Scaling::blk128 ? Layout::padded : Layout::group_major; }
bool has_layout(Scaling scaling) { return scaling == Scaling::vec128 || scaling == Scaling::blk128; }

struct Mode {
    const char* name;
    Scaling a, b;  ///< of cuBLASLt's A and B
};
constexpr std::array<Mode, 5> modes = {{{"scalar", Scaling::scalar, Scaling::scalar},
                                        {"outer", Scaling::outer, Scaling::outer},
                                        {"vec-vec", Scaling::vec128, Scaling::vec128},
                                        {"blk-vec", Scaling::blk128, Scaling::vec128},
                                        {"vec-blk", Scaling::vec128, Scaling::blk128}}};

std::int32_t attribute_of(Scaling scaling) {
    switch (scaling) {
        case Scaling::scalar:
            return CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
        case Scaling::outer:
            return CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
        case Scaling::vec128:
            return CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
        case Scaling::blk128:
            return CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
    }
    return -1;
}

/// Enough digits of an error.
double brief(double error) { return std::isfinite(error) ? std::stod(fmt::format("{:.3g}", error)) : error; }

/// Attributes of a product in FP8. `a` and `b` are the factors of cuBLASLt's A and B.
void set_scales(cublasLtMatmulDesc_t description, const Mode& mode, const void* a, const void* b, bool fast) {
    set_attribute(description, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, attribute_of(mode.a));
    set_attribute(description, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, attribute_of(mode.b));
    set_attribute(description, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, a);
    set_attribute(description, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, b);
    set_attribute(description, CUBLASLT_MATMUL_DESC_FAST_ACCUM, static_cast<std::int8_t>(fast));
}

/// Factors that differ by up to 64, so that a wrong one shows. Sums of 4096 products of scaled Numbers are about 1.
/// Their count is a prime.
std::vector<float> random_factors() {
    std::mt19937 generator(2);
    std::uniform_real_distribution<float> exponent(-3, 3);
    std::vector<float> factors(65'537);
    for (float& factor : factors) factor = std::exp2(exponent(generator)) / 2800;
    return factors;
}

struct Probe {
    Sizes sizes;
    cuda::CudaBackend& backend;
    const Library& library;
    const Numbers& numbers;   ///< of both signs
    const Numbers& positive;  ///< their absolute values
    const std::vector<float>& factors;

    DeviceMemory filled(const Numbers& from, Index n, Index offset) const {
        DeviceMemory memory(backend, static_cast<std::size_t>(n));
        from.fill(backend, memory, n, offset);
        return memory;
    }
};

// Section a.

/// A product of the model, with its operands in both precisions. Those in bfloat16 lie alike, so that only the
/// precision differs.
struct ModelProduct {
    const char* kind;
    const char* name;
    Index rows, columns, depth;
    const void *a, *b;                    ///< [rows, depth] and [columns, depth], e4m3
    const void *a_bfloat16, *b_bfloat16;  ///< the same in bfloat16
    bool is_weight_gradient;              ///< d is float32 and adds up
};

/// Algorithms of one mode among the candidates.
struct Contest {
    Line line;
    std::unique_ptr<Matmul> matmul;
    std::size_t first = 0, count = 0;
};

/// Every mode's algorithms in turns, with the first one in bfloat16. `few`: only the first algorithm of each.
void compare_modes(const Probe& probe, const ModelProduct& model, void* d, const void* factors, bool few) {
    Product product;
    product.rows = model.rows;
    product.columns = model.columns;
    product.depth = model.depth;
    product.transpose_b = true;
    product.d = d;
    product.d_is_float32 = model.is_weight_gradient;

    std::vector<Contest> contests;
    std::vector<Candidate> candidates;
    const auto enter = [&](const char* mode, bool fast, int most) {
        product.accumulate = model.is_weight_gradient;
        auto matmul = std::make_unique<Matmul>(probe.library, product);
        if (matmul->algorithms() == 0 && product.accumulate) {
            product.accumulate = false;
            matmul = std::make_unique<Matmul>(probe.library, product);
        }
        Contest contest{{{"section", "a"},
                         {"kind", model.kind},
                         {"product", model.name},
                         {"mode", mode},
                         {"fast", fast ? 1 : 0},
                         {"rows", product.rows},
                         {"columns", product.columns},
                         {"depth", product.depth},
                         {"d", product.d_is_float32 ? "float32" : "bfloat16"},
                         {"beta", product.accumulate ? 1 : 0},
                         {"proposed", matmul->algorithms()}},
                        std::move(matmul)};
        contest.first = candidates.size();
        contest.count = static_cast<std::size_t>(std::clamp(contest.matmul->algorithms(), 1, most));
        for (std::size_t i = 0; i < contest.count; ++i)
            candidates.push_back({Line::object(), product.flops(),
                                  [matmul = contest.matmul.get(), i] { matmul->run(static_cast<int>(i)); }});
        contests.push_back(std::move(contest));
    };

    product.a = model.a_bfloat16;
    product.b = model.b_bfloat16;
    enter("bfloat16", false, 1);
    product.type = CUDA_R_8F_E4M3;
    product.a = model.a;
    product.b = model.b;
    for (const Mode& mode : modes) {
        const bool has_blocks = mode.a == Scaling::blk128 || mode.b == Scaling::blk128;
        // These take the most time, and blocks are for weights.
        const int most = few || (model.is_weight_gradient && has_blocks) ? 1 : Matmul::most_algorithms;
        for (const bool fast : {false, true}) {
            product.describe_more = [&mode, factors, fast](cublasLtMatmulDesc_t description) {
                set_scales(description, mode, factors, factors, fast);
            };
            enter(mode.name, fast, most);
        }
    }
    take_turns(candidates, 0, model.is_weight_gradient ? 2 : 3, probe.backend, [](const Line&) {});

    for (Contest& contest : contests) {
        Line& line = contest.line;
        const Line& first = candidates[contest.first].line;
        for (const char* key : {"ms", "tflops", "error"})
            if (first.contains(key)) line[key] = first[key];
        const Line* fastest = nullptr;
        for (std::size_t i = 0; i < contest.count; ++i) {
            const Line& one = candidates[contest.first + i].line;
            if (!one.contains("ms") || (fastest != nullptr && (*fastest)["ms"] <= one["ms"])) continue;
            fastest = &one;
            contest.matmul->describe(line, static_cast<int>(i));
        }
        if (fastest != nullptr && contest.count > 1) {
            line["fastest_ms"] = (*fastest)["ms"];
            line["fastest_tflops"] = (*fastest)["tflops"];
        }
        print(line);
    }
}

void speed(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const Index all = iterations * T;
    const DeviceMemory large = probe.filled(probe.numbers, all * F, 0);
    const DeviceMemory small = probe.filled(probe.numbers, all * H, 1'400'000);
    const DeviceMemory weight = probe.filled(probe.numbers, F * H, 2'800'000);
    const RandomNumbers<Bfloat16> in_bfloat16(1);
    const auto filled = [&](Index n, Index offset) {
        DeviceMemory memory(probe.backend, static_cast<std::size_t>(n) * 2);
        in_bfloat16.fill(probe.backend, memory, n, offset);
        return memory;
    };
    const DeviceMemory large_bfloat16 = filled(all * F, 0), small_bfloat16 = filled(all * H, 1'400'000);
    const DeviceMemory weight_bfloat16 = filled(F * H, 2'800'000);
    const DeviceMemory d(probe.backend, static_cast<std::size_t>(std::max(T * F * 2, F * H * 4)));
    // Enough for every operand in every mode: times do not depend on where which factor lies.
    const Index factor_count = multiple(F, block) * multiple(blocks(std::max(all, F)), 4);
    const DeviceMemory factors(probe.backend, static_cast<std::size_t>(factor_count) * sizeof(float));
    fill_repeating(probe.backend, factors, factor_count, probe.factors, 0);

    std::vector<ModelProduct> products;
    for (const auto& [name, N, K] : weights_of(probe.sizes))
        products.push_back({"forward", name, T, N, K, large.data(), weight.data(), large_bfloat16.data(),
                            weight_bfloat16.data(), false});
    // The weight's transposed copy, [K, N].
    for (const auto& [name, N, K] : weights_of(probe.sizes))
        products.push_back({"data gradient", name, T, K, N, large.data(), weight.data(), large_bfloat16.data(),
                            weight_bfloat16.data(), false});
    // dy^T [N, 12 T] and x^T [K, 12 T].
    for (const auto& [name, N, K] : weights_of(probe.sizes)) {
        const bool x_is_large = K > H;
        const DeviceMemory &dy = x_is_large ? small : large, &x = x_is_large ? large : small;
        const DeviceMemory& dy_bfloat16 = x_is_large ? small_bfloat16 : large_bfloat16;
        const DeviceMemory& x_bfloat16 = x_is_large ? large_bfloat16 : small_bfloat16;
        products.push_back(
            {"weight gradient", name, N, K, all, dy.data(), x.data(), dy_bfloat16.data(), x_bfloat16.data(), true});
    }
    // A card slower than expected still gets a time for every product.
    constexpr std::chrono::seconds plenty(14);
    const auto begin = std::chrono::steady_clock::now();
    for (const ModelProduct& product : products)
        compare_modes(probe, product, d.data(), factors.data(), std::chrono::steady_clock::now() - begin > plenty);
}

// Sections b and c.

/// The factors of a matrix [rows, depth].
class Scales {
  public:
    Scales(Scaling scaling, Index rows, Index depth, const std::vector<float>& factors, Index offset)
        : scaling_(scaling), rows_(rows), blocks_(blocks(depth)), factors_(factors), offset_(offset) {}

    /// The factor of a row's elements in a block of the depth.
    float at(Index row, Index b) const {
        switch (scaling_) {
            case Scaling::scalar:
                return factor(0);
            case Scaling::outer:
                return factor(row);
            case Scaling::vec128:
                return factor(row * blocks_ + b);
            case Scaling::blk128:
                return factor(row / block * blocks_ + b);
        }
        return 0;
    }
    std::vector<float> in_memory(Layout layout) const {
        if (scaling_ == Scaling::scalar) return {at(0, 0)};
        std::vector<float> memory;
        if (scaling_ == Scaling::outer) {
            for (Index row = 0; row < rows_; ++row) memory.push_back(at(row, 0));
            return memory;
        }
        const Index group = scaling_ == Scaling::blk128 ? block : 1, groups = (rows_ + group - 1) / group;
        // As much as any layout takes: whoever reads another one finds zeros.
        memory.resize(static_cast<std::size_t>(multiple(blocks_, 4) * multiple(rows_, block)));
        for (Index g = 0; g < groups; ++g) {
            for (Index b = 0; b < blocks_; ++b) {
                const Index place = layout == Layout::group_major   ? b * groups + g
                                    : layout == Layout::depth_major ? g * blocks_ + b
                                                                    : g * multiple(blocks_, 4) + b;
                memory[static_cast<std::size_t>(place)] = at(g * group, b);
            }
        }
        return memory;
    }

  private:
    float factor(Index i) const {
        return factors_[static_cast<std::size_t>((offset_ + i) % static_cast<Index>(factors_.size()))];
    }

    Scaling scaling_;
    Index rows_, blocks_;
    const std::vector<float>& factors_;
    Index offset_;
};

struct Layouts {
    Layout a, b;  ///< of the factors of cuBLASLt's A and B
};

/// One product in a mode, and what some elements of its result should be.
class Problem {
  public:
    Problem(const Probe& probe, const char* name, const Numbers& numbers, Index rows, Index columns, Index depth)
        : probe_(probe),
          name_(name),
          numbers_(numbers),
          rows_(rows),
          columns_(columns),
          depth_(depth),
          a_(probe.filled(numbers, columns * depth, a_offset)),
          b_(probe.filled(numbers, rows * depth, b_offset)),
          d_(probe.backend, static_cast<std::size_t>(rows * columns) * sizeof(float)) {
        std::mt19937_64 generator(3);
        for (int i = 0; i < 16; ++i) sample_rows_.push_back(static_cast<Index>(generator() % u(rows)));
        for (int i = 0; i < 48; ++i) sample_columns_.push_back(static_cast<Index>(generator() % u(columns)));
    }

    void choose(const Mode& mode) {
        mode_ = &mode;
        const Scales a = scales_of_a(), b = scales_of_b();
        std::vector<std::vector<double>> columns;
        for (const Index column : sample_columns_) columns.push_back(scaled_row(a_offset, column, a));
        wanted_.clear();
        for (const Index row : sample_rows_) {
            const std::vector<double> values = scaled_row(b_offset, row, b);
            for (const std::vector<double>& column : columns) {
                double sum = 0;
                for (std::size_t k = 0; k < values.size(); ++k) sum += values[k] * column[k];
                wanted_.push_back(sum);
            }
        }
    }
    void choose(Layouts layouts) {
        const auto upload = [&](const std::vector<float>& factors) {
            DeviceMemory memory(probe_.backend, factors.size() * sizeof(float));
            fill_repeating(probe_.backend, memory, static_cast<Index>(factors.size()), factors, 0);
            return memory;
        };
        layouts_ = layouts;
        a_factors_ = upload(scales_of_a().in_memory(layouts.a));
        b_factors_ = upload(scales_of_b().in_memory(layouts.b));
    }

    Product product(bool fast, bool d_is_float32) const {
        Product product;
        product.type = CUDA_R_8F_E4M3;
        product.rows = rows_;
        product.columns = columns_;
        product.depth = depth_;
        product.a = b_.data();
        product.b = a_.data();
        product.transpose_b = true;
        product.d = d_.data();
        product.d_is_float32 = d_is_float32;
        product.describe_more = [this, fast](cublasLtMatmulDesc_t description) {
            set_scales(description, *mode_, a_factors_.data(), b_factors_.data(), fast);
        };
        return product;
    }
    /// [rows of the sample, columns of the sample], without an epilogue.
    const std::vector<double>& wanted() const { return wanted_; }
    const std::vector<Index>& sample_columns() const { return sample_columns_; }
    /// The same elements of a matrix of d's shape.
    std::vector<double> sample_of(const void* matrix, bool is_float32) const {
        std::vector<double> values;
        for (const Index row : sample_rows_) {
            const std::vector<double> whole =
                is_float32
                    ? download_floats(probe_.backend, static_cast<const float*>(matrix) + row * columns_, columns_)
                    : download_bfloat16(probe_.backend, static_cast<const std::uint16_t*>(matrix) + row * columns_,
                                        columns_);
            for (const Index column : sample_columns_) values.push_back(whole[static_cast<std::size_t>(column)]);
        }
        return values;
    }
    /// Zeros, as a start of sums and lest a kernel that does nothing look right.
    void clear_result() const { probe_.backend.set_zero(d_.data(), d_.bytes(), {}); }

    /// Prints how far the result is from what it should be; returns that, infinite where there is no result.
    double tell_errors(bool fast, bool d_is_float32) const {
        Line line{{"section", "b"},
                  {"case", name_},
                  {"mode", mode_->name},
                  {"a_scales", has_layout(mode_->a) ? name_of(layouts_.a) : ""},
                  {"b_scales", has_layout(mode_->b) ? name_of(layouts_.b) : ""},
                  {"fast", fast ? 1 : 0},
                  {"d", d_is_float32 ? "float32" : "bfloat16"},
                  {"rows", rows_},
                  {"columns", columns_},
                  {"depth", depth_}};
        double result = INFINITY;
        try {
            const Matmul matmul(probe_.library, product(fast, d_is_float32));
            clear_result();
            matmul.run(0);
            const auto [rms, worst, mean] = errors_of(sample_of(d_.data(), d_is_float32), wanted_);
            line["rms"] = brief(rms);
            line["worst"] = brief(worst);
            line["mean"] = brief(mean);
            if (std::isfinite(rms)) result = rms;
        } catch (const std::exception& error) {
            cudaGetLastError();
            line["error"] = error.what();
        }
        print(line);
        return result;
    }

  private:
    static constexpr Index a_offset = 0, b_offset = 1'400'000;
    static std::uint64_t u(Index n) { return static_cast<std::uint64_t>(n); }

    Scales scales_of_a() const { return {mode_->a, columns_, depth_, probe_.factors, 0}; }
    Scales scales_of_b() const { return {mode_->b, rows_, depth_, probe_.factors, 30'000}; }
    std::vector<double> scaled_row(Index offset, Index row, const Scales& scales) const {
        std::vector<double> values;
        for (Index k = 0; k < depth_; ++k)
            values.push_back(numbers_(offset + row * depth_ + k) * static_cast<double>(scales.at(row, k / block)));
        return values;
    }

    const Probe& probe_;
    const char* name_;
    const Numbers& numbers_;
    Index rows_, columns_, depth_;
    DeviceMemory a_;  ///< [columns, depth]: cuBLASLt's A
    DeviceMemory b_;  ///< [rows, depth]
    DeviceMemory d_;  ///< [rows, columns], as large as in float32
    std::vector<Index> sample_rows_, sample_columns_;
    const Mode* mode_ = nullptr;
    std::vector<double> wanted_;
    Layouts layouts_{};
    DeviceMemory a_factors_, b_factors_;
};

Layouts documented(const Mode& mode) { return {documented(mode.a), documented(mode.b)}; }

/// Which layouts of the factors cuBLASLt reads: those with the least error, the documented ones where none is right.
std::vector<Layouts> find_layouts(const Probe& probe) {
    // 5 blocks of the depth: a multiple of 4 could not tell whether factors are padded.
    Problem problem(probe, "layouts", probe.numbers, 384, 512, 640);
    std::vector<Layouts> found;
    for (const Mode& mode : modes) {
        problem.choose(mode);
        Layouts best = documented(mode);
        // What a wrong layout cannot reach, and rounding never exceeds.
        double least = 0.05;
        for (const Layout a : all_layouts) {
            if (!has_layout(mode.a) && a != documented(mode.a)) continue;
            for (const Layout b : all_layouts) {
                if (!has_layout(mode.b) && b != documented(mode.b)) continue;
                problem.choose(Layouts{a, b});
                double rms = problem.tell_errors(false, true);
                if (!std::isfinite(rms)) rms = problem.tell_errors(true, true);
                if (rms < least) {
                    least = rms;
                    best = {a, b};
                }
            }
        }
        const auto name = [](Scaling scaling, Layout layout) { return has_layout(scaling) ? name_of(layout) : ""; };
        print({{"section", "b"},
               {"case", "layouts: right"},
               {"mode", mode.name},
               {"a_scales", least < 0.05 ? name(mode.a, best.a) : "none"},
               {"b_scales", least < 0.05 ? name(mode.b, best.b) : "none"},
               {"rms", least < 0.05 ? Line(brief(least)) : Line()}});
        found.push_back(best);
    }
    return found;
}

void exactness(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    const std::vector<Layouts> layouts = find_layouts(probe);
    const auto tell_all = [&](Problem problem, std::initializer_list<bool> types_of_d) {
        for (std::size_t m = 0; m < modes.size(); ++m) {
            problem.choose(modes[m]);
            problem.choose(layouts[m]);
            for (const bool fast : {false, true})
                for (const bool d_is_float32 : types_of_d) problem.tell_errors(fast, d_is_float32);
        }
    };
    // No multiples of 128, in any direction.
    tell_all(Problem(probe, "odd", probe.numbers, 272, 400, 656), {false, true});
    tell_all(Problem(probe, "W1 forward", probe.numbers, T, F, H), {false, true});
    tell_all(Problem(probe, "Wo weight gradient", probe.numbers, H, H, iterations * T), {true});
    // What rounding towards zero would lose in every addition.
    tell_all(Problem(probe, "Wo weight gradient, positive", probe.positive, H, H, iterations * T), {true});
}

struct Variant {
    const char* name;
    cublasLtEpilogue_t epilogue;
    bool d_is_float32 = false, accumulate = false, bias_is_float32 = false;
};
constexpr std::array<Variant, 14> variants = {{{"none", CUBLASLT_EPILOGUE_DEFAULT},
                                               {"none", CUBLASLT_EPILOGUE_DEFAULT, true},
                                               {"none", CUBLASLT_EPILOGUE_DEFAULT, false, true},
                                               {"none", CUBLASLT_EPILOGUE_DEFAULT, true, true},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS, true},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS, false, true},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS, true, true},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS, false, false, true},
                                               {"bias", CUBLASLT_EPILOGUE_BIAS, true, false, true},
                                               {"gelu", CUBLASLT_EPILOGUE_GELU_BIAS},
                                               {"gelu", CUBLASLT_EPILOGUE_GELU_BIAS, true},
                                               {"gelu and pre", CUBLASLT_EPILOGUE_GELU_AUX_BIAS},
                                               {"gelu and pre", CUBLASLT_EPILOGUE_GELU_AUX_BIAS, true}}};

double gelu_tanh(double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

/// A mode's result with each epilogue: checked, then timed in turns.
void epilogues(const Probe& probe) {
    const auto [T, H, F] = probe.sizes;
    Problem problem(probe, "W1", probe.numbers, T, F, H);
    const DeviceMemory pre(probe.backend, static_cast<std::size_t>(T * F) * sizeof(float));
    const RandomNumbers<Bfloat16> bias(1);
    std::vector<float> bias_values;
    for (Index n = 0; n < F; ++n) bias_values.push_back(static_cast<float>(bias(n)));
    const DeviceMemory bias_bfloat16(probe.backend, static_cast<std::size_t>(F) * 2);
    const DeviceMemory bias_float32(probe.backend, static_cast<std::size_t>(F) * sizeof(float));
    bias.fill(probe.backend, bias_bfloat16, F, 0);
    fill_repeating(probe.backend, bias_float32, F, bias_values, 0);

    for (const Mode& mode : modes) {
        problem.choose(mode);
        problem.choose(documented(mode));
        std::vector<std::unique_ptr<Matmul>> matmuls;
        std::vector<Candidate> candidates;
        for (const Variant& variant : variants) {
            const bool has_bias = variant.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
            const bool has_gelu = has_bias && variant.epilogue != CUBLASLT_EPILOGUE_BIAS;
            const bool has_pre = variant.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
            // What d, and what the GELU is applied to, should be.
            std::vector<double> wanted = problem.wanted(), wanted_pre;
            for (std::size_t i = 0; has_bias && i < wanted.size(); ++i)
                wanted[i] += bias(problem.sample_columns()[i % problem.sample_columns().size()]);
            wanted_pre = wanted;
            for (double& value : wanted) {
                if (has_gelu) value = gelu_tanh(value);
                if (variant.accumulate) value *= 2;
            }
            for (const bool fast : {false, true}) {
                Line line{{"section", "c"},
                          {"mode", mode.name},
                          {"fast", fast ? 1 : 0},
                          {"epilogue", variant.name},
                          {"bias", !has_bias                 ? ""
                                   : variant.bias_is_float32 ? "float32"
                                                             : "bfloat16"},
                          {"d", variant.d_is_float32 ? "float32" : "bfloat16"},
                          {"beta", variant.accumulate ? 1 : 0}};
                try {
                    Product product = problem.product(fast, variant.d_is_float32);
                    product.epilogue = variant.epilogue;
                    product.accumulate = variant.accumulate;
                    if (has_bias) {
                        product.bias = variant.bias_is_float32 ? bias_float32.data() : bias_bfloat16.data();
                        product.bias_is_float32 = variant.bias_is_float32;
                        // A float32 d in FP8 implies a bfloat16 bias, unlike elsewhere.
                        if (!variant.bias_is_float32)
                            product.describe_more = [scale = product.describe_more](cublasLtMatmulDesc_t description) {
                                scale(description);
                                set_attribute(description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                              static_cast<std::int32_t>(CUDA_R_16BF));
                            };
                    }
                    if (has_pre) product.aux = pre.data();
                    auto matmul = std::make_unique<Matmul>(probe.library, product);
                    problem.clear_result();
                    probe.backend.set_zero(pre.data(), pre.bytes(), {});
                    // Twice the product, where it adds to what is there.
                    for (int n = 0; n < (variant.accumulate ? 2 : 1); ++n) matmul->run(0);
                    line["rms"] = brief(errors_of(problem.sample_of(product.d, variant.d_is_float32), wanted).rms);
                    if (has_pre)
                        line["rms_of_pre"] =
                            brief(errors_of(problem.sample_of(pre.data(), variant.d_is_float32), wanted_pre).rms);
                    candidates.push_back({line, product.flops(), [matmul = matmul.get()] { matmul->run(0); }});
                    matmuls.push_back(std::move(matmul));
                } catch (const std::exception& error) {
                    cudaGetLastError();
                    line["error"] = error.what();
                    print(line);
                }
            }
        }
        measure(std::move(candidates), 0, probe.backend);
    }
}

int run(const std::string& sections, const Sizes& sizes) {
    auto backend = std::make_unique<cuda::CudaBackend>(Precision::bfloat16);
    print({{"device", backend->description()}, {"cublaslt", cublasLtGetVersion()}});
    const Library library(*backend);
    // Up to e4m3's largest, 448.
    constexpr float deviation = 128;
    const Numbers numbers(deviation), positive(deviation, true);
    const std::vector<float> factors = random_factors();
    const Probe probe{sizes, *backend, library, numbers, positive, factors};
    return run_sections(sections, [&](char section) {
        switch (section) {
            case 'a':
                return speed(probe);
            case 'b':
                return exactness(probe);
            case 'c':
                return epilogues(probe);
            default:
                throw Error("there is no such section");
        }
    });
}

}  // namespace
}  // namespace protalbert::gpu_probe

int main(int argc, char** argv) {
    return protalbert::gpu_probe::probe_main(argc, argv, "probe_float8", "abc", protalbert::gpu_probe::run);
}

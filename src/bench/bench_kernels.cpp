// protalbert_bench kernels: every numerical operation of kernels/backend.hpp alone, at the sizes of one iteration.

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "base/log.hpp"
#include "base/random.hpp"
#include "bench/bench.hpp"
#include "bench/bench_device.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/reference_product.hpp"
#include "comm/number_range.hpp"
#include "comm/program.hpp"
#include "model/cost.hpp"
#include "model/model.hpp"
#include "model/parameters.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

struct Options {
    ModelSizes sizes;
    std::int64_t tokens = 2048;
    std::int64_t length = 512;
    double seconds = 0.5;
    bool without_limits = false, without_product = false;
    DeviceChoice device;
};

/// An operation, what it computes and what it must move at least: each input read and each output written once.
struct Operation {
    std::string name;
    double flops, bytes;
    std::function<void()> run;
    std::string note;                            ///< what a reader of its figures must know
    std::optional<ReferenceShape> product = {};  ///< what oneDNN is to compute for comparison
};

/// What the device does at most, measured: bytes copied a second, read and written, and FLOP/s of a product.
struct Limits {
    double copy, product;

    /// Seconds that an operation takes at least.
    double floor(const Operation& operation) const {
        return std::max(operation.bytes / copy, operation.flops / product);
    }
};

/// Arrays of one size of problem on the device. All hold small random numbers where an operation reads them.
class Problem {
  public:
    Problem(Backend& backend, const ModelConfig& config, std::int64_t tokens, std::int64_t length)
        : backend_(backend),
          T(tokens),
          deep_T(config.blocks() * tokens),
          S((tokens + length - 1) / length),
          M(std::max<std::int64_t>(1, tokens * 15 / 100)),
          H(config.hidden),
          F(config.intermediate),
          A(config.heads),
          D(config.head_size()),
          E(config.embedding),
          V(config.vocabulary),
          P(std::max(length, config.positions)) {
        for (std::int64_t s = 0; s <= S; ++s) offsets_.push_back(std::min(tokens, s * length));
        std::vector<std::int32_t> tokens_of(T), segments(T), positions(T), labels(T);
        for (std::int64_t t = 0; t < T; ++t) {
            tokens_of[t] = static_cast<std::int32_t>(t * 7 % V);
            segments[t] = static_cast<std::int32_t>(t % length * 2 / length);
            positions[t] = static_cast<std::int32_t>(t % length);
            labels[t] = static_cast<std::int32_t>(t * 5 % V);
        }
        std::vector<std::int64_t> rows(M);
        for (std::int64_t m = 0; m < M; ++m) rows[m] = m * T / M;
        sequences = {S, T, upload(offsets_), offsets_.data()};
        ids = {upload(tokens_of), upload(segments), upload(positions)};
        label_ids = upload(labels);
        masked_rows = upload(rows);
        word = numbers(V * E);
        position = numbers(P * E);
        segment = numbers(2 * E);
        vector = numbers(std::max({3 * H, F, E, V}));
        vector_gradient = numbers(std::max({3 * H, F, E}));
        row_mean = numbers(T);
        row_rstd = numbers(T);
        logsumexp = numbers(A * T);
        decoder = weights(V * E);
        bias = activations(std::max(3 * H, F));
        small = activations(T * std::max(E, V));
        small_too = activations(T * std::max(E, V));
        hidden = activations(T * H);
        hidden_too = activations(T * H);
        wide = activations(T * std::max(F, 3 * H));
        wide_too = activations(T * std::max(F, 3 * H));
        weight = weights(std::max({3 * H * H, F * H, H * E, V * E}));
        vectors = static_cast<float*>(memory(static_cast<std::size_t>(T * H) * sizeof(float)));
        masters = numbers(F * H);
        gradient = numbers(std::max({3 * H * H, F * H, H * E, V * E, P * E}));
        moments = numbers(F * H);
        squares = numbers(F * H);
        sums = static_cast<LossSums*>(memory(sizeof(LossSums)));
        norm = static_cast<double*>(memory(sizeof(double)));
        make_deep();
    }

  private:
    /// The activations of all iterations, whose weight gradients training computes at once; on a GPU that has room for
    /// them and the arrays that its limits are measured with.
    void make_deep() {
        const std::optional<MemorySize> size = backend_.memory();
        const std::int64_t most = std::max(F, 3 * H), bytes = deep_T * (most + H) * backend_.element_bytes();
        if (!size || static_cast<std::size_t>(bytes) + (std::size_t{3} << 30) > size->free) return;
        const auto repeated = [&](Activations of, std::int64_t columns) {
            const auto once = static_cast<std::size_t>(T * columns * of.element_bytes);
            std::byte* const place = static_cast<std::byte*>(memory(once * static_cast<std::size_t>(deep_T / T)));
            for (std::int64_t i = 0; i < deep_T / T; ++i)
                backend_.copy(place + static_cast<std::size_t>(i) * once, of.data, once, default_stream);
            return Activations{place, of.element_bytes};
        };
        deep_hidden = repeated(hidden, H);
        deep_wide = repeated(wide, most);
    }
    void* memory(std::size_t bytes) { return memories_.emplace_back(backend_, bytes).data(); }
    template <class T>
    T* upload(const std::vector<T>& values) {
        T* place = static_cast<T*>(memory(values.size() * sizeof(T)));
        backend_.upload(place, values.data(), values.size() * sizeof(T), default_stream);
        backend_.synchronize(default_stream);
        return place;
    }
    float* numbers(std::int64_t n) {
        // A period of a prime number of values: different rows differ, and nothing is denormal.
        constexpr std::size_t period = 10007;
        std::vector<float> values(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < values.size() && i < period; ++i) {
            RandomStream random(1, Purpose::bench, 0, memories_.size() * period + i);
            values[i] = 0.05F * static_cast<float>(random.normal());
        }
        for (std::size_t i = period; i < values.size(); ++i) values[i] = values[i - period];
        return upload(values);
    }

    Activations activations(std::int64_t n) {
        float* const values = numbers(n);
        if (backend_.element_bytes() == sizeof(float)) return {reinterpret_cast<std::byte*>(values), sizeof(float)};
        const Activations copies = backend_.compute_copy(
            values, memory(static_cast<std::size_t>(n * backend_.element_bytes())), n, default_stream);
        backend_.synchronize(default_stream);
        memories_.erase(memories_.end() - 2);  // the float32 values
        return copies;
    }

    /// As a model has them: a backend may keep them in a form of its own, made once for all iterations.
    Weight weights(std::int64_t n) {
        if (backend_.element_bytes() == sizeof(float))
            return backend_.compute_copy(numbers(n), nullptr, n, default_stream);
        return activations(n);
    }

    Backend& backend_;
    std::vector<DeviceMemory> memories_;
    std::vector<std::int64_t> offsets_;

  public:
    const std::int64_t T, deep_T, S, M, H, F, A, D, E, V, P;
    const std::vector<Variable> variables{{0, F* H, true}};
    PackedSequences sequences;
    EmbeddingIds ids{};
    std::int32_t* label_ids = nullptr;
    std::int64_t* masked_rows = nullptr;
    float *word, *position, *segment, *vector, *vector_gradient, *row_mean, *row_rstd, *logsumexp, *vectors, *masters,
        *gradient, *moments, *squares;
    Activations decoder, bias, small, small_too, hidden, hidden_too, wide, wide_too, weight;
    Activations deep_hidden, deep_wide;  ///< [deep_T, H] and [deep_T, max(F, 3H)], or null
    LossSums* sums = nullptr;
    double* norm = nullptr;
};

std::vector<Operation> operations(Backend& b, const ModelConfig& config, Problem& p) {
    const std::int64_t T = p.T, S = p.S, M = p.M, H = p.H, F = p.F, E = p.E, V = p.V;
    const double element = static_cast<double>(b.element_bytes());
    std::vector<Operation> list;
    const auto add = [&](std::string name, double flops, double elements, std::function<void()> run) {
        list.push_back({std::move(name), flops, elements * element, std::move(run), {}});
    };
    const auto product = [](std::int64_t m, std::int64_t n, std::int64_t k) {
        return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    };
    // A product with a weight of the layers, in which oneDNN is compared.
    const auto add_product = [&](std::string name, ReferenceShape shape, double elements, std::function<void()> run) {
        add(std::move(name), product(shape.M, shape.N, shape.K), elements, std::move(run));
        list.back().product = shape;
    };
    const auto sum = [](auto... sizes) { return (0.0 + ... + static_cast<double>(sizes)); };
    const auto pairs = [&p] {
        double all = 0;
        for (std::int64_t s = 0; s < p.S; ++s) {
            const auto L = static_cast<double>(p.sequences.host_offsets[s + 1] - p.sequences.host_offsets[s]);
            all += L * L;
        }
        return all;
    }();
    const EmbeddingTables tables{p.word, p.position, p.segment, p.vector, p.vector, 1e-12};
    const Gelu form = config.activation;

    add("embedding_forward", 0, sum(T * E),
        [=, &b, &p] { b.embedding_forward(p.small, p.row_mean, p.row_rstd, p.ids, tables, T, E, default_stream); });
    add("embedding_backward", 0, sum(T * E), [=, &b, &p] {
        b.embedding_backward({p.gradient, p.gradient, p.gradient, p.vector_gradient, p.vector_gradient}, p.small_too,
                             p.row_mean, p.row_rstd, p.ids, tables, T, E, V, p.P, default_stream);
    });
    add_product("linear, QKV", {T, 3 * H, H}, sum(T * H, 3 * H * H, 3 * T * H),
                [=, &b, &p] { b.linear(p.wide, p.hidden, p.weight, p.bias, T, 3 * H, H, default_stream); });
    add_product("linear, attention output", {T, H, H}, sum(2 * T * H, H * H),
                [=, &b, &p] { b.linear(p.hidden_too, p.hidden, p.weight, p.bias, T, H, H, default_stream); });
    add_product("linear_gelu, feed-forward input", {T, F, H}, sum(T * H, F * H, 2 * T * F), [=, &b, &p] {
        b.linear_gelu(p.wide, p.wide_too, p.hidden, p.weight, p.bias, form, T, F, H, default_stream);
    });
    add_product("linear, feed-forward output", {T, H, F}, sum(T * F, F * H, T * H),
                [=, &b, &p] { b.linear(p.hidden_too, p.wide, p.weight, p.bias, T, H, F, default_stream); });
    // With the residuals that training adds.
    add_product("linear_backward_data, QKV", {T, H, 3 * H}, sum(3 * T * H, 3 * H * H, 2 * T * H), [=, &b, &p] {
        b.linear_backward_data(p.hidden_too, p.wide, p.weight, p.hidden, T, 3 * H, H, default_stream);
    });
    add_product("linear_backward_data, attention output", {T, H, H}, sum(2 * T * H, H * H),
                [=, &b, &p] { b.linear_backward_data(p.hidden_too, p.hidden, p.weight, {}, T, H, H, default_stream); });
    add_product("linear_backward_data, feed-forward input", {T, H, F}, sum(T * F, F * H, 2 * T * H), [=, &b, &p] {
        b.linear_backward_data(p.hidden_too, p.wide, p.weight, p.hidden, T, F, H, default_stream);
    });
    add_product("linear_backward_data_gelu, feed-forward output", {T, H, F}, sum(T * H, F * H, 2 * T * F), [=, &b, &p] {
        b.linear_backward_data_gelu(p.wide, p.vector_gradient, p.hidden, p.weight, p.wide_too, form, T, H, F,
                                    default_stream);
    });
    // Of all four weights: dy [rows, N], x [rows, K]. The gradient is float32, read and written.
    const auto weight_gradients = [&](const std::string& suffix, std::int64_t rows, Activations narrow,
                                      Activations wide) {
        struct WeightOf {
            const char* name;
            Activations dy, x;
            std::int64_t N, K;
            float* dbias;  // of QKV alone, as in training: other operations add up the other biases' gradients
        };
        for (const WeightOf& of : {WeightOf{"QKV", wide, narrow, 3 * H, H, p.vector_gradient},
                                   WeightOf{"attention output", narrow, narrow, H, H, nullptr},
                                   WeightOf{"feed-forward input", wide, narrow, F, H, nullptr},
                                   WeightOf{"feed-forward output", narrow, wide, H, F, nullptr}})
            list.push_back({fmt::format("linear_backward_weight, {}{}", of.name, suffix),
                            product(rows, of.N, of.K),
                            sum(rows * of.N, rows * of.K) * element + sum(2 * of.N * of.K) * sizeof(float),
                            [=, &b, &p] {
                                b.linear_backward_weight(p.gradient, of.dbias, of.dy, of.x, true, rows, of.N, of.K,
                                                         default_stream);
                            },
                            {},
                            ReferenceShape{of.N, of.K, rows, true, true, true}});
    };
    weight_gradients("", T, p.hidden, p.wide);
    if (p.deep_wide) weight_gradients(fmt::format(", {} T", p.deep_T / T), p.deep_T, p.deep_hidden, p.deep_wide);
    add("attention_forward", 4 * pairs * static_cast<double>(H), sum(4 * T * H),
        [=, &b, &p] { b.attention_forward(p.hidden, p.logsumexp, p.wide, p.sequences, p.A, p.D, default_stream); });
    list.back().note = "model's FLOP: tiles that are not full do more";
    add("attention_backward", 8 * pairs * static_cast<double>(H), sum(8 * T * H), [=, &b, &p] {
        b.attention_backward(p.wide_too, p.hidden_too, p.hidden, p.wide, p.logsumexp, p.sequences, p.A, p.D,
                             default_stream);
    });
    list.back().note = "model's FLOP, twice the forward's: computing the scores anew is not counted";
    add("residual_layer_norm", 0, sum(4 * T * H), [=, &b, &p] {
        b.residual_layer_norm(p.wide, p.row_mean, p.row_rstd, p.hidden_too, p.hidden, p.vector, p.vector, 1e-12, T, H,
                              default_stream);
    });
    add("layer_norm_backward", 0, sum(3 * T * H), [=, &b, &p] {
        b.layer_norm_backward(p.wide_too, p.vector_gradient, p.vector_gradient + H, p.vector_gradient + 2 * H, p.hidden,
                              p.hidden_too, p.row_mean, p.row_rstd, p.vector, T, H, default_stream);
    });
    add("gather_rows", 0, sum(2 * M * H),
        [=, &b, &p] { b.gather_rows(p.wide, p.hidden, p.masked_rows, M, H, default_stream); });
    add("scatter_add_rows", 0, sum(3 * M * H),
        [=, &b, &p] { b.scatter_add_rows(p.hidden_too, p.wide_too, p.masked_rows, M, H, default_stream); });
    add("gelu_backward", 0, sum(3 * M * E),
        [=, &b, &p] { b.gelu_backward(p.small, p.small_too, p.small, form, M * E, default_stream); });
    add("tanh_forward", 0, sum(2 * S * H), [=, &b, &p] { b.tanh_forward(p.wide, p.hidden, S * H, default_stream); });
    add("tanh_backward", 0, sum(3 * S * H),
        [=, &b, &p] { b.tanh_backward(p.wide, p.hidden, p.hidden_too, S * H, default_stream); });
    add("classify", product(M, V, E), sum(M * E, V * E, M * V), [=, &b, &p] {
        b.classify(p.sums, p.small_too, p.small, p.decoder, p.vector, p.label_ids, 1.0, M, V, E, default_stream);
    });
    add("extract_residues, float32", 0, sum(2 * T * H),
        [=, &b, &p] { b.extract_residues(p.vectors, OutputType::float32, p.hidden, p.sequences, H, default_stream); });
    list.push_back(
        {"extract_residues, float16",
         0,
         static_cast<double>(T * H) * (element + 2),
         [=, &b, &p] { b.extract_residues(p.vectors, OutputType::float16, p.hidden, p.sequences, H, default_stream); },
         {}});
    add("mean_residues", 0, sum(T * H),
        [=, &b, &p] { b.mean_residues(p.vectors, p.hidden, p.sequences, H, default_stream); });
    add("first_rows", 0, sum(2 * S * H),
        [=, &b, &p] { b.first_rows(p.vectors, p.hidden, p.sequences, H, default_stream); });
    // Optimisers work on float32 whatever the precision of activations.
    const auto optimizer = [&](const std::string& name, double arrays, std::function<void()> run) {
        list.push_back({name, 0, static_cast<double>(F * H) * arrays * sizeof(float), std::move(run), {}});
    };
    optimizer("sum_of_squares", 1, [=, &b, &p] { b.sum_of_squares(p.norm, p.gradient, F * H, default_stream); });
    OptimizerStep step;
    step.learning_rate = 1e-6;
    step.squared_norm = p.norm;
    // Read: gradient, m, v, w, update, w; written: m, v, update, w.
    optimizer("lamb", 10, [=, &b, &p] {
        b.lamb(p.masters, nullptr, p.moments, p.squares, p.gradient, p.variables, step, default_stream);
    });
    return list;
}

/// Times operations by the device's clock.
class Stopwatch {
  public:
    struct Time {
        double seconds;  ///< median
        std::size_t runs;
        double other_seconds;  ///< median of what it is compared with
    };

    explicit Stopwatch(Backend& backend) : backend_(backend), begin_(backend), end_(backend) {}

    /// With `other`, both in turns, so that what disturbs the machine disturbs both.
    Time time(const std::function<void()>& run, double least_seconds, const std::function<void()>& other = {}) {
        once(run);  // compiles code and touches memory
        std::vector<double> times, other_times;
        double all = 0;
        // Three runs make a median; 1000 are enough for the smallest.
        while (times.size() < 3 || (all < least_seconds && times.size() < 1000)) {
            if (other) other_times.push_back(once(other));
            times.push_back(once(run));
            all += times.back();
        }
        return {median(times), times.size(), other ? median(other_times) : 0};
    }

  private:
    double once(const std::function<void()>& run) {
        backend_.record(begin_.get(), default_stream);
        run();
        backend_.record(end_.get(), default_stream);
        backend_.wait_for(end_.get());
        return backend_.seconds_between(begin_.get(), end_.get());
    }

    Backend& backend_;
    const OwnEvent begin_, end_;
};

/// A GPU's limits: a long copy, and a square product that fills it.
Limits measure_limits(Backend& backend, const Problem& problem, Stopwatch& stopwatch, double seconds) {
    constexpr std::size_t bytes = std::size_t{1} << 28;
    constexpr std::int64_t side = 8192;
    const std::int64_t element = backend.element_bytes();
    const DeviceMemory from(backend, bytes), to(backend, bytes);
    DeviceMemory left(backend, static_cast<std::size_t>(side * side * element)), right(backend, left.bytes()),
        result(backend, left.bytes());
    const auto as_tensor = [&](const DeviceMemory& memory) { return Activations{memory.data(), element}; };
    // As many different random numbers as there are: a product of zeros, or of a few rows again and again, draws less
    // power, and a GPU at its power limit then runs it up to a quarter faster (seen on an H200).
    const std::int64_t all = side * side, known = std::min(all, problem.F * problem.H);
    for (DeviceMemory* memory : {&left, &right})
        for (std::int64_t done = 0; done < all; done += known)
            backend.copy(memory->data() + done * element, problem.weight.data,
                         static_cast<std::size_t>(std::min(known, all - done) * element), default_stream);
    const auto copy = [&] { backend.copy(to.data(), from.data(), bytes, default_stream); };
    const auto product = [&] {
        backend.linear(as_tensor(result), as_tensor(left), as_tensor(right), {}, side, side, side, default_stream);
    };
    const Limits limits{2.0 * static_cast<double>(bytes) / stopwatch.time(copy, seconds).seconds,
                        2.0 * static_cast<double>(side) * side * side / stopwatch.time(product, seconds).seconds};
    log_information(fmt::format("limits measured here: copy {:.0f} GB/s, product [{} x {}] x [{} x {}] {:.0f} GFLOP/s",
                                1e-9 * limits.copy, side, side, side, side, 1e-9 * limits.product));
    return limits;
}

/// Whether products are timed beside oneDNN's, which are on the CPU and in float32. Where they could be, says why not.
bool compares_products(const Options& options, const Backend& backend) {
    if (options.without_product || !backend.host_reaches_memory()) return false;
    if (!ReferenceProduct::available()) {
        log_information(ReferenceProduct::absence);
    } else if (backend.precision() != Precision::float32) {
        log_information("products are compared with oneDNN's in float32 alone");
    } else {
        return true;
    }
    return false;
}

void run(const Options& options, BenchRun& bench) {
    const Vocabulary vocabulary = default_vocabulary();
    const ModelConfig config = bench_model(options.sizes, vocabulary);
    const std::unique_ptr<Backend> backend = make_backend(options.device, bench.communicator);
    log_information(fmt::format("{}, {} tokens in sequences of {}, on {}", describe(config), options.tokens,
                                options.length, backend->description()));
    Problem problem(*backend, config, options.tokens, options.length);
    Stopwatch stopwatch(*backend);
    bench.report = nlohmann::json::array();
    std::optional<Limits> limits;
    if (!options.without_limits && !backend->host_reaches_memory()) {
        limits = measure_limits(*backend, problem, stopwatch, options.seconds);
        bench.report.push_back({{"operation", "limits"},
                                {"copy_bytes_per_second", limits->copy},
                                {"product_flops_per_second", limits->product}});
    }
    const bool compares = compares_products(options, *backend);
    log_information(fmt::format("{:<48}{:>12}{:>12}{:>12}{:>8}{}{}", "operation", "ms", "GFLOP/s", "GB/s", "runs",
                                limits ? fmt::format("{:>12}{:>12}", "floor, ms", "over floor") : std::string(),
                                compares ? fmt::format("{:>12}", "x oneDNN") : std::string()));
    double product = 0, attention_flops = 0, attention_seconds = 0;  // FLOP/s, FLOP and seconds
    std::vector<std::pair<double, std::string>> ratios;              // over oneDNN's rate, of the products
    for (const Operation& operation : operations(*backend, config, problem)) {
        std::optional<ReferenceProduct> reference;
        if (compares && operation.product) reference.emplace(*operation.product);
        const auto [seconds, runs, reference_seconds] = stopwatch.time(
            operation.run, options.seconds, reference ? [&] { reference->run(); } : std::function<void()>());
        const double flop_rate = operation.flops / seconds, byte_rate = operation.bytes / seconds;
        std::string line = fmt::format("{:<48}{:>12.4f}{:>12}{:>12.2f}{:>8}", operation.name, 1e3 * seconds,
                                       operation.flops > 0 ? fmt::format("{:.1f}", 1e-9 * flop_rate) : std::string("-"),
                                       1e-9 * byte_rate, runs);
        nlohmann::json entry = {{"operation", operation.name},   {"seconds", seconds},
                                {"flops", operation.flops},      {"bytes", operation.bytes},
                                {"flops_per_second", flop_rate}, {"bytes_per_second", byte_rate}};
        if (limits) {
            const double floor = limits->floor(operation);
            line += fmt::format("{:>12.4f}{:>12.2f}", 1e3 * floor, seconds / floor);
            entry["floor_seconds"] = floor;
            entry["over_floor"] = seconds / floor;
        }
        if (reference) {
            const double ratio = reference_seconds / seconds;
            line += fmt::format("{:>12.2f}", ratio);
            entry["over_onednn"] = ratio;
            entry["onednn_flops_per_second"] = operation.flops / reference_seconds;
            entry["onednn_way"] = reference->way();
            ratios.emplace_back(ratio, operation.name);
        }
        if (!operation.note.empty()) {
            line += "  " + operation.note;
            entry["note"] = operation.note;
        }
        log_information(line);
        bench.report.push_back(std::move(entry));
        if (operation.name == "linear, feed-forward output") product = flop_rate;
        if (operation.name.starts_with("attention_")) {
            attention_flops += operation.flops;
            attention_seconds += seconds;
        }
    }
    log_information("GB/s counts each input read and each output written once; FLOP are the model's.");
    if (problem.deep_wide)
        log_information(fmt::format("{} T: the rows of all iterations in one product, as training computes it.",
                                    problem.deep_T / problem.T));
    if (limits)
        log_information(
            "floor: those bytes at the copy's rate or those FLOP at the product's, whichever takes longer. Arrays that "
            "stay in a cache can be faster.");
    nlohmann::json details = nlohmann::json::object();
    if (!ratios.empty()) {
        log_information(
            "x oneDNN: our rate over that of its fastest way for the product alone, without bias, GELU or residual; "
            "both "
            "timed in turns.");
        std::sort(ratios.begin(), ratios.end());
        std::vector<double> values;
        for (const auto& [ratio, name] : ratios) values.push_back(ratio);
        const double middle = median(values);
        log_information(fmt::format("x oneDNN, {} products: lowest {:.2f} ({}), median {:.2f}", ratios.size(),
                                    ratios.front().first, ratios.front().second, middle));
        details = {{"lowest_over_onednn", ratios.front().first}, {"median_over_onednn", middle}};
    }
    const double slowness = product * attention_seconds / attention_flops;
    log_information(
        fmt::format("a FLOP of attention, forward and backward, takes {:.2f} times as long as one of the feed-forward "
                    "product; samples are shared out as if {}",
                    slowness, attention_slowness));
    details["attention_slowness"] = slowness;
    bench.figure = {"product_flops_per_second", product, "FLOP/s", details};
}

}  // namespace

BenchAction add_bench_kernels(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    add_model_options(command, options->sizes);
    command.add_option("--tokens", options->tokens, "of the packed batch")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--length", options->length, "tokens of each sequence")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--seconds", options->seconds, "spent on each operation")
        ->capture_default_str()
        ->check(number_range(0, 3600));
    command.add_flag("--without-limits", options->without_limits,
                     "do not measure a GPU's limits first, whose large product takes long where products are slow");
    command.add_flag("--without-product", options->without_product,
                     "on a CPU, do not time oneDNN's products beside the layers'");
    add_device_options(command, options->device);
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

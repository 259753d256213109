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

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "probe.hpp"

namespace protalbert::gpu_probe {
namespace {

using Numbers = RandomNumbers<Bfloat16>;

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

void add_errors(Line& line, const std::string& name, const std::vector<double>& got, const std::vector<double>& want) {
    const auto [rms, worst, mean] = errors_of(got, want);
    line[name] = {{"rms", rms}, {"worst", worst}, {"mean", mean}};
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

int run(const std::string& sections, const Sizes& sizes) {
    auto backend = std::make_unique<cuda::CudaBackend>(Precision::bfloat16);
    print({{"device", backend->description()}, {"cublaslt", cublasLtGetVersion()}});
    const Library library(*backend);
    const Numbers numbers(1), weights(1.0F / 64);
    const Probe probe{sizes, *backend, library, numbers, weights};
    return run_sections(sections, [&](char section) {
        switch (section) {
            case 'a':
                return weight_gradients(probe);
            case 'b':
                return gelu_epilogues(probe);
            case 'c':
                return gelu_derivative(probe);
            case 'd':
                return algorithms(probe);
            default:
                throw Error("there is no such section");
        }
    });
}

}  // namespace
}  // namespace protalbert::gpu_probe

int main(int argc, char** argv) {
    return protalbert::gpu_probe::probe_main(argc, argv, "probe_products", "abcd", protalbert::gpu_probe::run);
}

#include "bench/reference_product.hpp"

#include <chrono>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

namespace protalbert {
namespace {

double seconds_of(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Repetitions of each way before one is chosen; the first also compiles its code.
constexpr int trials = 3;

}  // namespace

struct ReferenceProduct::State {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
    std::int64_t M, N, K;
    dnnl::memory x, weight, out;
    std::string way;
    std::function<void()> run;
};

ReferenceProduct::ReferenceProduct(std::int64_t M, std::int64_t N, std::int64_t K) : state_(new State) {
    using dnnl::memory;
    using Tag = memory::format_tag;
    State& state = *state_;
    state.M = M;
    state.N = N;
    state.K = K;
    const auto description = [](std::int64_t rows, std::int64_t columns, Tag tag) {
        return memory::desc({rows, columns}, memory::data_type::f32, tag);
    };
    state.x = memory(description(M, K, Tag::ab), state.engine);
    state.out = memory(description(M, N, Tag::ab), state.engine);
    // Small values that are no powers of two, so that nothing is skipped or denormal.
    const auto fill = [](memory& array, std::int64_t n) {
        auto* values = static_cast<float*>(array.get_data_handle());
        for (std::int64_t i = 0; i < n; ++i) values[i] = 0.01F * static_cast<float>(i % 97 - 48);
    };
    fill(state.x, M * K);

    struct Way {
        std::string name;
        Tag tag;
        bool gemm;
    };
    double best = 0;
    for (const Way& way :
         {Way{"gemm", Tag::ab, true}, Way{"gemm, transposed weights", Tag::ba, true}, Way{"matmul", Tag::ab, false},
          Way{"matmul, transposed weights", Tag::ba, false}, Way{"matmul, its own layout", Tag::any, false}}) {
        memory weight;
        std::function<void()> run;
        if (way.gemm) {
            weight = memory(description(K, N, way.tag), state.engine);
            const auto* a = static_cast<const float*>(state.x.get_data_handle());
            const auto* b = static_cast<const float*>(weight.get_data_handle());
            auto* c = static_cast<float*>(state.out.get_data_handle());
            const bool transposed = way.tag == Tag::ba;
            run = [=] { dnnl_sgemm('N', transposed ? 'T' : 'N', M, N, K, 1, a, K, b, transposed ? K : N, 0, c, N); };
        } else {
            const memory::desc weights = description(K, N, way.tag);
#if DNNL_VERSION_MAJOR >= 3
            const dnnl::matmul::primitive_desc chosen(state.engine, state.x.get_desc(), weights, state.out.get_desc());
#else
            const dnnl::matmul::desc matmul(state.x.get_desc(), weights, state.out.get_desc());
            const dnnl::matmul::primitive_desc chosen(matmul, state.engine);
#endif
            weight = memory(chosen.weights_desc(), state.engine);
            const dnnl::matmul primitive(chosen);
            State* const owner = &state;
            run = [owner, primitive, weight] {
                primitive.execute(owner->stream,
                                  {{DNNL_ARG_SRC, owner->x}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, owner->out}});
                owner->stream.wait();
            };
        }
        fill(weight, K * N);
        double fastest = 0;
        for (int trial = 0; trial < trials; ++trial) {
            const double seconds = seconds_of(run);
            if (fastest == 0 || seconds < fastest) fastest = seconds;
        }
        if (best == 0 || fastest < best) {
            best = fastest;
            state.way = way.name;
            state.weight = weight;
            state.run = run;
        }
    }
}

ReferenceProduct::~ReferenceProduct() = default;

double ReferenceProduct::rate() {
    const double seconds = seconds_of(state_->run);
    return 2.0 * static_cast<double>(state_->M) * static_cast<double>(state_->N) * static_cast<double>(state_->K) /
           seconds;
}

const std::string& ReferenceProduct::way() const { return state_->way; }

}  // namespace protalbert

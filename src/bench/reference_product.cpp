#include "bench/reference_product.hpp"

#ifndef PROTALBERT_ONEDNN

#include "base/error.hpp"

namespace protalbert {

struct ReferenceProduct::State {
    std::string way;
};

bool ReferenceProduct::available() { return false; }
ReferenceProduct::ReferenceProduct(const ReferenceShape&) { throw Error(absence); }
ReferenceProduct::~ReferenceProduct() = default;
void ReferenceProduct::run() {}
double ReferenceProduct::rate() { return 0; }
const std::string& ReferenceProduct::way() const { return state_->way; }

}  // namespace protalbert

#else

#include <chrono>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

namespace protalbert {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

double seconds_of(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Repetitions of each way before one is chosen; the first also compiles its code.
constexpr int trials = 3;

memory::desc matrix(std::int64_t rows, std::int64_t columns, Tag tag) {
    return memory::desc({rows, columns}, memory::data_type::f32, tag);
}

float* floats(const memory& array) { return static_cast<float*>(array.get_data_handle()); }

/// Small values that are no powers of two, so that nothing is skipped or denormal.
void fill(const memory& array) {
    const std::size_t n = array.get_desc().get_size() / sizeof(float);
    for (std::size_t i = 0; i < n; ++i) floats(array)[i] = 0.01F * (static_cast<float>(i % 97) - 48);
}

struct Way {
    std::string name;
    bool sgemm;
    Tag right;
};

std::vector<Way> ways(const ReferenceShape& shape) {
    if (shape.right_given) return {{"sgemm", true, Tag::ab}, {"matmul", false, Tag::ab}};
    return {{"sgemm", true, Tag::ab},
            {"sgemm, transposed weights", true, Tag::ba},
            {"matmul", false, Tag::ab},
            {"matmul, transposed weights", false, Tag::ba},
            {"matmul, weights in its own layout", false, Tag::any}};
}

}  // namespace

struct ReferenceProduct::State {
    ReferenceShape shape;
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
    memory left, right, out;
    std::string way;
    std::function<void()> run;

    explicit State(const ReferenceShape& of)
        : shape(of),
          left(matrix(shape.M, shape.K, shape.left_transposed ? Tag::ba : Tag::ab), engine),
          out(matrix(shape.M, shape.N, Tag::ab), engine) {
        fill(left);
        fill(out);
    }

    /// What runs the product with sgemm and a right operand of its own.
    std::function<void()> sgemm(Tag tag) {
        const memory right(matrix(shape.K, shape.N, tag), engine);
        fill(right);
        return [this, right, transposed = tag == Tag::ba] {
            const std::int64_t M = shape.M, N = shape.N, K = shape.K;
            dnnl_sgemm(shape.left_transposed ? 'T' : 'N', transposed ? 'T' : 'N', M, N, K, 1, floats(left),
                       shape.left_transposed ? M : K, floats(right), transposed ? K : N, shape.accumulate ? 1 : 0,
                       floats(out), N);
        };
    }

    /// The same with the matmul primitive.
    std::function<void()> matmul(Tag tag) {
        dnnl::primitive_attr attributes;
        if (shape.accumulate) {
            dnnl::post_ops accumulation;
            accumulation.append_sum(1);
            attributes.set_post_ops(accumulation);
        }
        const memory::desc wanted = matrix(shape.K, shape.N, tag);
#if DNNL_VERSION_MAJOR >= 3
        const dnnl::matmul::primitive_desc chosen(engine, left.get_desc(), wanted, out.get_desc(), attributes);
#else
        const dnnl::matmul::desc product(left.get_desc(), wanted, out.get_desc());
        const dnnl::matmul::primitive_desc chosen(product, attributes, engine);
#endif
        const memory right(chosen.weights_desc(), engine);
        fill(right);
        return [this, primitive = dnnl::matmul(chosen), right] {
            primitive.execute(stream, {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, out}});
            stream.wait();
        };
    }
};

bool ReferenceProduct::available() { return true; }

ReferenceProduct::ReferenceProduct(const ReferenceShape& shape) : state_(new State(shape)) {
    double best = 0;
    for (const Way& way : ways(shape)) {
        std::function<void()> run = way.sgemm ? state_->sgemm(way.right) : state_->matmul(way.right);
        double fastest = 0;
        for (int trial = 0; trial < trials; ++trial) {
            const double seconds = seconds_of(run);
            if (fastest == 0 || seconds < fastest) fastest = seconds;
        }
        if (best == 0 || fastest < best) {
            best = fastest;
            state_->way = way.name;
            state_->run = std::move(run);
        }
    }
}

ReferenceProduct::~ReferenceProduct() = default;

void ReferenceProduct::run() { state_->run(); }

double ReferenceProduct::rate() {
    const double seconds = seconds_of(state_->run);
    const ReferenceShape& of = state_->shape;
    return 2.0 * static_cast<double>(of.M) * static_cast<double>(of.N) * static_cast<double>(of.K) / seconds;
}

const std::string& ReferenceProduct::way() const { return state_->way; }

}  // namespace protalbert

#endif

#include "bench/timed_backend.hpp"

#include <algorithm>

namespace protalbert {

template <class Run>
auto TimedBackend::timed(const char* operation, Stream stream, const Run& run) {
    if (!on_) return run();
    Timing& timing = timings_.emplace_back(Timing{operation, OwnEvent(inner_), OwnEvent(inner_)});
    /// Records the end whether the operation returns something or not.
    struct End {
        Backend& backend;
        Event event;
        Stream stream;
        ~End() { backend.record(event, stream); }
    };
    inner_.record(timing.begin.get(), stream);
    const End end{inner_, timing.end.get(), stream};
    return run();
}

std::vector<TimedBackend::Total> TimedBackend::stop() {
    on_ = false;
    std::map<std::string, Total> totals;
    for (const Timing& timing : timings_) {
        inner_.wait_for(timing.end.get());
        Total& total = totals[timing.operation];
        total.operation = timing.operation;
        ++total.calls;
        total.seconds += inner_.seconds_between(timing.begin.get(), timing.end.get());
    }
    timings_.clear();
    std::vector<Total> list;
    for (auto& [operation, total] : totals) list.push_back(std::move(total));
    std::sort(list.begin(), list.end(), [](const Total& a, const Total& b) { return a.seconds > b.seconds; });
    return list;
}

std::string TimedBackend::description() const { return inner_.description(); }
Precision TimedBackend::precision() const { return inner_.precision(); }
std::int64_t TimedBackend::element_bytes() const { return inner_.element_bytes(); }
void* TimedBackend::allocate(std::size_t bytes) { return inner_.allocate(bytes); }
void TimedBackend::free(void* memory) noexcept { inner_.free(memory); }
void TimedBackend::reserve(std::size_t bytes) { inner_.reserve(bytes); }
std::optional<MemorySize> TimedBackend::memory() const { return inner_.memory(); }
std::size_t TimedBackend::own_bytes(std::int64_t parameters, bool trained) const {
    return inner_.own_bytes(parameters, trained);
}
std::int64_t TimedBackend::slow_products() const { return inner_.slow_products(); }
bool TimedBackend::host_reaches_memory() const { return inner_.host_reaches_memory(); }
void* TimedBackend::allocate_host(std::size_t bytes) { return inner_.allocate_host(bytes); }
void TimedBackend::free_host(void* memory) noexcept { inner_.free_host(memory); }
void TimedBackend::upload(void* device, const void* host, std::size_t bytes, Stream stream) {
    timed("upload", stream, [&] { return inner_.upload(device, host, bytes, stream); });
}
void TimedBackend::download(void* host, const void* device, std::size_t bytes, Stream stream) {
    timed("download", stream, [&] { return inner_.download(host, device, bytes, stream); });
}
void TimedBackend::copy(void* to, const void* from, std::size_t bytes, Stream stream) {
    timed("copy", stream, [&] { return inner_.copy(to, from, bytes, stream); });
}
void TimedBackend::set_zero(void* device, std::size_t bytes, Stream stream) {
    timed("set_zero", stream, [&] { return inner_.set_zero(device, bytes, stream); });
}
void TimedBackend::synchronize(Stream stream) { inner_.synchronize(stream); }
Stream TimedBackend::make_stream() { return inner_.make_stream(); }
void TimedBackend::free_stream(Stream stream) noexcept { inner_.free_stream(stream); }
Event TimedBackend::make_event() { return inner_.make_event(); }
void TimedBackend::free_event(Event event) noexcept { inner_.free_event(event); }
void TimedBackend::record(Event event, Stream stream) { inner_.record(event, stream); }
void TimedBackend::wait(Stream stream, Event event) { inner_.wait(stream, event); }
void TimedBackend::wait_for(Event event) { inner_.wait_for(event); }
bool TimedBackend::done(Event event) { return inner_.done(event); }
double TimedBackend::seconds_between(Event from, Event to) { return inner_.seconds_between(from, to); }
Weight TimedBackend::compute_copy(const float* masters, void* copies, std::int64_t n, Stream stream) {
    return timed("compute_copy", stream, [&] { return inner_.compute_copy(masters, copies, n, stream); });
}
void TimedBackend::embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids,
                                     EmbeddingTables tables, std::int64_t T, std::int64_t E, Stream stream) {
    timed("embedding_forward", stream,
          [&] { return inner_.embedding_forward(out, mean, rstd, ids, tables, T, E, stream); });
}
void TimedBackend::embedding_backward(EmbeddingGradients gradients, Activations dout, const float* mean,
                                      const float* rstd, EmbeddingIds ids, EmbeddingTables tables, std::int64_t T,
                                      std::int64_t E, std::int64_t V, std::int64_t P, Stream stream) {
    timed("embedding_backward", stream,
          [&] { return inner_.embedding_backward(gradients, dout, mean, rstd, ids, tables, T, E, V, P, stream); });
}
void TimedBackend::linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                          std::int64_t K, Stream stream) {
    timed("linear", stream, [&] { return inner_.linear(out, x, weight, bias, T, N, K, stream); });
}
void TimedBackend::linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                               std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    timed("linear_gelu", stream, [&] { return inner_.linear_gelu(out, pre, x, weight, bias, form, T, N, K, stream); });
}
void TimedBackend::linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual,
                                        std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    timed("linear_backward_data", stream,
          [&] { return inner_.linear_backward_data(dx, dy, weight, residual, T, N, K, stream); });
}
void TimedBackend::linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight,
                                             Activations pre, Gelu form, std::int64_t T, std::int64_t N, std::int64_t K,
                                             Stream stream) {
    timed("linear_backward_data_gelu", stream,
          [&] { return inner_.linear_backward_data_gelu(dpre, dbias, dy, weight, pre, form, T, N, K, stream); });
}
void TimedBackend::linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                          std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) {
    timed("linear_backward_weight", stream,
          [&] { return inner_.linear_backward_weight(dweight, dbias, dy, x, accumulate, T, N, K, stream); });
}
void TimedBackend::attention_forward(Activations out, float* logsumexp, Activations qkv, PackedSequences sequences,
                                     std::int64_t A, std::int64_t D, Stream stream) {
    timed("attention_forward", stream,
          [&] { return inner_.attention_forward(out, logsumexp, qkv, sequences, A, D, stream); });
}
void TimedBackend::attention_backward(Activations dqkv, Activations dout, Activations out, Activations qkv,
                                      const float* logsumexp, PackedSequences sequences, std::int64_t A, std::int64_t D,
                                      Stream stream) {
    timed("attention_backward", stream,
          [&] { return inner_.attention_backward(dqkv, dout, out, qkv, logsumexp, sequences, A, D, stream); });
}
void TimedBackend::residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch,
                                       Activations residual, const float* gamma, const float* beta, double epsilon,
                                       std::int64_t T, std::int64_t N, Stream stream) {
    timed("residual_layer_norm", stream, [&] {
        return inner_.residual_layer_norm(out, mean, rstd, branch, residual, gamma, beta, epsilon, T, N, stream);
    });
}
void TimedBackend::layer_norm_backward(Activations ds, float* dgamma, float* dbeta, float* dbias, Activations dout,
                                       Activations s, const float* mean, const float* rstd, const float* gamma,
                                       std::int64_t T, std::int64_t N, Stream stream) {
    timed("layer_norm_backward", stream, [&] {
        return inner_.layer_norm_backward(ds, dgamma, dbeta, dbias, dout, s, mean, rstd, gamma, T, N, stream);
    });
}
void TimedBackend::gather_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                               std::int64_t N, Stream stream) {
    timed("gather_rows", stream, [&] { return inner_.gather_rows(out, in, rows, M, N, stream); });
}
void TimedBackend::scatter_add_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                                    std::int64_t N, Stream stream) {
    timed("scatter_add_rows", stream, [&] { return inner_.scatter_add_rows(out, in, rows, M, N, stream); });
}
void TimedBackend::gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                                 Stream stream) {
    timed("gelu_backward", stream, [&] { return inner_.gelu_backward(dpre, dout, pre, form, n, stream); });
}
void TimedBackend::tanh_forward(Activations out, Activations in, std::int64_t n, Stream stream) {
    timed("tanh_forward", stream, [&] { return inner_.tanh_forward(out, in, n, stream); });
}
void TimedBackend::tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream stream) {
    timed("tanh_backward", stream, [&] { return inner_.tanh_backward(din, dout, out, n, stream); });
}
void TimedBackend::classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                            const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                            Stream stream) {
    timed("classify", stream,
          [&] { return inner_.classify(sums, dlogits, x, weight, bias, labels, scale, M, C, K, stream); });
}
void TimedBackend::cross_entropy(LossSums* sums, Activations dlogits, Activations logits, const std::int32_t* labels,
                                 double scale, std::int64_t M, std::int64_t C, Stream stream) {
    timed("cross_entropy", stream,
          [&] { return inner_.cross_entropy(sums, dlogits, logits, labels, scale, M, C, stream); });
}
void TimedBackend::window_sum(Activations out, Activations taps, const float* bias, PackedSequences sequences,
                              std::int64_t W, std::int64_t C, Stream stream) {
    timed("window_sum", stream, [&] { return inner_.window_sum(out, taps, bias, sequences, W, C, stream); });
}
void TimedBackend::window_sum_backward(Activations dtaps, Activations dout, PackedSequences sequences, std::int64_t W,
                                       std::int64_t C, Stream stream) {
    timed("window_sum_backward", stream,
          [&] { return inner_.window_sum_backward(dtaps, dout, sequences, W, C, stream); });
}
void TimedBackend::relu_dropout(Activations out, Activations pre, const std::int64_t* rows, const Dropout& dropout,
                                std::int64_t T, std::int64_t N, Stream stream) {
    timed("relu_dropout", stream, [&] { return inner_.relu_dropout(out, pre, rows, dropout, T, N, stream); });
}
void TimedBackend::relu_dropout_backward(Activations dpre, Activations dout, Activations out, double probability,
                                         std::int64_t n, Stream stream) {
    timed("relu_dropout_backward", stream,
          [&] { return inner_.relu_dropout_backward(dpre, dout, out, probability, n, stream); });
}
void TimedBackend::extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences,
                                    std::int64_t H, Stream stream) {
    timed("extract_residues", stream, [&] { return inner_.extract_residues(out, type, in, sequences, H, stream); });
}
void TimedBackend::mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) {
    timed("mean_residues", stream, [&] { return inner_.mean_residues(out, in, sequences, H, stream); });
}
void TimedBackend::first_rows(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) {
    timed("first_rows", stream, [&] { return inner_.first_rows(out, in, sequences, H, stream); });
}
void TimedBackend::add_fixed_point(std::int64_t* sums, float* largest, float* values, int bits, std::int64_t n,
                                   Stream stream) {
    timed("add_fixed_point", stream, [&] { return inner_.add_fixed_point(sums, largest, values, bits, n, stream); });
}
void TimedBackend::from_fixed_point(float* values, const std::int64_t* sums, int bits, std::int64_t n, Stream stream) {
    timed("from_fixed_point", stream, [&] { return inner_.from_fixed_point(values, sums, bits, n, stream); });
}
void TimedBackend::sum_of_squares(double* out, const float* x, std::int64_t n, Stream stream) {
    timed("sum_of_squares", stream, [&] { return inner_.sum_of_squares(out, x, n, stream); });
}
void TimedBackend::lamb(float* parameters, void* copies, float* m, float* v, float* gradients,
                        const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) {
    timed("lamb", stream, [&] { return inner_.lamb(parameters, copies, m, v, gradients, variables, step, stream); });
}
void TimedBackend::adamw(float* parameters, void* copies, float* m, float* v, float* gradients,
                         const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) {
    timed("adamw", stream, [&] { return inner_.adamw(parameters, copies, m, v, gradients, variables, step, stream); });
}

}  // namespace protalbert

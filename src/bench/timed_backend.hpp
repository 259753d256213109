#pragma once
// A backend that passes everything on and, while asked to, times each operation by two events around it.

#include <map>
#include <string>
#include <vector>

#include "kernels/handles.hpp"

namespace protalbert {

class TimedBackend final : public Backend {
  public:
    explicit TimedBackend(Backend& inner) : inner_(inner) {}

    /// From now on operations are timed.
    void start() { on_ = true; }
    struct Total {
        std::string operation;
        std::int64_t calls = 0;
        double seconds = 0;  ///< on the device
    };
    /// Waits for the device; the operations since start(), slowest first.
    std::vector<Total> stop();

    std::string description() const override;
    Precision precision() const override;
    std::int64_t element_bytes() const override;
    void* allocate(std::size_t bytes) override;
    void free(void* memory) noexcept override;
    void reserve(std::size_t bytes) override;
    std::optional<MemorySize> memory() const override;
    std::size_t own_bytes(std::int64_t parameters, bool trained) const override;
    std::int64_t slow_products() const override;
    bool host_reaches_memory() const override;
    void* allocate_host(std::size_t bytes) override;
    void free_host(void* memory) noexcept override;
    void upload(void* device, const void* host, std::size_t bytes, Stream stream) override;
    void download(void* host, const void* device, std::size_t bytes, Stream stream) override;
    void copy(void* to, const void* from, std::size_t bytes, Stream stream) override;
    void set_zero(void* device, std::size_t bytes, Stream stream) override;
    void synchronize(Stream stream) override;
    Stream make_stream() override;
    void free_stream(Stream stream) noexcept override;
    Event make_event() override;
    void free_event(Event event) noexcept override;
    void record(Event event, Stream stream) override;
    void wait(Stream stream, Event event) override;
    void wait_for(Event event) override;
    bool done(Event event) override;
    double seconds_between(Event from, Event to) override;
    Weight compute_copy(const float* masters, void* copies, std::int64_t n, Stream stream) override;
    void embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids, EmbeddingTables tables,
                           std::int64_t T, std::int64_t E, Stream stream) override;
    void embedding_backward(EmbeddingGradients gradients, Activations dout, const float* mean, const float* rstd,
                            EmbeddingIds ids, EmbeddingTables tables, std::int64_t T, std::int64_t E, std::int64_t V,
                            std::int64_t P, Stream stream) override;
    void linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                std::int64_t K, Stream stream) override;
    void linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                     std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) override;
    void linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual, std::int64_t T,
                              std::int64_t N, std::int64_t K, Stream stream) override;
    void linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight, Activations pre,
                                   Gelu form, std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) override;
    void linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) override;
    void attention_forward(Activations out, float* logsumexp, Activations qkv, PackedSequences sequences,
                           std::int64_t A, std::int64_t D, Stream stream) override;
    void attention_backward(Activations dqkv, Activations dout, Activations out, Activations qkv,
                            const float* logsumexp, PackedSequences sequences, std::int64_t A, std::int64_t D,
                            Stream stream) override;
    void residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch, Activations residual,
                             const float* gamma, const float* beta, double epsilon, std::int64_t T, std::int64_t N,
                             Stream stream) override;
    void layer_norm_backward(Activations ds, float* dgamma, float* dbeta, float* dbias, Activations dout, Activations s,
                             const float* mean, const float* rstd, const float* gamma, std::int64_t T, std::int64_t N,
                             Stream stream) override;
    void gather_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M, std::int64_t N,
                     Stream stream) override;
    void scatter_add_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M, std::int64_t N,
                          Stream stream) override;
    void gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                       Stream stream) override;
    void tanh_forward(Activations out, Activations in, std::int64_t n, Stream stream) override;
    void tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream stream) override;
    void classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                  const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                  Stream stream) override;
    void cross_entropy(LossSums* sums, Activations dlogits, Activations logits, const std::int32_t* labels,
                       double scale, std::int64_t M, std::int64_t C, Stream stream) override;
    void window_sum(Activations out, Activations taps, const float* bias, PackedSequences sequences, std::int64_t W,
                    std::int64_t C, Stream stream) override;
    void window_sum_backward(Activations dtaps, Activations dout, PackedSequences sequences, std::int64_t W,
                             std::int64_t C, Stream stream) override;
    void relu_dropout(Activations out, Activations pre, const std::int64_t* rows, const Dropout& dropout,
                      std::int64_t T, std::int64_t N, Stream stream) override;
    void relu_dropout_backward(Activations dpre, Activations dout, Activations out, double probability, std::int64_t n,
                               Stream stream) override;
    void extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences, std::int64_t H,
                          Stream stream) override;
    void mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) override;
    void first_rows(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) override;
    void add_fixed_point(std::int64_t* sums, float* largest, float* values, int bits, std::int64_t n,
                         Stream stream) override;
    void from_fixed_point(float* values, const std::int64_t* sums, int bits, std::int64_t n, Stream stream) override;
    void sum_of_squares(double* out, const float* x, std::int64_t n, Stream stream) override;
    void lamb(float* parameters, void* copies, float* m, float* v, float* gradients,
              const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) override;
    void adamw(float* parameters, void* copies, float* m, float* v, float* gradients,
               const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) override;

  private:
    /// Runs an operation on `stream` between two events.
    template <class Run>
    auto timed(const char* operation, Stream stream, const Run& run);

    struct Timing {
        const char* operation;
        OwnEvent begin, end;
    };
    Backend& inner_;
    bool on_ = false;
    std::vector<Timing> timings_;
};

}  // namespace protalbert

#pragma once
// The class behind make_cuda_backend. Its operations are defined in one file a subject: cuda_backend.cpp
// (memory, streams), dense.cu, attention.cpp, embedding.cu, layer_norm.cu, elementwise.cu, losses.cu, pooling.cu,
// fixed_point.cu, optimizers.cu. Every operation is enqueued and returns; none allocates or waits, but for the first
// call of an optimiser, which keeps a table of its variables on the device.

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>

#include "kernels/backend.hpp"
#include "kernels/cuda/device_arena.hpp"
#include "kernels/cuda/products.hpp"
#include "kernels/cuda/tile_uploads.hpp"

namespace protalbert::cuda {

/// What linear_backward_data_gelu takes of the scratch memory for a slice of rows: 2048 rows of ProtAlbert's
/// feed-forward layer in bfloat16, on an H200 the fastest of 512 to 8192 (tests/gpu/probe_products.cpp).
constexpr std::size_t gelu_slice_bytes = std::size_t{64} << 20;

/// Memory that an operation works in, of a fixed size: whatever its input, an operation cuts its work to fit. A slice
/// and partial sums of a bias's gradient.
constexpr std::size_t scratch_bytes = gelu_slice_bytes + (std::size_t{8} << 20);

class CudaBackend final : public Backend {
  public:
    explicit CudaBackend(Precision precision);
    ~CudaBackend() override;
    CudaBackend(const CudaBackend&) = delete;
    CudaBackend& operator=(const CudaBackend&) = delete;

    std::string description() const override;
    Precision precision() const override { return precision_; }

    void* allocate(std::size_t bytes) override;
    void free(void* memory) noexcept override;
    void reserve(std::size_t bytes) override;
    std::optional<MemorySize> memory() const override;
    std::size_t own_bytes(std::int64_t parameters, bool trained) const override;
    std::int64_t slow_products() const override { return products_->simple_products(); }
    bool host_reaches_memory() const override { return false; }
    void* allocate_host(std::size_t bytes) override;
    void free_host(void* memory) noexcept override;
    void upload(void* device, const void* host, std::size_t bytes, Stream stream) override;
    void download(void* host, const void* device, std::size_t bytes, Stream stream) override;
    void copy(void* to, const void* from, std::size_t bytes, Stream stream) override;
    void set_zero(void* device, std::size_t bytes, Stream stream) override;
    void synchronize(Stream stream) override;
    Weight compute_copy(const float* masters, void* copies, std::int64_t n, Stream stream) override;

    Stream make_stream() override;
    void free_stream(Stream stream) noexcept override;
    Event make_event() override;
    void free_event(Event event) noexcept override;
    void record(Event event, Stream stream) override;
    void wait(Stream stream, Event event) override;
    void wait_for(Event event) override;
    bool done(Event event) override;
    double seconds_between(Event from, Event to) override;

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

    /// out [N] = sums over t of x [T, N], or += when `accumulate`, in a fixed order.
    void column_sums(float* out, Activations x, bool accumulate, std::int64_t T, std::int64_t N, Stream stream);

  private:
    /// The scratch memory as elements of T.
    template <class T>
    T* scratch() const {
        return static_cast<T*>(scratch_);
    }
    template <class T>
    static constexpr std::int64_t scratch_elements() {
        return static_cast<std::int64_t>(scratch_bytes / sizeof(T));
    }
    /// body(Element{}) with the type of an activation: float or __nv_bfloat16.
    template <class Body>
    void with_element(const Body& body) const;
    /// out = gelu(pre), n elements; in place allowed.
    void gelu(Activations out, Activations pre, Gelu form, std::int64_t n, Stream stream);
    /// gelu_backward of [T, N], and partials [parts, N] = column sums of dpre over parts of the rows, or += when
    /// `accumulate`.
    void gelu_backward_sums(Activations dpre, float* partials, Activations dout, Activations pre, Gelu form,
                            bool accumulate, std::int64_t parts, std::int64_t T, std::int64_t N, Stream stream);
    void optimize(float* parameters, void* copies, float* m, float* v, float* gradients,
                  const std::vector<Variable>& variables, const OptimizerStep& step, bool trust_ratio, Stream stream);

    Precision precision_;
    int device_ = 0;
    DeviceArena arena_;
    void* scratch_ = nullptr;  ///< [scratch_bytes]
    std::unique_ptr<Products> products_;
    std::unique_ptr<TileUploads> tiles_;
    /// Tables of the optimisers' variables on the device, by the host's.
    std::map<const Variable*, void*> piece_tables_;
};

/// A contiguous array of activations as its elements.
template <class Element>
Element* elements(Activations activations) {
    return reinterpret_cast<Element*>(activations.data);
}

inline cudaStream_t handle(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

}  // namespace protalbert::cuda

#pragma once
// The class behind make_kokkos_backend. Its operations are defined in one file a subject: embedding.cpp, products.cpp,
// attention.cpp, layer_norm.cpp, elementwise.cpp, losses.cpp, convolution.cpp, pooling.cpp, fixed_point.cpp,
// optimizers.cpp.

#include <omp.h>

#include <Kokkos_Core.hpp>
#include <vector>

#include "base/error.hpp"
#include "kernels/backend.hpp"
#include "kernels/kokkos/packed_weights.hpp"

namespace protalbert {

/// The execution space of every kernel.
using Host = Kokkos::OpenMP;

class KokkosBackend final : public Backend {
  public:
    KokkosBackend(Precision precision, int threads);
    KokkosBackend(const KokkosBackend&) = delete;
    KokkosBackend& operator=(const KokkosBackend&) = delete;

    std::string description() const override;
    Precision precision() const override { return precision_; }
    std::int64_t element_bytes() const override { return 4; }
    std::size_t own_bytes(std::int64_t parameters, bool trained) const override;

    void* allocate(std::size_t bytes) override;
    void free(void* memory) noexcept override;
    void upload(void* device, const void* host, std::size_t bytes, Stream stream) override;
    void download(void* host, const void* device, std::size_t bytes, Stream stream) override;
    void copy(void* to, const void* from, std::size_t bytes, Stream stream) override;
    void set_zero(void* device, std::size_t bytes, Stream stream) override;
    void synchronize(Stream stream) override;
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
    /// body(i) for i in [0, n), in equal contiguous shares.
    template <class Body>
    void parallel(const char* name, std::int64_t n, const Body& body) const {
        using Policy = Kokkos::RangePolicy<Host, Kokkos::IndexType<std::int64_t>>;
        if (n > 0) Kokkos::parallel_for(name, Policy(space_, 0, n), body);
    }
    /// body(i) for i in [0, n) for uneven work: each thread takes the next i when it is free.
    template <class Body>
    void parallel_tasks(const char* name, std::int64_t n, const Body& body) const {
        using Policy = Kokkos::RangePolicy<Host, Kokkos::IndexType<std::int64_t>, Kokkos::Schedule<Kokkos::Dynamic>>;
        if (n > 0) Kokkos::parallel_for(name, Policy(space_, 0, n, Kokkos::ChunkSize(1)), body);
    }
    /// body(first, count) for pieces of [0, n).
    template <class Body>
    void parallel_elements(const char* name, std::int64_t n, const Body& body) const {
        constexpr std::int64_t piece = 8192;  // elements of a task: microseconds of work, within the first-level cache
        parallel(name, (n + piece - 1) / piece,
                 [=](std::int64_t p) { body(p * piece, piece < n - p * piece ? piece : n - p * piece); });
    }
    /// parallel_tasks, or on this thread `alone` where it would cost more than the work.
    template <class Body>
    void product_tasks(const char* name, std::int64_t n, bool alone, const Body& body) const;
    /// An operand of a product over k, the panels that it is packed into, and how.
    struct Packing {
        float* to;
        Panels panels;
        Operand operand;
        std::int64_t k;
        Pack run;
    };
    /// Packs one or two operands (panels.hpp).
    void pack(std::initializer_list<Packing> operands) const;
    /// The right operand's panels: a weight's from those that are kept, or packed now and valid until the next product.
    const float* packed_right(const Panels& panels, const Operand& operand, std::int64_t k);
    /// finish(left [m, k] right [k, n]). Where finish has sums, each kernels_.task_rows rows write theirs `sums_stride`
    /// floats behind the last ones'; else sums_stride is 0.
    void product(std::int64_t m, std::int64_t n, std::int64_t k, const Operand& left, const Operand& right,
                 const Finish& finish, std::int64_t sums_stride);
    /// dweight [N, K] = dy [T, N]^T x [T, K], or += when `accumulate`; T as many as are packed at once.
    void add_weight_gradient(float* dweight, const float* dy, const float* x, bool accumulate, std::int64_t T,
                             std::int64_t N, std::int64_t K);
    /// to [n] = parts[0] + parts[1] + ... of [count, n], or += when `accumulate`.
    void add_parts(float* to, const float* parts, std::int64_t count, std::int64_t n, bool accumulate) const;
    /// classify and cross_entropy: logits [M, C] and partial sums [loss_pieces(M)] in the caller's memory.
    void cross_entropy(LossSums* partials, LossSums* sums, float* dlogits, const float* logits,
                       const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C) const;
    /// layer_norm_backward with partials [layer_norm_partials(T, N)] in the caller's memory.
    void layer_norm_backward(float* partials, float* ds, float* dgamma, float* dbeta, float* dbias, const float* dout,
                             const float* s, const float* mean, const float* rstd, const float* gamma, std::int64_t T,
                             std::int64_t N) const;
    static std::int64_t layer_norm_partials(std::int64_t T, std::int64_t N);
    /// LAMB, or AdamW without the trust ratio.
    void optimize(float* parameters, float* m, float* v, float* gradients, const std::vector<Variable>& variables,
                  const OptimizerStep& step, bool trust_ratio);
    /// Scratch memory of at least `count` elements, aligned; valid until the next call. Grows and stays.
    template <class T>
    T* scratch(std::int64_t count) {
        return static_cast<T*>(scratch_.bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }

    /// Makes each thread's own scratch memory at least `count` floats. Call it before the tasks start: they cannot
    /// throw.
    void reserve_thread_scratch(std::int64_t count) {
        PROTALBERT_CHECK(omp_in_parallel() == 0, "a backend is called by one thread, outside of parallel regions");
        for (GrowingMemory& memory : thread_scratch_) memory.floats(count);
    }
    /// The calling thread's, aligned; valid until its next task.
    float* thread_scratch() const {
        return reinterpret_cast<float*>(thread_scratch_[static_cast<std::size_t>(omp_get_thread_num())].memory.get());
    }

    Host space_;
    int threads_ = 1;
    GrowingMemory scratch_;
    std::vector<GrowingMemory> thread_scratch_;
    Precision precision_;
    const ProductKernels& kernels_;
    PackedWeights packed_;
    GrowingMemory left_, right_;  ///< panels of the operands that are not kept
};

/// The float32 elements of activations.
inline float* floats(Activations activations) { return reinterpret_cast<float*>(activations.data); }

}  // namespace protalbert

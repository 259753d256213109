#pragma once
// The only seam between the model and a device: every numerical operation that the model, the trainer and the embedder
// need, with shapes. One implementation per kind of device (kernels/kokkos: CPUs, kernels/cuda: NVIDIA GPUs).
//
// Dimensions: T tokens of a packed batch, S sequences, H hidden, A heads, D = H / A head size, F feed-forward,
// E embedding, V vocabulary, P position rows, M masked positions, N and K the output and input features of a product.
// All tensors are row-major and contiguous. Pointers are the device's (from allocate) unless named host.
// Outputs come first, the stream last. Forward operations overwrite (=); gradients of parameters accumulate (+=)
// unless `accumulate` says otherwise. Calls on one stream run in order and may return before they are done.
// Parameters, their gradients, statistics and losses are float32; activations are of Backend::element_bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace protalbert {

/// What products multiply; their sums are float32. A GPU keeps activations and the weights that products read in this
/// type, a CPU keeps both in float32 and rounds them on their way into a product.
enum class Precision { float32, bfloat16 };

/// erf: 0.5 x (1 + erf(x / sqrt 2)).  tanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
enum class Gelu { erf, tanh };

/// Element type of vectors that leave the device.
enum class OutputType { float16, float32 };

/// A queue of operations; the default one where a backend has no other.
struct Stream {
    void* handle = nullptr;
};

/// A place in a stream: what was enqueued before it was recorded.
struct Event {
    void* handle = nullptr;
};

/// Alignment of device memory: a multiple of every vector and cache line, and what cudaMalloc keeps.
constexpr std::size_t memory_alignment = 256;

/// Bytes that an allocation of `bytes` takes: whole multiples of the alignment, one at least.
constexpr std::size_t allocated_bytes(std::size_t bytes) {
    return std::max(memory_alignment, (bytes + memory_alignment - 1) / memory_alignment * memory_alignment);
}

/// Bytes of a device's memory.
struct MemorySize {
    std::size_t free, total;
};

/// An array of activations. Untyped on purpose: only a backend looks inside.
struct Activations {
    std::byte* data = nullptr;
    std::int64_t element_bytes = 4;  ///< 4: float32, 2: bfloat16

    explicit operator bool() const { return data != nullptr; }
    /// The array that starts `elements` further.
    Activations operator+(std::int64_t elements) const { return {data + elements * element_bytes, element_bytes}; }
};

/// A weight as products read it: the float32 master itself, or its copy in bfloat16.
using Weight = Activations;

/// Where the sequences of a packed batch begin: sequence s holds the tokens [offsets[s], offsets[s + 1]).
struct PackedSequences {
    std::int64_t count = 0;                      ///< S
    std::int64_t tokens = 0;                     ///< T = offsets[S]
    const std::int64_t* offsets = nullptr;       ///< [S + 1] on the device
    const std::int64_t* host_offsets = nullptr;  ///< [S + 1] on the host, the same numbers
};

/// The embedding tables and their layer norm.
struct EmbeddingTables {
    const float* word;      ///< [V, E]
    const float* position;  ///< [P, E]
    const float* segment;   ///< [2, E]
    const float* gamma;     ///< [E]
    const float* beta;      ///< [E]
    double epsilon;
};

/// Gradients of EmbeddingTables, accumulated.
struct EmbeddingGradients {
    float* word;
    float* position;
    float* segment;
    float* gamma;
    float* beta;
};

/// Token ids, segments and positions of a packed batch, each int32 [T].
struct EmbeddingIds {
    const std::int32_t* tokens;
    const std::int32_t* segments;
    const std::int32_t* positions;
};

/// Sums that a loss adds to, in device memory, downloaded once a step.
struct LossSums {
    double loss;           ///< sum of cross-entropies, nats
    std::int64_t correct;  ///< rows whose largest logit is the label's
};

/// One variable of an optimiser: a range of the parameter array with its own norm.
struct Variable {
    std::int64_t offset;  ///< first element
    std::int64_t size;    ///< elements
    bool regularised;     ///< weight decay and trust ratio apply (everything but layer norms and biases)
};

/// Which elements a dropout zeroes: a pure function of (seed, step, row, element), so that no mask is stored and no
/// number of ranks or threads changes it.
struct Dropout {
    std::uint64_t seed = 0;
    std::uint32_t step = 0;
    double probability = 0;  ///< in [0, 1); 0: everything is kept
};

/// Parameters of one optimiser step.
struct OptimizerStep {
    double learning_rate = 0;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-6;
    double weight_decay = 0.01;
    double clip = 1.0;                     ///< largest global gradient norm; 0: no clipping
    const double* squared_norm = nullptr;  ///< [1] on the device: squared global norm of the gradients
};

class Backend {
  public:
    virtual ~Backend() = default;

    // What it is and its memory

    /// For people: device, instruction set, threads, libraries.
    virtual std::string description() const = 0;
    virtual Precision precision() const = 0;
    /// Of activations and of the weights that products read.
    virtual std::int64_t element_bytes() const;

    /// Device memory, aligned to memory_alignment, filled with zeros. Throws Error with the size when there is not
    /// enough.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void free(void* memory) noexcept = 0;
    /// Takes `bytes` of device memory at once. The calls of allocate that follow get their pieces of it, in order,
    /// until it is used up; it is given back when all of them are. For the arrays of a run, whose sizes are known
    /// before. Throws as allocate does. A backend to which one block is as good as many does nothing.
    virtual void reserve(std::size_t bytes);
    /// What the device has; nothing where memory is the machine's own.
    virtual std::optional<MemorySize> memory() const;
    /// Roughly how much memory the backend needs for its own work, on top of what is allocated from it, for a model of
    /// `parameters` parameters: a CPU keeps the weights once more as products read them, twice where it is `trained`.
    virtual std::size_t own_bytes(std::int64_t parameters, bool trained) const = 0;
    /// Products so far that a library should have done and could not: something slower did them. For people.
    virtual std::int64_t slow_products() const;
    /// Whether the host, and so MPI, may read and write device memory itself.
    virtual bool host_reaches_memory() const;
    /// Host memory, aligned to 256 bytes, that uploads and downloads pass through without making the host wait.
    virtual void* allocate_host(std::size_t bytes);
    virtual void free_host(void* memory) noexcept;
    /// The host memory may be reused, or read, when the stream has come so far; with memory that is not from
    /// allocate_host already when the call returns, or later.
    virtual void upload(void* device, const void* host, std::size_t bytes, Stream stream) = 0;
    virtual void download(void* host, const void* device, std::size_t bytes, Stream stream) = 0;
    virtual void copy(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
    virtual void set_zero(void* device, std::size_t bytes, Stream stream) = 0;
    /// Waits for everything enqueued on `stream`.
    virtual void synchronize(Stream stream) = 0;

    // Streams beside the default one, for copies and reductions under compute, with priority over it. What computes
    // runs on one stream at a time: operations share the backend's scratch memory. The functions below do for a backend
    // that computes at once, where everything enqueued is done.

    virtual Stream make_stream();
    virtual void free_stream(Stream stream) noexcept;
    virtual Event make_event();
    virtual void free_event(Event event) noexcept;
    /// The event is from now on what was enqueued on `stream` so far.
    virtual void record(Event event, Stream stream);
    /// What is enqueued on `stream` from now on starts when the event, as recorded last, is over. The host goes on.
    virtual void wait(Stream stream, Event event);
    /// The host waits for the event as recorded last; at once if it never was.
    virtual void wait_for(Event event);
    /// Whether wait_for(event) would return at once.
    virtual bool done(Event event);
    /// Seconds on the device between two events that are over.
    virtual double seconds_between(Event from, Event to);

    /// The weights that products read, from float32 masters [n]: `masters` itself where element_bytes is 4. Call it
    /// when the masters have changed, and before the first product: a backend may keep what it makes of them until they
    /// are written again (by this function, an upload, a copy or an optimiser) or their memory is freed.
    virtual Weight compute_copy(const float* masters, void* copies, std::int64_t n, Stream stream) = 0;

    // Embeddings

    /// out [T, E] = layer norm of word[token] + position[position] + segment[segment].
    /// mean, rstd [T]: statistics for the backward pass, both null when there is none.
    virtual void embedding_forward(Activations out, float* mean, float* rstd, EmbeddingIds ids, EmbeddingTables tables,
                                   std::int64_t T, std::int64_t E, Stream stream) = 0;
    /// Accumulates all five gradients; the sums are deterministic (no atomics). V, P: rows of the tables.
    virtual void embedding_backward(EmbeddingGradients gradients, Activations dout /*[T, E]*/, const float* mean,
                                    const float* rstd, EmbeddingIds ids, EmbeddingTables tables, std::int64_t T,
                                    std::int64_t E, std::int64_t V, std::int64_t P, Stream stream) = 0;

    // Dense layers: weight [N, K] as in Hugging Face ([out, in])

    /// out [T, N] = x [T, K] weight^T + bias [N]; bias may be null. The bias has the weights' precision: products add
    /// it.
    virtual void linear(Activations out, Activations x, Weight weight, Weight bias, std::int64_t T, std::int64_t N,
                        std::int64_t K, Stream stream) = 0;
    /// out [T, N] = gelu(pre), pre [T, N] = x weight^T + bias; pre may be null (inference) and may not alias out.
    virtual void linear_gelu(Activations out, Activations pre, Activations x, Weight weight, Weight bias, Gelu form,
                             std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) = 0;
    /// dx [T, K] = dy [T, N] weight + residual [T, K], the gradient that a residual branch passes on; residual may be
    /// null, or dx itself.
    virtual void linear_backward_data(Activations dx, Activations dy, Weight weight, Activations residual,
                                      std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) = 0;
    /// dpre [T, K] = (dy [T, N] weight) * gelu'(pre [T, K]): data gradient of a dense layer behind a GELU; dpre may be
    /// pre. dbias [K] += column sums of dpre, before that is rounded: the gradient of the bias that pre has in it; may
    /// be null.
    virtual void linear_backward_data_gelu(Activations dpre, float* dbias, Activations dy, Weight weight,
                                           Activations pre, Gelu form, std::int64_t T, std::int64_t N, std::int64_t K,
                                           Stream stream) = 0;
    /// dweight [N, K] = dy [T, N]^T x [T, K] and dbias [N] = column sums of dy, or += when `accumulate`; dbias may be
    /// null, as where the operation that made dy has added them up.
    virtual void linear_backward_weight(float* dweight, float* dbias, Activations dy, Activations x, bool accumulate,
                                        std::int64_t T, std::int64_t N, std::int64_t K, Stream stream) = 0;

    // Attention: softmax(q k^T / sqrt D) v within each sequence, not causal. No L x L matrix is stored beyond a tile.
    // Arrays of bfloat16 start at multiples of 16 bytes.

    /// out [T, H] from qkv [T, 3H] (q, k, v side by side in a row, heads side by side within each).
    /// logsumexp [A, T]: of the scaled scores, for the backward pass; null when there is none.
    virtual void attention_forward(Activations out, float* logsumexp, Activations qkv, PackedSequences sequences,
                                   std::int64_t A, std::int64_t D, Stream stream) = 0;
    /// dqkv [T, 3H] from dout, out [T, H], qkv and logsumexp; deterministic. dqkv may not alias anything.
    virtual void attention_backward(Activations dqkv, Activations dout, Activations out, Activations qkv,
                                    const float* logsumexp, PackedSequences sequences, std::int64_t A, std::int64_t D,
                                    Stream stream) = 0;

    // Layer norm over N features of T rows

    /// out [T, N] = (s - mean) rstd gamma + beta with s = branch + residual; residual may be null (s = branch).
    /// For a backward pass mean, rstd [T] are given and s is left in `branch`; both are null when there is none.
    /// out may alias residual, never branch when mean is given.
    virtual void residual_layer_norm(Activations out, float* mean, float* rstd, Activations branch,
                                     Activations residual, const float* gamma, const float* beta, double epsilon,
                                     std::int64_t T, std::int64_t N, Stream stream) = 0;
    /// ds [T, N] (may be s or dout itself); dgamma, dbeta [N] accumulated in a fixed order, and so dbias [N], column
    /// sums of ds before that is rounded: the gradient of the bias of the product that s is of; may be null.
    virtual void layer_norm_backward(Activations ds, float* dgamma, float* dbeta, float* dbias, Activations dout,
                                     Activations s, const float* mean, const float* rstd, const float* gamma,
                                     std::int64_t T, std::int64_t N, Stream stream) = 0;

    // Rows and elements

    /// out [M, N] = in [rows[m]].
    virtual void gather_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M, std::int64_t N,
                             Stream stream) = 0;
    /// out [rows[m]] += in [M, N]; the rows are distinct.
    virtual void scatter_add_rows(Activations out, Activations in, const std::int64_t* rows, std::int64_t M,
                                  std::int64_t N, Stream stream) = 0;
    /// dpre = dout gelu'(pre), n elements; dpre may be dout or pre.
    virtual void gelu_backward(Activations dpre, Activations dout, Activations pre, Gelu form, std::int64_t n,
                               Stream stream) = 0;
    /// out = tanh(in), n elements; in place allowed.
    virtual void tanh_forward(Activations out, Activations in, std::int64_t n, Stream stream) = 0;
    /// din = dout (1 - out^2), n elements; din may be dout.
    virtual void tanh_backward(Activations din, Activations dout, Activations out, std::int64_t n, Stream stream) = 0;

    // Losses

    /// Softmax cross-entropy of logits = x [M, K] weight [C, K]^T + bias [C] against labels int32 [M] in [0, C); rows
    /// with label -1 are left out. Adds to sums [1]; dlogits [M, C] = (softmax - one-hot) scale, zero where left out.
    /// dlogits may be null (validation).
    virtual void classify(LossSums* sums, Activations dlogits, Activations x, Weight weight, const float* bias,
                          const std::int32_t* labels, double scale, std::int64_t M, std::int64_t C, std::int64_t K,
                          Stream stream) = 0;

    /// The same of given logits [M, C]. dlogits may be logits, or null.
    virtual void cross_entropy(LossSums* sums, Activations dlogits, Activations logits, const std::int32_t* labels,
                               double scale, std::int64_t M, std::int64_t C, Stream stream) = 0;

    // Heads of predictions: convolutions along packed sequences. One of W taps, K -> C channels, is linear() with a
    // weight [W C, K], the taps one after another, and window_sum(); its backward pass is window_sum_backward() and
    // then linear_backward_weight() and linear_backward_data(). No input is ever unfolded W times.

    /// out [T, C] = bias [C] + sum over w of taps [t + w - W / 2, w, c] of the same sequence; taps [T, W, C], W odd.
    virtual void window_sum(Activations out, Activations taps, const float* bias, PackedSequences sequences,
                            std::int64_t W, std::int64_t C, Stream stream) = 0;
    /// dtaps [T, W, C] = dout [t - w + W / 2, c], 0 where that is beyond the sequence.
    virtual void window_sum_backward(Activations dtaps, Activations dout, PackedSequences sequences, std::int64_t W,
                                     std::int64_t C, Stream stream) = 0;
    /// out [T, N] = max(0, pre) / (1 - p), or 0 where dropout takes it: where word n % 4 of Philox4x32-10 with counter
    /// {n / 4, rows[t], rows[t] / 2^32, step} and key seed is below p 2^32. rows [T]: what a row is to all ranks. NaN
    /// stays NaN. out may be pre.
    virtual void relu_dropout(Activations out, Activations pre, const std::int64_t* rows, const Dropout& dropout,
                              std::int64_t T, std::int64_t N, Stream stream) = 0;
    /// dpre = dout / (1 - p) where out is not 0, else 0; n elements; dpre may be dout.
    virtual void relu_dropout_backward(Activations dpre, Activations dout, Activations out, double probability,
                                       std::int64_t n, Stream stream) = 0;

    // Vectors that leave the device

    /// out [T - 2 S, H] of `type`: the rows of each sequence without its first and last token ([CLS] and [SEP]).
    virtual void extract_residues(void* out, OutputType type, Activations in, PackedSequences sequences, std::int64_t H,
                                  Stream stream) = 0;
    /// out float32 [S, H]: mean over the rows that extract_residues keeps; NaN for a sequence without residues.
    virtual void mean_residues(float* out, Activations in, PackedSequences sequences, std::int64_t H,
                               Stream stream) = 0;
    /// out float32 [S, H]: the first row of each sequence.
    virtual void first_rows(float* out, Activations in, PackedSequences sequences, std::int64_t H, Stream stream) = 0;

    // Sums that no order changes: int64 numbers, each a value times 2^bits. Integers add exactly, whoever adds first.

    /// sums [n] += values x 2^bits, rounded to nearest; values = 0; largest [1] = max(largest, |values|), infinite for
    /// what is not a number. Values of 2^(62 - bits) or more add nothing: `largest` tells.
    virtual void add_fixed_point(std::int64_t* sums, float* largest, float* values, int bits, std::int64_t n,
                                 Stream stream) = 0;
    /// values [n] = sums / 2^bits, rounded to nearest.
    virtual void from_fixed_point(float* values, const std::int64_t* sums, int bits, std::int64_t n, Stream stream) = 0;

    // Optimisers over one parameter array [n] of many variables

    /// out [1] = sum of x[i]^2 in float64, in a fixed order.
    virtual void sum_of_squares(double* out, const float* x, std::int64_t n, Stream stream) = 0;
    /// LAMB as in google-research/albert lamb_optimizer.py: g *= min(1, clip / norm), m = b1 m + (1 - b1) g,
    /// v = b2 v + (1 - b2) g^2, u = m / (sqrt(v) + eps), no bias correction; u += decay w and ratio = |w| / |u| (1
    /// where either is 0) where regularised; w -= lr ratio u. Norms per variable, summed in a fixed order. Destroys
    /// `gradients`; changes nothing when the squared norm is not finite. Refreshes `copies` ([n] in the backend's
    /// precision, null for float32). `variables` is host memory that lives as long as the backend.
    virtual void lamb(float* parameters, void* copies, float* m, float* v, float* gradients,
                      const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) = 0;
    /// AdamW as in google-research/albert optimization.py: as lamb with ratio = 1.
    virtual void adamw(float* parameters, void* copies, float* m, float* v, float* gradients,
                       const std::vector<Variable>& variables, const OptimizerStep& step, Stream stream) = 0;
};

/// Makes the backend for `device`: "cpu", "cuda", or "auto" (a GPU where there is one). `threads`: of the CPU backend,
/// 0 for its default. Throws InputError that says why a device or precision cannot be had.
std::unique_ptr<Backend> make_backend(const std::string& device, Precision precision, int threads);

}  // namespace protalbert

// Attention of the CUDA backend: tiles, workspace and the kernels of attention_*.cu.

#include "kernels/cuda/attention.hpp"

#include "base/error.hpp"
#include "kernels/cuda/backend_class.hpp"
#include "kernels/cuda/with_element.hpp"

namespace protalbert::cuda {

void CudaBackend::attention_forward(Activations out, float* logsumexp, Activations qkv, PackedSequences sequences,
                                    std::int64_t A, std::int64_t D, Stream stream) {
    const AttentionTiles list = tiles_->get(sequences, handle(stream));
    with_element([&](auto element) {
        using Element = decltype(element);
        cuda::attention_forward(elements<Element>(out), logsumexp, elements<Element>(qkv), list, sequences.tokens, A, D,
                                handle(stream));
    });
}

void CudaBackend::attention_backward(Activations dqkv, Activations dout, Activations out, Activations qkv,
                                     const float* logsumexp, PackedSequences sequences, std::int64_t A, std::int64_t D,
                                     Stream stream) {
    PROTALBERT_CHECK(A * sequences.tokens <= scratch_elements<float>(),
                     "a number for each head and token fits the scratch memory; use smaller batches");
    const AttentionTiles list = tiles_->get(sequences, handle(stream));
    with_element([&](auto element) {
        using Element = decltype(element);
        cuda::attention_backward(elements<Element>(dqkv), scratch<float>(), elements<Element>(dout),
                                 elements<Element>(out), elements<Element>(qkv), logsumexp, list, sequences.tokens, A,
                                 D, handle(stream));
    });
}

}  // namespace protalbert::cuda

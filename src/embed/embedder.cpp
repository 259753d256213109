#include "embed/embedder.hpp"

#include <xxhash.h>

#include <algorithm>

#include "embed/plan.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// A buffer on the host that only ever grows.
template <typename T>
T* at_least(std::vector<T>& values, std::size_t n) {
    if (values.size() < n) values.resize(n);
    return values.data();
}

}  // namespace

Embedder make_embedder(const Model& model, const VectorChoice& choice, std::int64_t tokens, std::int64_t sequences) {
    Embedder embedder;
    embedder.model = &model;
    embedder.choice = choice;
    Backend& backend = *model.backend;
    const auto hidden = static_cast<std::size_t>(model.config.hidden);
    const auto pooled_bytes = static_cast<std::size_t>(sequences) * hidden * sizeof(float);
    embedder.workspace = make_inference_workspace(model, tokens);
    // A batch's residues are its tokens but for the special ones, of which there are at least one sequence's.
    if (choice.residues != ResidueVectors::none && tokens > special_tokens)
        embedder.residues =
            DeviceMemory(backend, static_cast<std::size_t>(tokens - special_tokens) * hidden * choice.residue_bytes());
    if (choice.mean) embedder.mean = DeviceMemory(backend, pooled_bytes);
    if (choice.cls) embedder.cls = DeviceMemory(backend, pooled_bytes);
    return embedder;
}

void embed_batch(Embedder& embedder, const PackedBatch& batch, BatchVectors& vectors) {
    const Model& model = *embedder.model;
    Backend& backend = *model.backend;
    const VectorChoice& choice = embedder.choice;
    const std::int64_t hidden = model.config.hidden;
    const auto residues = static_cast<std::size_t>(batch.token_count() - special_tokens * batch.sequence_count());
    const std::size_t row = static_cast<std::size_t>(hidden) * choice.residue_bytes();
    const std::size_t pooled = static_cast<std::size_t>(batch.sequence_count() * hidden);

    upload_batch(embedder.batch, batch, backend, default_stream);
    const Activations last = encode(model, embedder.batch, embedder.workspace, default_stream);
    const PackedSequences& sequences = embedder.batch.sequences;
    if (choice.residues != ResidueVectors::none) {
        const OutputType type = choice.residues == ResidueVectors::float16 ? OutputType::float16 : OutputType::float32;
        backend.extract_residues(embedder.residues.data(), type, last, sequences, hidden, default_stream);
        backend.download(at_least(vectors.residues, residues * row), embedder.residues.data(), residues * row,
                         default_stream);
    }
    if (choice.mean) {
        backend.mean_residues(embedder.mean.as<float>(), last, sequences, hidden, default_stream);
        backend.download(at_least(vectors.mean, pooled), embedder.mean.data(), pooled * sizeof(float), default_stream);
    }
    if (choice.cls) {
        backend.first_rows(embedder.cls.as<float>(), last, sequences, hidden, default_stream);
        backend.download(at_least(vectors.cls, pooled), embedder.cls.data(), pooled * sizeof(float), default_stream);
    }
    backend.synchronize(default_stream);
}

std::uint64_t load_parameters(Model& model, const WeightSource& source, const Communicator& communicator) {
    Backend& backend = *model.backend;
    std::vector<float> values;
    std::uint64_t hash = 0;
    for (const Parameter& parameter : model.layout.parameters) {
        values.resize(static_cast<std::size_t>(parameter.size));
        read_weights(source, parameter, values.data(), communicator);
        const std::size_t bytes = values.size() * sizeof(float);
        hash = XXH3_64bits_withSeed(values.data(), bytes, hash);
        backend.upload(model.master(parameter.offset), values.data(), bytes, default_stream);
        backend.synchronize(default_stream);
    }
    if (model.copies.bytes() > 0)
        backend.compute_copy(model.parameters.as<float>(), model.copies.data(), model.layout.size, default_stream);
    backend.synchronize(default_stream);
    return hash;
}

}  // namespace protalbert

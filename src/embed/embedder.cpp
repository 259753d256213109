#include "embed/embedder.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "embed/plan.hpp"
#include "model/workspace_size.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// The device bytes of one batch's vectors.
struct OutputBytes {
    std::size_t residues, pooled;
};
OutputBytes output_bytes(const ModelConfig& config, const VectorChoice& choice, std::int64_t tokens,
                         std::int64_t sequences) {
    const auto hidden = static_cast<std::size_t>(config.hidden);
    OutputBytes bytes{};
    // A batch's residues are its tokens but for the special ones, of which there are at least one sequence's.
    if (choice.residues != ResidueVectors::none && tokens > special_tokens)
        bytes.residues = static_cast<std::size_t>(tokens - special_tokens) * hidden * choice.residue_bytes();
    bytes.pooled = static_cast<std::size_t>(sequences) * hidden * sizeof(float);
    return bytes;
}

std::size_t embed_memory_bytes(const ModelConfig& config, const VectorChoice& choice, std::int64_t tokens,
                               std::int64_t sequences, std::int64_t element_bytes) {
    const auto elements = static_cast<std::size_t>(make_parameter_layout(config, ModelPart::encoder).size);
    const OutputBytes output = output_bytes(config, choice, tokens, sequences);
    constexpr std::size_t outputs = 2;  // most_batches_under_way
    std::size_t bytes = allocated_bytes(elements * sizeof(float));
    if (element_bytes != sizeof(float)) bytes += allocated_bytes(elements * static_cast<std::size_t>(element_bytes));
    bytes += allocated_bytes(inference_workspace_bytes(config, tokens, element_bytes));
    bytes += allocated_bytes(device_batch_bytes(tokens, sequences, 0));
    return bytes + outputs * (allocated_bytes(output.residues) + 2 * allocated_bytes(output.pooled));
}

template <typename T>
void fill(std::vector<T>& values, const std::byte* from, std::size_t bytes) {
    if (values.size() < bytes / sizeof(T)) values.resize(bytes / sizeof(T));
    if (bytes > 0) std::memcpy(values.data(), from, bytes);
}

}  // namespace

std::size_t most_batches_under_way(const Model& model) { return model.backend->host_reaches_memory() ? 1 : 2; }

void reserve_embed_memory(const ModelConfig& config, const VectorChoice& choice, std::int64_t tokens,
                          std::int64_t sequences, Backend& backend, const Communicator& communicator) {
    if (tokens == 0) return;
    const std::size_t own = backend.own_bytes(make_parameter_layout(config, ModelPart::encoder).size, false);
    const std::size_t bytes = embed_memory_bytes(config, choice, tokens, sequences, backend.element_bytes());
    const auto text = [](std::size_t n) { return format_bytes(static_cast<double>(n)); };
    const std::optional<MemorySize> memory = backend.memory();
    if (!memory) {
        // Nobody can take the machine's memory at once; a system that has too little ends a rank without a word.
        const std::size_t share = memory_for_rank(communicator);
        if (bytes + own > share && communicator.root())
            log_warning(fmt::format(
                "a batch of {} tokens needs {} of memory a rank with the model, and a machine has {} left for "
                "each of its ranks: the system may end one. Take fewer ranks a machine, of more cores each",
                tokens, text(bytes + own), text(share)));
        return;
    }
    // 1.5 GiB for what CUDA loads when kernels run first, as in training: cuBLASLt's are the same.
    constexpr std::size_t others = std::size_t{3} << 29;
    const std::size_t available = memory->free > others ? memory->free - others : 0;
    if (bytes > available) {
        // A batch of fewer tokens has fewer sequences, in proportion.
        std::int64_t fits = 0, too_many = tokens;
        while (too_many - fits > 1) {
            const std::int64_t middle = (fits + too_many) / 2;
            const std::int64_t fewer = sequences * middle / tokens + 1;
            (embed_memory_bytes(config, choice, middle, fewer, backend.element_bytes()) <= available ? fits
                                                                                                     : too_many) =
                middle;
        }
        throw InputError(
            fmt::format("a batch of {} tokens needs {} of GPU memory, {} more than the {} that are free; {}", tokens,
                        text(bytes), text(bytes - available), text(available),
                        fits > special_tokens ? fmt::format("--batch-tokens {} fits, for proteins as short", fits)
                                              : std::string("the model itself does not fit this GPU")));
    }
    log_information(fmt::format("GPU memory: {} taken, of {} free; {} beside it for the kernels' own work", text(bytes),
                                text(memory->free), text(own)));
    backend.reserve(bytes);
}

Embedder make_embedder(const Model& model, const VectorChoice& choice, std::int64_t tokens, std::int64_t sequences,
                       std::size_t under_way) {
    Embedder embedder;
    embedder.model = &model;
    embedder.choice = choice;
    Backend& backend = *model.backend;
    const OutputBytes bytes = output_bytes(model.config, choice, tokens, sequences);
    embedder.workspace = make_inference_workspace(model, tokens);
    reserve_batch(embedder.batch, tokens, sequences, 0, backend);
    embedder.copies = OwnStream(backend);
    embedder.outputs.resize(under_way);
    for (Embedder::Output& output : embedder.outputs) {
        if (bytes.residues > 0) output.residues = DeviceMemory(backend, bytes.residues);
        if (choice.mean) output.mean = DeviceMemory(backend, bytes.pooled);
        if (choice.cls) output.cls = DeviceMemory(backend, bytes.pooled);
        if (!backend.host_reaches_memory()) {
            output.host = HostMemory(backend, bytes.residues + 2 * bytes.pooled);
            output.computed = OwnEvent(backend);
            output.copied = OwnEvent(backend);
        }
    }
    return embedder;
}

void start_batch(Embedder& embedder, const PackedBatch& batch) { start_batch(embedder, batch, embedder.choice); }

void start_batch(Embedder& embedder, const PackedBatch& batch, const VectorChoice& choice) {
    PROTALBERT_CHECK(embedder.started - embedder.finished < embedder.outputs.size(), "too many batches are under way");
    const Model& model = *embedder.model;
    Backend& backend = *model.backend;
    const std::int64_t hidden = model.config.hidden;
    Embedder::Output& output = embedder.outputs[embedder.started++ % embedder.outputs.size()];
    output.choice = choice;
    const auto residues = static_cast<std::size_t>(batch.token_count() - special_tokens * batch.sequence_count());
    output.residue_bytes = choice.residues == ResidueVectors::none
                               ? 0
                               : residues * static_cast<std::size_t>(hidden) * choice.residue_bytes();
    output.pooled_bytes = static_cast<std::size_t>(batch.sequence_count() * hidden) * sizeof(float);

    upload_batch(embedder.batch, batch, backend, default_stream);
    const Activations last = encode(model, embedder.batch, embedder.workspace, default_stream);
    const PackedSequences& sequences = embedder.batch.sequences;
    if (choice.residues != ResidueVectors::none) {
        const OutputType type = choice.residues == ResidueVectors::float16 ? OutputType::float16 : OutputType::float32;
        backend.extract_residues(output.residues.data(), type, last, sequences, hidden, default_stream);
    }
    if (choice.mean) backend.mean_residues(output.mean.as<float>(), last, sequences, hidden, default_stream);
    if (choice.cls) backend.first_rows(output.cls.as<float>(), last, sequences, hidden, default_stream);
    if (backend.host_reaches_memory()) return;
    backend.record(output.computed.get(), default_stream);
    const Stream copies = embedder.copies.get();
    backend.wait(copies, output.computed.get());
    std::byte* to = output.host.data();
    backend.download(to, output.residues.data(), output.residue_bytes, copies);
    to += output.residue_bytes;
    if (choice.mean) backend.download(to, output.mean.data(), output.pooled_bytes, copies);
    to += output.pooled_bytes;
    if (choice.cls) backend.download(to, output.cls.data(), output.pooled_bytes, copies);
    backend.record(output.copied.get(), copies);
}

void finish_batch(Embedder& embedder, BatchVectors& vectors) {
    Backend& backend = *embedder.model->backend;
    Embedder::Output& output = embedder.outputs[embedder.finished++ % embedder.outputs.size()];
    const VectorChoice& choice = output.choice;
    if (backend.host_reaches_memory()) {
        backend.synchronize(default_stream);
        fill(vectors.residues, output.residues.data(), output.residue_bytes);
        if (choice.mean) fill(vectors.mean, output.mean.data(), output.pooled_bytes);
        if (choice.cls) fill(vectors.cls, output.cls.data(), output.pooled_bytes);
        return;
    }
    backend.wait_for(output.copied.get());
    const std::byte* const from = output.host.data();
    fill(vectors.residues, from, output.residue_bytes);
    if (choice.mean) fill(vectors.mean, from + output.residue_bytes, output.pooled_bytes);
    if (choice.cls) fill(vectors.cls, from + output.residue_bytes + output.pooled_bytes, output.pooled_bytes);
}

void embed_batch(Embedder& embedder, const PackedBatch& batch, BatchVectors& vectors) {
    start_batch(embedder, batch);
    finish_batch(embedder, vectors);
}

std::uint64_t load_parameters(Model& model, const WeightSource& source, const Communicator& communicator) {
    std::uint64_t hash = 0;
    set_parameters(model, [&](float* values, const Parameter& parameter) {
        read_weights(source, parameter, values, communicator);
        hash = XXH3_64bits_withSeed(values, static_cast<std::size_t>(parameter.size) * sizeof(float), hash);
    });
    return hash;
}

}  // namespace protalbert

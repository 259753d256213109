#include "train/dump.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "data/packed_batch.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

namespace {

constexpr const char* format_name = "protalbert dump";
constexpr std::int64_t format_version = 1;

/// Samples as a row of numbers, to travel to rank 0: place, id, sentence label, length T, masked M, then tokens [T],
/// segments [T], positions [T], masked positions from the sample's start [M], labels [M].
using Numbers = std::vector<std::int64_t>;
constexpr std::size_t head_length = 5;

void append_samples(Numbers& numbers, const PackedBatch& batch) {
    std::size_t mask = 0;
    for (std::size_t s = 0; s < batch.samples.size(); ++s) {
        const std::int64_t begin = batch.cu_seqlens[s], end = batch.cu_seqlens[s + 1];
        const std::size_t first_mask = mask;
        while (mask < batch.masked_positions.size() && batch.masked_positions[mask] < end) ++mask;
        numbers.insert(numbers.end(), {batch.places[s], static_cast<std::int64_t>(batch.samples[s]),
                                       batch.sentence_labels.empty() ? -1 : batch.sentence_labels[s], end - begin,
                                       static_cast<std::int64_t>(mask - first_mask)});
        for (const auto* ids : {&batch.tokens, &batch.segments, &batch.positions})
            numbers.insert(numbers.end(), ids->begin() + begin, ids->begin() + end);
        for (std::size_t i = first_mask; i < mask; ++i) numbers.push_back(batch.masked_positions[i] - begin);
        numbers.insert(numbers.end(), batch.masked_labels.begin() + static_cast<std::ptrdiff_t>(first_mask),
                       batch.masked_labels.begin() + static_cast<std::ptrdiff_t>(mask));
    }
}

/// One packed batch of the samples, by their places in the global batch.
PackedBatch unpack_in_order(const Numbers& numbers) {
    std::vector<std::span<const std::int64_t>> samples;
    for (std::size_t at = 0; at < numbers.size();) {
        const auto tokens = static_cast<std::size_t>(numbers[at + 3]),
                   masked = static_cast<std::size_t>(numbers[at + 4]);
        samples.emplace_back(numbers.data() + at, head_length + 3 * tokens + 2 * masked);
        at += samples.back().size();
    }
    std::sort(samples.begin(), samples.end(), [](const auto& left, const auto& right) { return left[0] < right[0]; });

    PackedBatch batch;
    batch.clear();
    for (const auto& sample : samples) {
        const auto tokens = static_cast<std::size_t>(sample[3]), masked = static_cast<std::size_t>(sample[4]);
        const std::int64_t begin = batch.token_count();
        batch.places.push_back(static_cast<std::uint32_t>(sample[0]));
        batch.samples.push_back(static_cast<std::uint64_t>(sample[1]));
        batch.sentence_labels.push_back(static_cast<std::int32_t>(sample[2]));
        auto rest = sample.subspan(head_length);
        const auto take = [&rest](std::size_t count) {
            const auto taken = rest.first(count);
            rest = rest.subspan(count);
            return taken;
        };
        for (auto* ids : {&batch.tokens, &batch.segments, &batch.positions})
            for (const std::int64_t id : take(tokens)) ids->push_back(static_cast<std::int32_t>(id));
        for (const std::int64_t position : take(masked)) batch.masked_positions.push_back(begin + position);
        for (const std::int64_t label : take(masked)) batch.masked_labels.push_back(static_cast<std::int32_t>(label));
        batch.cu_seqlens.push_back(batch.token_count());
    }
    return batch;
}

/// The whole step's batch on rank 0, an empty one elsewhere.
PackedBatch gather_batch(const StepBatch& step, const Communicator& communicator) {
    Numbers numbers;
    for (const PackedBatch& batch : step.micro_batches) append_samples(numbers, batch);
    std::vector<std::vector<std::byte>> outgoing(static_cast<std::size_t>(communicator.ranks()));
    const auto bytes = std::as_bytes(std::span(numbers));
    outgoing[0].assign(bytes.begin(), bytes.end());
    numbers.clear();
    for (const auto& piece : communicator.exchange(outgoing)) {
        const std::size_t old = numbers.size();
        numbers.resize(old + piece.size() / sizeof(std::int64_t));
        if (!piece.empty()) std::memcpy(numbers.data() + old, piece.data(), piece.size());
    }
    return unpack_in_order(numbers);
}

/// Datasets of which rank 0 writes all rows.
class RootWriter {
  public:
    RootWriter(Hdf5File& file, const Communicator& communicator) : file_(file), root_(communicator.root()) {}
    void write(const std::string& name, Element element, std::vector<std::uint64_t> shape, const void* data) {
        file_.create_dataset(name, element, shape);
        file_.write(name, data, {0, root_ ? shape.front() : 0});
    }
    void write(const std::string& folder, const ParameterLayout& layout, const std::vector<float>& values) {
        for (const Parameter& parameter : layout.parameters)
            write(folder + parameter.name, Element::float32, {parameter.shape.begin(), parameter.shape.end()},
                  root_ ? values.data() + parameter.offset : nullptr);
    }

  private:
    Hdf5File& file_;
    bool root_;
};

}  // namespace

void write_dump(const std::string& path, const StepBatch& step, const StepRecord& record, const StepScalars& scalars,
                const Model& model, const Communicator& communicator) {
    const PackedBatch batch = gather_batch(step, communicator);
    const auto T = static_cast<std::uint64_t>(step.global_tokens);
    const auto S = static_cast<std::uint64_t>(step.global_sequences);
    const auto M = static_cast<std::uint64_t>(step.global_masked);

    Hdf5File file = Hdf5File::create(path, communicator);
    write_format(file, format_name, format_version);
    file.set_attribute("/", "step", scalars.step);
    file.set_attribute("/", "loss", scalars.losses.total());
    file.set_attribute("/", "mlm_loss", scalars.losses.masked);
    file.set_attribute("/", "sop_loss", scalars.losses.sentence);
    file.set_attribute("/", "learning_rate", scalars.learning_rate);
    file.set_attribute("/", "gradient_norm", scalars.gradient_norm);
    file.set_attribute("/", "config", to_json(model.config));

    RootWriter writer(file, communicator);
    writer.write("/tokens", Element::int32, {T}, batch.tokens.data());
    writer.write("/segments", Element::int32, {T}, batch.segments.data());
    writer.write("/positions", Element::int32, {T}, batch.positions.data());
    writer.write("/cu_seqlens", Element::int64, {S + 1}, batch.cu_seqlens.data());
    writer.write("/masked_positions", Element::int64, {M}, batch.masked_positions.data());
    writer.write("/masked_labels", Element::int32, {M}, batch.masked_labels.data());
    if (scalars.sentence_task) writer.write("/sentence_labels", Element::int32, {S}, batch.sentence_labels.data());
    writer.write("/samples", Element::uint64, {S}, batch.samples.data());
    const ParameterLayout& layout = model.layout;
    writer.write("/gradients/", layout, record.gradients);
    writer.write("/parameters/before/", layout, record.parameters_before);
    writer.write("/parameters/after/", layout, record.parameters_after);
    writer.write("/optimizer/m/before/", layout, record.m_before);
    writer.write("/optimizer/v/before/", layout, record.v_before);
    file.close();
}

}  // namespace protalbert

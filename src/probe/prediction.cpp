// Prediction: proteins through the encoder and straight on through the head, batch by batch; no vectors are stored.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "embed/embed.hpp"
#include "embed/embedder.hpp"
#include "embed/plan.hpp"
#include "embed/share.hpp"
#include "embed/window_vectors.hpp"
#include "model/weight_source.hpp"
#include "probe/evaluation.hpp"
#include "probe/head_batch.hpp"
#include "probe/head_file.hpp"
#include "probe/output_place.hpp"
#include "probe/pieces.hpp"
#include "probe/prediction_file.hpp"
#include "probe/probe.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// values [rows, C]: logits to probabilities, in place.
void softmax(std::vector<float>& values, std::int64_t C) {
    for (auto row = values.begin(); row != values.end(); row += C) {
        const float top = *std::max_element(row, row + C);
        double sum = 0;
        for (auto value = row; value != row + C; ++value) sum += std::exp(static_cast<double>(*value) - top);
        for (auto value = row; value != row + C; ++value)
            *value = static_cast<float>(std::exp(static_cast<double>(*value) - top) / sum);
    }
}

/// A batch as the encoder takes it: pieces of proteins, and where the vectors that are kept come from.
struct PieceBatch {
    PackedBatch packed;
    /// Rows of the pieces' residues, protein after protein; each protein's are framed by a row that does not count, as
    /// Backend::mean_residues wants it.
    std::vector<std::int64_t> kept;
    std::vector<std::int64_t> framed{0};   ///< [S + 1] where each protein's rows begin in `kept`
    std::vector<std::int64_t> offsets{0};  ///< [S + 1] the same without frames
};

PieceBatch make_piece_batch(const Work& work, std::span<const WorkItem> items, std::uint64_t piece_length,
                            const Vocabulary& vocabulary) {
    PieceBatch batch;
    batch.packed.clear();
    std::int64_t row = 0;
    for (const WorkItem& item : items) {
        batch.kept.push_back(row);
        for (const Piece& piece : cut_protein(item.length, piece_length)) {
            append_protein(batch.packed, work.residues(item).subspan(piece.first, piece.length), item.protein,
                           vocabulary);
            const std::int64_t first = row + static_cast<std::int64_t>(piece.kept - piece.first);
            for (std::uint64_t r = 0; r < piece.kept_count; ++r)
                batch.kept.push_back(first + static_cast<std::int64_t>(r));
            row += static_cast<std::int64_t>(piece.length);
        }
        batch.kept.push_back(batch.kept.back());
        batch.framed.push_back(static_cast<std::int64_t>(batch.kept.size()));
        batch.offsets.push_back(batch.offsets.back() + static_cast<std::int64_t>(item.length));
    }
    return batch;
}

/// Encoder and head with the buffers between them, which grow to the largest batch.
class Predictor {
  public:
    Predictor(const Model& model, const Head& head) : model_(model), head_(head) {}

    /// Probabilities [rows, C] of each kind for the proteins of a batch, one after another.
    std::vector<std::vector<float>> predict(const PieceBatch& pieces) {
        Backend& backend = *model_.backend;
        const std::int64_t H = model_.config.hidden, S = static_cast<std::int64_t>(pieces.offsets.size()) - 1;
        grow_encoder(pieces.packed.token_count());
        grow_head(static_cast<std::int64_t>(pieces.kept.size()), S);
        upload_batch(batch_, pieces.packed, backend, default_stream);
        const Activations last = encode(model_, batch_, encoder_workspace_, default_stream);
        backend.extract_residues(residues_.data(), OutputType::float32, last, batch_.sequences, H, default_stream);

        // Rows of float32 from here on, by the head's backend.
        Backend& exact = *head_.backend;
        backend.synchronize(default_stream);
        const bool of_residues = head_.config.task == Task::secondary_structure;
        std::vector<std::int64_t> kept = pieces.kept, offsets = pieces.offsets;
        if (of_residues) {
            kept.clear();
            for (std::size_t s = 0; s + 1 < pieces.framed.size(); ++s)
                kept.insert(kept.end(), pieces.kept.begin() + pieces.framed[s] + 1,
                            pieces.kept.begin() + pieces.framed[s + 1] - 1);
        }
        const std::int64_t* const rows = upload_values(rows_, kept, exact, default_stream);
        exact.gather_rows({kept_.data(), sizeof(float)}, {residues_.data(), sizeof(float)}, rows,
                          static_cast<std::int64_t>(kept.size()), H, default_stream);
        HeadBatch batch;
        batch.features = {kept_.data(), sizeof(float)};
        batch.rows = rows;  // any numbers will do: nothing is dropped
        if (!of_residues) {
            const PackedSequences framed{S, static_cast<std::int64_t>(kept.size()),
                                         upload_values(framed_, pieces.framed, exact, default_stream),
                                         pieces.framed.data()};
            exact.mean_residues(means_.as<float>(), {kept_.data(), sizeof(float)}, framed, H, default_stream);
            batch.features = {means_.data(), sizeof(float)};
            for (std::size_t s = 0; s < offsets.size(); ++s) offsets[s] = static_cast<std::int64_t>(s);
        }
        batch.sequences = {S, offsets.back(), upload_values(offsets_, offsets, exact, default_stream), offsets.data()};
        head_forward(head_, batch, head_workspace_, {}, default_stream);
        return probabilities(offsets.back());
    }

    /// The same from vectors that are there: of residues, or with a head for proteins their means.
    std::vector<std::vector<float>> predict(const BatchVectors& vectors) {
        Backend& exact = *head_.backend;
        const bool of_residues = head_.config.task == Task::secondary_structure;
        std::vector<std::int64_t> offsets{0};
        for (const WorkItem& item : vectors.items)
            offsets.push_back(offsets.back() + (of_residues ? static_cast<std::int64_t>(item.length) : 1));
        const std::int64_t rows = offsets.back(), S = static_cast<std::int64_t>(vectors.items.size());
        grow_head(rows, S);
        const void* const values =
            of_residues ? static_cast<const void*>(vectors.residues.data()) : vectors.mean.data();
        exact.upload(kept_.data(), values, static_cast<std::size_t>(rows * model_.config.hidden) * sizeof(float),
                     default_stream);
        HeadBatch batch;
        batch.features = {kept_.data(), sizeof(float)};
        const std::vector<std::int64_t> numbers(static_cast<std::size_t>(rows), 0);
        batch.rows = upload_values(rows_, numbers, exact, default_stream);  // nothing is dropped, as above
        batch.sequences = {S, rows, upload_values(offsets_, offsets, exact, default_stream), offsets.data()};
        head_forward(head_, batch, head_workspace_, {}, default_stream);
        return probabilities(rows);
    }

  private:
    // Memory for a batch.
    void grow_encoder(std::int64_t tokens) {
        if (encoder_workspace_.tokens >= tokens) return;
        encoder_workspace_ = make_inference_workspace(model_, tokens);
        residues_ = DeviceMemory(*model_.backend, static_cast<std::size_t>(tokens) *
                                                      static_cast<std::size_t>(model_.config.hidden) * sizeof(float));
    }
    void grow_head(std::int64_t rows, std::int64_t S) {
        Backend& exact = *head_.backend;
        const auto row = static_cast<std::size_t>(model_.config.hidden) * sizeof(float);
        if (kept_.bytes() < static_cast<std::size_t>(rows) * row) {
            kept_ = DeviceMemory(exact, static_cast<std::size_t>(rows) * row);
            head_workspace_ = make_head_workspace(head_, rows, false);
        }
        if (means_.bytes() < static_cast<std::size_t>(S) * row)
            means_ = DeviceMemory(exact, static_cast<std::size_t>(S) * row);
    }

    std::vector<std::vector<float>> probabilities(std::int64_t rows) const {
        Backend& exact = *head_.backend;
        std::vector<std::vector<float>> all;
        for (std::size_t k = 0; k < head_.layout.outputs.size(); ++k) {
            std::vector<float>& values = all.emplace_back(static_cast<std::size_t>(rows * head_.layout.outputs[k].out));
            exact.download(values.data(), head_workspace_.logits[k].data, values.size() * sizeof(float),
                           default_stream);
        }
        exact.synchronize(default_stream);
        for (std::size_t k = 0; k < all.size(); ++k) softmax(all[k], head_.layout.outputs[k].out);
        return all;
    }

    const Model& model_;
    const Head& head_;
    InferenceWorkspace encoder_workspace_;
    DeviceBatch batch_;
    DeviceMemory residues_;  // [residues of all pieces, H]
    DeviceMemory kept_;      // [rows, H]
    DeviceMemory means_;     // [S, H]
    DeviceMemory rows_, framed_, offsets_;
    HeadWorkspace head_workspace_;
};

/// Which proteins of a batch have no prediction, because their vectors are not finite: no ReLU hides that.
std::vector<bool> without_prediction(const std::vector<std::vector<float>>& probabilities, const Head& head,
                                     std::span<const WorkItem> items) {
    std::vector<bool> without(items.size(), false);
    for (std::size_t k = 0; k < probabilities.size(); ++k) {
        auto value = probabilities[k].begin();
        for (std::size_t i = 0; i < items.size(); ++i) {
            const std::int64_t rows = head.config.task == Task::secondary_structure ? items[i].length : 1;
            const auto end = value + rows * head.layout.outputs[k].out;
            if (std::any_of(value, end, [](float probability) { return std::isnan(probability); })) without[i] = true;
            value = end;
        }
    }
    return without;
}

/// Computes this rank's batches and writes each protein's rows; how many of its proteins have vectors that are not
/// finite, and so no prediction.
std::uint64_t compute(const Work& work, const EmbedPlan& plan, const Model& model, const Head& head,
                      std::uint64_t piece_length, const Vocabulary& vocabulary, Hdf5File& file,
                      const Communicator& communicator) {
    const bool of_residues = head.config.task == Task::secondary_structure;
    Predictor predictor(model, head);
    const VectorChoice of_windows{ResidueVectors::float32, !of_residues, false, Layout::flat};
    Embedder windows;  // for the first batches, which are the windowed ones
    BatchVectors blended;
    std::uint64_t own = 0;
    for (const WorkItem& item : work.items) own += item.length;
    Progress progress("predicting", own, "residues", communicator.root());
    std::uint64_t done = 0, not_finite = 0;
    for (std::size_t b = 0; b < work.batches.size(); ++b) {
        const std::span<const WorkItem> items = work.batch(b);
        std::vector<std::vector<float>> probabilities;
        if (work.batches[b].number < plan.windowed_batches) {
            if (windows.model == nullptr)
                windows = make_embedder(model, of_windows, plan.most_tokens, plan.most_sequences,
                                        most_batches_under_way(model));
            blended.items = items;
            embed_windows(windows, plan, work, of_windows, vocabulary, blended);
            probabilities = predictor.predict(blended);
        } else {
            windows = {};
            blended = {};
            probabilities = predictor.predict(make_piece_batch(work, items, piece_length, vocabulary));
        }
        const std::vector<bool> without = without_prediction(probabilities, head, items);
        for (std::size_t k = 0; k < probabilities.size(); ++k) {
            const auto C = static_cast<std::size_t>(head.layout.outputs[k].out);
            std::vector<std::uint8_t> classes = most_probable(probabilities[k], head.layout.outputs[k].out);
            std::size_t row = 0;
            for (std::size_t i = 0; i < items.size(); ++i) {
                const std::size_t count = of_residues ? items[i].length : 1;
                const std::span<float> values = std::span(probabilities[k]).subspan(row * C, count * C);
                const std::span<std::uint8_t> letters = std::span(classes).subspan(row, count);
                if (without[i]) {
                    std::fill(values.begin(), values.end(), std::numeric_limits<float>::quiet_NaN());
                    std::fill(letters.begin(), letters.end(), no_class);
                }
                write_predictions(file, head.config.kinds[k], of_residues ? items[i].first_row : items[i].protein,
                                  values, letters);
                row += count;
            }
        }
        for (std::size_t i = 0; i < items.size(); ++i)
            if (without[i]) write_not_finite(file, items[i].protein);
        not_finite += static_cast<std::uint64_t>(std::count(without.begin(), without.end(), true));
        for (const WorkItem& item : items) done += item.length;
        progress.update(done);
    }
    progress.finish();
    return not_finite;
}

}  // namespace

int predict_probe(const PredictOptions& options, const Communicator& communicator) {
    // 1. Head and encoder, which must fit each other.
    const std::string predictions = options.output + ".h5";
    on_root(communicator, [&] { require_writable_place(predictions, "file of predictions"); });
    const HeadFile file = read_head(options.head, communicator);
    on_root(communicator, [&] {
        std::vector<std::string> others = options.inputs;
        others.insert(others.end(), {options.head, options.checkpoint});
        require_apart(predictions, "--output", others);
        for (const std::string& path : fasta_paths(options.output, file.config))
            require_apart(path, "--output", others);
    });
    RunLock lock;
    lock.take(output_place(predictions, "--output"), true, communicator);
    if (file.config.task != options.task)
        throw InputError(fmt::format("{} is a head for --task {}", options.head, task_name(file.config.task)));
    on_root(communicator, [&] {
        for (const std::string& path : fasta_paths(options.output, file.config))
            require_writable_place(path, "file of predictions");
    });
    const WeightSource source = open_weights(options.checkpoint, communicator);
    const ModelConfig config = config_from_json(source.header.config, source.place);
    check_features(file, options.head, config.hidden, 0, source.place, communicator);
    const Vocabulary vocabulary = make_vocabulary(source.header.vocabulary, source.place);
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, options.precision, communicator);
    // The head's kernels are float32's; both backends of one device share its memory.
    const std::unique_ptr<Backend> head_backend =
        options.precision == Precision::float32 ? nullptr
                                                : make_rank_backend(options.device, Precision::float32, communicator);

    // 2. Proteins and batches.
    const auto positions = static_cast<std::uint64_t>(std::max<std::int64_t>(0, config.positions - special_tokens));
    const auto piece_length = static_cast<std::uint64_t>(file.piece_length);
    if (piece_length > positions)
        throw InputError(
            fmt::format("head {} is for pieces of {} residues, but {} takes {} at the most; give the encoder that it "
                        "was trained on",
                        options.head, piece_length, source.place, positions));
    const std::uint64_t longest = piece_length > 0 ? longest_sequence : positions;
    ProteinInput input = read_proteins(options.inputs, options.format, options.invalid, options.too_long, longest,
                                       vocabulary, communicator);
    const std::int64_t batch_tokens =
        options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(config, *backend);
    const std::vector<std::uint32_t> lengths = gather_lengths(input, communicator);
    const EmbedPlan plan = plan_batches(lengths, batch_tokens, longest);
    std::vector<std::uint64_t> batches(plan.batch_count());
    for (std::uint64_t b = 0; b < batches.size(); ++b) batches[b] = b;
    log_information(fmt::format("{} proteins, {} residues; {} iterations, hidden {}, on {}",
                                format_count(input.proteins), format_count(input.residues), config.layers,
                                config.hidden, backend->description()));

    // 3. Weights, and the file to fill.
    Model model = make_model(config, *backend, ModelPart::encoder);
    load_parameters(model, source, communicator);
    const Head head = make_head(file.config, file.values, head_backend ? *head_backend : *backend);
    const std::string part = predictions + ".part";
    Hdf5File output = create_predictions(part, file.config, file.training, input, lengths, communicator);
    const std::uint64_t proteins = input.proteins;
    const std::uint64_t without = input.without_vectors();
    const Work work =
        share_work(plan, lengths, batches, batch_costs(plan, lengths, config), std::move(input.runs), communicator);

    // 4. Predictions, and their label strings.
    std::uint64_t not_finite = compute(work, plan, model, head, piece_length, vocabulary, output, communicator);
    communicator.sum(&not_finite, 1);
    output.close();
    std::string names;
    on_root(communicator, [&] {
        rename_durably(part, predictions);
        for (const std::string& path : write_fasta(predictions, options.output, file.config)) names += " and " + path;
    });
    names = communicator.broadcast(names, 0);
    log_information(fmt::format(
        "{}{} hold the predictions of {} proteins{}", predictions, names, format_count(proteins),
        without + not_finite > 0 ? fmt::format("; {} have none (/status says why)", format_count(without + not_finite))
                                 : ""));
    if (not_finite > 0)
        throw Error(
            fmt::format("{} is complete, but {} proteins have vectors that are not finite (/status 5), and no "
                        "prediction: are the weights of {} damaged, or too large for --precision?",
                        predictions, format_count(not_finite), source.place));
    return exit_done;
}

}  // namespace protalbert

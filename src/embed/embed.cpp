#include "embed/embed.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/signals.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "embed/embedder.hpp"
#include "embed/not_finite.hpp"
#include "embed/plan.hpp"
#include "embed/rank_news.hpp"
#include "embed/share.hpp"
#include "embed/window_vectors.hpp"
#include "embed/writer.hpp"
#include "model/cost.hpp"

namespace protalbert {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

const char* residues_name(ResidueVectors residues) {
    switch (residues) {
        case ResidueVectors::none:
            return "none";
        case ResidueVectors::float16:
            return "float16";
        case ResidueVectors::float32:
            return "float32";
    }
    return "";
}

std::string pool_name(const VectorChoice& choice) {
    if (choice.mean && choice.cls) return "mean,cls";
    return choice.mean ? "mean" : choice.cls ? "cls" : "none";
}

/// What the vectors and batches depend on beside proteins and weights, as the program's own options.
std::string options_text(const EmbedOptions& options, std::int64_t batch_tokens) {
    return fmt::format("--residues {} --pool {} --layout {} --batch-tokens {} --precision {}",
                       residues_name(options.vectors.residues), pool_name(options.vectors),
                       options.vectors.layout == Layout::flat ? "flat" : "per-protein", batch_tokens,
                       options.precision == Precision::float32 ? "float32" : "bfloat16");
}

std::uint64_t hash_text(const std::string& text, std::uint64_t seed) {
    return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

void report_input(const ProteinInput& input, double seconds) {
    log_information(fmt::format("read {} proteins, {} residues to embed, in {}", format_count(input.proteins),
                                format_count(input.residues), format_duration(seconds)));
}

/// What was done to whom: every protein of the input is accounted for.
void report_treatments(const ProteinInput& input, const EmbedPlan& plan) {
    const auto line = [](std::uint64_t count, const std::string& text) {
        if (count > 0) log_information(fmt::format("  {} {}", format_count(count), text));
    };
    const auto treated = [&](Treatment treatment) { return input.treated[static_cast<int>(treatment)]; };
    line(treated(Treatment::embedded), "proteins embedded");
    line(treated(Treatment::windowed),
         fmt::format(
             "longer proteins embedded by windows of {} residues that overlap: no residue attends beyond its own",
             format_count(plan.longest)));
    line(treated(Treatment::empty), "proteins without residues: rows kept, length 0, vectors NaN");
    line(treated(Treatment::too_long), "proteins too long for the model: rows kept, length 0, vectors NaN");
    line(treated(Treatment::skipped), "proteins skipped for letters that are no residues: rows kept, length 0, NaN");
    line(input.duplicate_ids, "proteins have an id that occurs before: each has its own row");
    line(input.replaced_residues, "residues U, Z, O or B read as X");
    line(input.unknown_letters, "letters that are no residues read as X");
    line(input.stops, "trailing '*' dropped");
    line(input.comments, "comment lines (; or #) skipped");
    line(input.latin1_ids, "ids that are not UTF-8 read as Latin-1");
}

/// What may help against vectors that are not finite.
std::string not_finite_remedy(const EmbedOptions& options, bool float16_alone) {
    if (float16_alone)
        return "values beyond 65504 are infinite in float16; --residues float32 --overwrite embeds anew, and holds "
               "them";
    return fmt::format(
        "the model's values leave the range of float32 or are no numbers, most likely because of huge "
        "weights; look at {}{}",
        options.checkpoint, options.precision == Precision::bfloat16 ? ", or try --precision float32 --overwrite" : "");
}

/// Throws an Error where a finished file has vectors that are not finite, or warns.
void require_finite(const EmbedOptions& options, const Communicator& communicator) {
    const NotFiniteReport report = read_not_finite(options.output, communicator);
    if (report.proteins == 0) return;
    const std::string what = fmt::format("{} of its proteins have vectors that are not finite ({}): {} 5 tells which",
                                         format_count(report.proteins), report.first_ids,
                                         options.vectors.layout == Layout::flat ? "/status" : "the attribute status");
    if (options.not_finite_fails)
        throw Error(fmt::format("{} is complete, but {}; {}", options.output, what,
                                not_finite_remedy(options, report.float16_alone)));
    if (communicator.root()) log_warning(fmt::format("{}: {}", options.output, what));
}

/// Batches not done yet, ascending.
std::vector<std::uint64_t> missing_batches(const OutputFile& output) {
    std::vector<std::uint64_t> missing;
    for (std::uint64_t b = 0; b < output.done.size(); ++b)
        if (output.done[b] == 0) missing.push_back(b);
    return missing;
}

/// Computes and writes this rank's batches until they are done or a signal asks to stop. Batches left undone.
std::size_t compute(const Work& work, const EmbedPlan& plan, const Model& model, const VectorChoice& vectors,
                    const OutputFile& output, const Vocabulary& vocabulary, std::uint64_t total_residues,
                    const Communicator& communicator) {
    Embedder embedder;
    if (!work.batches.empty()) {
        embedder = make_embedder(model, embedder_choice(plan, vectors), plan.most_tokens, plan.most_sequences,
                                 most_batches_under_way(model));
    }
    VectorWriter writer(output, vectors, static_cast<std::uint64_t>(model.config.hidden));
    RankNews news(communicator);
    Progress progress("embedding", total_residues, "residues", communicator.root());
    PackedBatch batch;
    std::size_t started = 0, done = 0;
    // Fills a buffer with the vectors of the batch that is next, and passes it on.
    const auto finish_one = [&](const auto& fill) {
        BatchVectors& buffer = writer.buffer();
        buffer.number = work.batches[done].number;
        buffer.items = work.batch(done);
        fill(buffer);
        writer.submit();
        std::uint64_t residues = 0;
        for (const WorkItem& item : buffer.items) residues += item.length;
        ++done;
        news.tell(residues, caught_signal() != 0);
        progress.update(news.residues());
    };
    const auto finish_started = [&] { finish_one([&](BatchVectors& buffer) { finish_batch(embedder, buffer); }); };
    while (started < work.batches.size() && !news.stopping()) {
        // These come first, so that no other batch is under way.
        if (work.batches[started].number < plan.windowed_batches) {
            ++started;
            finish_one([&](BatchVectors& buffer) { embed_windows(embedder, plan, work, vectors, vocabulary, buffer); });
            continue;
        }
        batch.clear();
        for (const WorkItem& item : work.batch(started))
            append_protein(batch, work.residues(item), item.protein, vocabulary);
        start_batch(embedder, batch, vectors);
        ++started;
        if (started - done == embedder.outputs.size()) finish_started();
    }
    while (done < started) finish_started();
    writer.finish();
    news.finish([&] { progress.update(news.residues()); });
    progress.finish();
    return work.batches.size() - done;
}

}  // namespace

std::int64_t default_batch_tokens(const ModelConfig& config, const Backend& backend) {
    // GPUs need many rows for their full rate, and have the memory.
    if (!backend.host_reaches_memory()) return 32768;
    // CPUs reach theirs with 512 rows a product. A batch is also the time between a signal and the end, and what an
    // interruption costs: about 10 s for ProtAlbert on two cores of 250 GFLOP/s each.
    constexpr double batch_flops = 5e12;
    const double flops = forward_flops(config, 512) / 512;
    return std::clamp(static_cast<std::int64_t>(batch_flops / flops) / 512 * 512, std::int64_t{512},
                      std::int64_t{4096});
}

int embed_proteins(const EmbedOptions& options, const Communicator& communicator) {
    const auto start = Clock::now();

    // 1. The model: configuration and vocabulary of the checkpoint, on a device.
    const WeightSource source = open_weights(options.checkpoint, communicator);
    const std::string& checkpoint = source.place;
    const CheckpointHeader& header = source.header;
    const ModelConfig config = config_from_json(header.config, checkpoint);
    const Vocabulary vocabulary = make_vocabulary(header.vocabulary, checkpoint);
    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, options.precision, communicator);
    log_information(fmt::format("{}: {} iterations, hidden {}, on {}",
                                source.hugging_face ? fmt::format("Hugging Face folder {}", checkpoint)
                                                    : fmt::format("checkpoint {} of step {}", checkpoint, header.step),
                                config.layers, config.hidden, backend->description()));

    // 2. The proteins, in input order, shared by all ranks.
    const auto longest = static_cast<std::uint64_t>(std::max<std::int64_t>(0, config.positions - special_tokens));
    ProteinInput input = read_proteins(options.inputs, options.format, options.invalid, options.too_long, longest,
                                       vocabulary, communicator);
    report_input(input, seconds_since(start));

    // 3. The plan: batches by length, longest first.
    const std::int64_t batch_tokens =
        options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(config, *backend);
    const std::vector<std::uint32_t> lengths = gather_lengths(input, communicator);
    const EmbedPlan plan = plan_batches(lengths, batch_tokens, longest);
    const std::vector<double> costs = batch_costs(plan, lengths, config);
    const OutputSizes sizes{input.proteins, input.residues, static_cast<std::uint64_t>(config.hidden),
                            plan.batch_count(), input.longest_id};
    const std::uint64_t bytes = output_bytes(options.vectors, sizes);
    log_information(fmt::format("{} batches of at most {} tokens; {} will take {}", format_count(sizes.batches),
                                format_count(static_cast<std::uint64_t>(std::max(batch_tokens, plan.most_tokens))),
                                options.output, format_bytes(static_cast<double>(bytes))));

    // 4. The weights, and the memory for them and the largest batch.
    reserve_embed_memory(config, embedder_choice(plan, options.vectors), plan.most_tokens, plan.most_sequences,
                         *backend, communicator);
    Model model = make_model(config, *backend, ModelPart::encoder);
    std::uint64_t checkpoint_hash = load_parameters(model, source, communicator);
    checkpoint_hash = hash_text(header.config, checkpoint_hash);
    for (const std::string& piece : header.vocabulary) checkpoint_hash = hash_text(piece, checkpoint_hash);

    // 5. The output: new, continued, or done already.
    const JobIdentity identity{input.hash, checkpoint_hash, options_text(options, batch_tokens)};
    RunLock lock;
    lock.take(output_place(options.output, "--output"), true, communicator);
    const OutputState state = find_output(options.output, identity, options.overwrite, communicator);
    if (state == OutputState::fresh) require_room(options.output, bytes, options.vectors, sizes, communicator);
    if (state == OutputState::finished) {
        log_information(fmt::format("{} holds these embeddings already: nothing to do", options.output));
        require_finite(options, communicator);
        return exit_done;
    }
    const OutputDescription description{checkpoint, header.step, header.config,
                                        options.precision == Precision::float32 ? "float32" : "bfloat16"};
    const OutputFile output = state == OutputState::fresh
                                  ? create_output(options.output, options.vectors, sizes, identity, description,
                                                  input.runs, lengths, communicator)
                                  : continue_output(options.output, sizes, communicator);
    const std::vector<std::uint64_t> missing = missing_batches(output);
    if (state == OutputState::interrupted)
        log_information(fmt::format("continuing {}: {} of {} batches are there", output.part_path,
                                    format_count(sizes.batches - missing.size()), format_count(sizes.batches)));

    // 6. Each rank's batches, with their residues.
    const Work work = share_work(plan, lengths, missing, costs, std::move(input.runs), communicator);
    std::uint64_t residues = 0;
    double flops = 0;
    for (const std::uint64_t number : missing) {
        flops += costs[number];
        for (const std::uint32_t protein : plan.batch(number)) residues += lengths[protein];
    }
    if (communicator.ranks() > 1)
        log_information(
            fmt::format("{} ranks share the work to within {:.1f} %", communicator.ranks(), 100 * work.imbalance));

    // 7. Compute and write.
    const auto compute_start = Clock::now();
    std::uint64_t undone = compute(work, plan, model, options.vectors, output, vocabulary, residues, communicator);
    communicator.sum(&undone, 1);
    if (undone > 0) {
        log_information(fmt::format("stopped by a signal: {} of {} batches are in {}; the same command continues",
                                    format_count(sizes.batches - undone), format_count(sizes.batches),
                                    output.part_path));
        return exit_stopped;
    }
    const double seconds = seconds_since(compute_start);

    // 8. The end: a name of its own and an account of every protein.
    const NotFinite not_finite = find_not_finite(output, options.vectors, sizes, plan, lengths, communicator);
    finish_output(options.output, output, options.vectors, sizes, lengths, not_finite, communicator);
    log_information(fmt::format("{} holds {} proteins in {}", options.output, format_count(input.proteins),
                                format_bytes(static_cast<double>(std::filesystem::file_size(options.output)))));
    report_treatments(input, plan);
    if (residues > 0)
        log_information(fmt::format("{} residues in {}: {} residues/s, {:.1f} model GFLOP/s; {} in all",
                                    format_count(residues), format_duration(seconds),
                                    format_count(static_cast<std::uint64_t>(static_cast<double>(residues) / seconds)),
                                    flops / seconds * 1e-9, format_duration(seconds_since(start))));
    require_finite(options, communicator);
    return exit_done;
}

}  // namespace protalbert

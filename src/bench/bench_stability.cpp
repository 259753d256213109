// protalbert_bench stability: how much each iteration of a trained model changes the hidden states, also in iterations
// beyond those it was trained with.

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_proteins.hpp"
#include "comm/local_gpu.hpp"
#include "data/corpus.hpp"
#include "embed/embedder.hpp"
#include "embed/plan.hpp"
#include "model/stability.hpp"
#include "model/weight_source.hpp"

namespace protalbert {
namespace {

struct Options {
    std::string checkpoint;
    std::string file;
    std::string corpus;
    std::uint64_t proteins = 200;
    std::uint64_t longest = 510;  // 512 tokens
    std::int64_t iterations = 0;
    std::string device = "cpu";
};

const Stream default_stream{};
/// Enough for full speed of the products; the two copies of the hidden states on the host stay small.
constexpr std::int64_t batch_tokens = 4096;

/// The first proteins of a corpus that are not too long.
std::vector<std::vector<std::uint8_t>> corpus_proteins(const Options& options, std::uint64_t longest,
                                                       const Vocabulary& vocabulary, const Communicator& communicator) {
    const Corpus corpus(options.corpus, communicator);
    if (corpus.vocabulary().pieces != vocabulary.pieces)
        throw InputError(fmt::format("--corpus {} was prepared with another vocabulary than {} has; prepare it again",
                                     options.corpus, options.checkpoint));
    std::vector<std::vector<std::uint8_t>> proteins;
    Corpus::Piece piece;
    for (std::uint64_t number = 0; number < corpus.sequences() && proteins.size() < options.proteins; ++number) {
        corpus.read(number, 1, piece);
        if (!piece.tokens.empty() && piece.tokens.size() <= longest) proteins.push_back(piece.tokens);
    }
    if (proteins.empty())
        throw InputError(
            fmt::format("--corpus {} has no protein of at most {} residues; raise --longest", options.corpus, longest));
    return proteins;
}

/// The configuration with as many iterations as asked for: without a number twice as many where one layer is iterated.
ModelConfig deeper(const ModelConfig& trained, std::int64_t iterations) {
    const bool shared = trained.sharing == Sharing::all && trained.groups == 1;
    ModelConfig config = trained;
    if (iterations > 0) config.layers = iterations;
    if (iterations == 0 && shared) config.layers = 2 * trained.layers;
    if (config.layers > trained.layers && !shared)
        throw InputError(
            fmt::format("--iterations {}: the model has layers of its own for each of its {} iterations or groups, and "
                        "none for more; give at most {}",
                        iterations, trained.layers, trained.layers));
    return config;
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const WeightSource source = open_weights(options.checkpoint, communicator);
    const Vocabulary vocabulary = make_vocabulary(source.header.vocabulary, source.place);
    const ModelConfig trained = config_from_json(source.header.config, source.place);
    const ModelConfig config = deeper(trained, options.iterations);
    const std::uint64_t longest =
        std::min(options.longest, static_cast<std::uint64_t>(std::max<std::int64_t>(1, config.positions - 2)));
    const auto proteins = options.corpus.empty()
                              ? bench_proteins(options.file, options.proteins, longest, false, vocabulary)
                              : corpus_proteins(options, longest, vocabulary, communicator);

    const std::unique_ptr<Backend> backend = make_rank_backend(options.device, Precision::float32, communicator);
    Model model = make_model(config, *backend);
    load_parameters(model, source, communicator);

    std::vector<std::uint32_t> lengths;
    for (const auto& protein : proteins) lengths.push_back(static_cast<std::uint32_t>(protein.size()));
    const EmbedPlan plan = plan_batches(lengths, batch_tokens);
    InferenceWorkspace workspace = make_inference_workspace(model, plan.most_tokens);
    std::vector<IterationChange> changes(static_cast<std::size_t>(config.layers));
    double tokens = 0;
    PackedBatch packed;
    DeviceBatch batch;
    for (std::uint64_t b = 0; b < plan.batch_count(); ++b) {
        if (b % static_cast<std::uint64_t>(communicator.ranks()) != static_cast<std::uint64_t>(communicator.rank()))
            continue;
        packed.clear();
        for (const std::uint32_t protein : plan.batch(b))
            append_protein(packed, proteins[protein], protein, vocabulary);
        upload_batch(batch, packed, *backend, default_stream);
        add_iteration_changes(changes, model, batch, workspace, default_stream);
        tokens += static_cast<double>(packed.token_count());
    }
    communicator.sum(&tokens, 1);

    log_information(fmt::format("{}: {} iterations trained, {} run; means over {} tokens of {} proteins", source.place,
                                trained.layers, config.layers, format_count(static_cast<std::uint64_t>(tokens)),
                                proteins.size()));
    log_information(fmt::format("{:>9} {:>12} {:>18} {:>9} {:>12}", "iteration", "L2 distance", "cosine similarity",
                                "degrees", "output norm"));
    bench.report = {{"checkpoint", source.place},
                    {"trained_iterations", trained.layers},
                    {"sharing", sharing_name(trained.sharing)},
                    {"proteins", proteins.size()},
                    {"tokens", tokens},
                    {"iterations", nlohmann::json::array()}};
    for (std::size_t i = 0; i < changes.size(); ++i) {
        double values[] = {changes[i].distance, changes[i].cosine, changes[i].degrees, changes[i].norm};
        communicator.sum(values, 4);
        for (double& value : values) value /= tokens;
        const bool beyond = static_cast<std::int64_t>(i) >= trained.layers;
        log_information(fmt::format("{:>9} {:>12.4f} {:>18.5f} {:>9.2f} {:>12.4f}{}", i + 1, values[0], values[1],
                                    values[2], values[3], beyond ? "   beyond the trained depth" : ""));
        bench.report["iterations"].push_back({{"iteration", i + 1},
                                              {"distance", values[0]},
                                              {"cosine", values[1]},
                                              {"degrees", values[2]},
                                              {"norm", values[3]}});
        if (static_cast<std::int64_t>(i) + 1 == trained.layers)
            bench.figure = {"cosine_similarity", values[1], "between the last trained iteration's input and output"};
    }
}

}  // namespace

BenchAction add_bench_stability(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--checkpoint", options->checkpoint, "checkpoint (file or folder) or Hugging Face folder")
        ->required();
    auto* fasta = command.add_option("--fasta", options->file, "proteins");
    auto* corpus =
        command.add_option("--corpus", options->corpus, "proteins of a corpus, as held out by its preparation");
    fasta->excludes(corpus);
    command.add_option("--proteins", options->proteins, "how many, from the first")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--longest", options->longest, "residues; longer proteins are left out")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command
        .add_option("--iterations", options->iterations,
                    "how many to run (without it: twice as many as trained where they share one layer, else as many)")
        ->check(CLI::Range(1, 4096));
    command.add_option("--device", options->device, "auto, cpu or cuda")->capture_default_str();
    return [options](BenchRun& bench) {
        if (options->file.empty() && options->corpus.empty())
            throw InputError("stability needs proteins: give --fasta FILE or --corpus FILE");
        run(*options, bench);
    };
}

}  // namespace protalbert

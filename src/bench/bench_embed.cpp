// protalbert_bench embed: the program's compute path (plan, pack, encode, extract) with random weights or a
// checkpoint's, beside the rate of oneDNN's plain matrix product in the same run, where the program has oneDNN.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_device.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/reference_product.hpp"
#include "data/share_out.hpp"
#include "embed/embed.hpp"
#include "embed/embedder.hpp"
#include "embed/plan.hpp"
#include "model/cost.hpp"
#include "model/weight_source.hpp"

namespace protalbert {
namespace {

struct Options {
    ModelSizes sizes;
    std::string checkpoint;
    std::string file;
    std::uint64_t proteins = 40;  // a minute or two of ProtAlbert's size on two slow cores
    std::uint64_t longest = 510;  // 512 tokens
    std::int64_t batch_tokens = 0;
    DeviceChoice device;
    std::string residues = "float32";
    bool without_product = false;
};

// The product that the rate is compared with: ProtAlbert's feed-forward layer for 512 tokens.
constexpr std::int64_t product_rows = 512, product_inputs = 4096, product_outputs = 16384;

void run(const Options& options, BenchRun& bench) {
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const Communicator& communicator = bench.communicator;
    std::optional<WeightSource> source;
    if (!options.checkpoint.empty()) source = open_weights(options.checkpoint, communicator);
    const Vocabulary vocabulary =
        source ? make_vocabulary(source->header.vocabulary, source->place) : default_vocabulary();
    const ModelConfig config =
        source ? config_from_json(source->header.config, source->place) : bench_model(options.sizes, vocabulary);
    const auto proteins = bench_proteins(options.file, options.proteins, options.longest, false, vocabulary);
    const std::unique_ptr<Backend> backend = make_backend(options.device, communicator);
    log_information(fmt::format("{}, on {}", describe(config), backend->description()));

    Model model = make_model(config, *backend, ModelPart::encoder);
    if (source)
        load_parameters(model, *source, communicator);
    else
        set_parameters(model,
                       [&](float* values, const Parameter& parameter) { initialise(values, parameter, config, 1); });

    std::vector<std::uint32_t> lengths;
    for (const auto& protein : proteins) lengths.push_back(static_cast<std::uint32_t>(protein.size()));
    const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    if (longest + special_tokens > config.positions)
        throw InputError(
            fmt::format("a protein has {} residues, but the model knows {} positions, two of them for "
                        "[CLS] and [SEP]; lower --longest or raise --positions",
                        longest, config.positions));
    const std::int64_t batch_tokens =
        options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(config, *backend);
    const EmbedPlan plan = plan_batches(lengths, batch_tokens);
    const std::vector<double> costs = batch_costs(plan, lengths, config);
    const std::vector<std::uint32_t> ranks = share_out(costs, communicator.ranks());

    VectorChoice choice;
    if (options.residues == "none") choice.residues = ResidueVectors::none;
    if (options.residues == "float16") choice.residues = ResidueVectors::float16;
    Embedder embedder =
        make_embedder(model, choice, plan.most_tokens, plan.most_sequences, most_batches_under_way(model));
    BatchVectors vectors;
    PackedBatch batch;
    const auto start_one = [&](std::uint64_t number) {
        batch.clear();
        for (const std::uint32_t protein : plan.batch(number))
            append_protein(batch, proteins[protein], protein, vocabulary);
        start_batch(embedder, batch);
    };
    // The largest batch first, untimed: it reaches the largest memory.
    start_one(0);
    finish_batch(embedder, vectors);
    double peak = peak_memory();

    std::optional<ReferenceProduct> product;
    if (!options.without_product && ReferenceProduct::available())
        product.emplace(ReferenceShape{product_rows, product_outputs, product_inputs});
    std::vector<double> product_rates;
    double seconds = 0;
    for (std::uint64_t b = 0; b < plan.batch_count(); ++b) {
        if (ranks[b] != static_cast<std::uint32_t>(communicator.rank())) continue;
        // The CPU's own rate beside each batch; a GPU's batches follow each other without a break.
        if (product && embedder.outputs.size() == 1) product_rates.push_back(product->rate());
        const auto start = Clock::now();
        start_one(b);
        if (embedder.started - embedder.finished == embedder.outputs.size()) finish_batch(embedder, vectors);
        seconds += seconds_since(start);
    }
    const auto rest = Clock::now();
    while (embedder.finished < embedder.started) finish_batch(embedder, vectors);
    seconds += seconds_since(rest);
    if (product) product_rates.push_back(product->rate());
    communicator.maximum(&seconds, 1);
    communicator.maximum(&peak, 1);

    double residues = 0, flops = 0;
    for (const std::uint32_t length : lengths) residues += length;
    for (const double cost : costs) flops += cost;
    double product_rate = median(product_rates);
    communicator.sum(&product_rate, 1);
    const double rate = flops / seconds;
    log_information(fmt::format("{} proteins, {} residues in {} batches of at most {} tokens: {:.1f} s",
                                proteins.size(), format_count(static_cast<std::uint64_t>(residues)), plan.batch_count(),
                                plan.most_tokens, seconds));
    log_information(fmt::format("residues/s            {:12.1f}", residues / seconds));
    log_information(fmt::format("model GFLOP/s         {:12.1f}", rate * 1e-9));
    if (product) {
        log_information(fmt::format("product GFLOP/s       {:12.1f}   oneDNN [{} x {}] x [{} x {}], {}; median of {}",
                                    product_rate * 1e-9, product_rows, product_inputs, product_inputs, product_outputs,
                                    product->way(), product_rates.size()));
        log_information(fmt::format("model / product       {:12.3f}", rate / product_rate));
    } else if (!options.without_product) {
        log_information(ReferenceProduct::absence);
    }
    log_information(fmt::format("peak memory           {:>12}   a rank", format_bytes(peak)));
    bench.report = {{"proteins", proteins.size()},
                    {"residues", residues},
                    {"seconds", seconds},
                    {"batch_tokens", batch_tokens},
                    {"residues_per_second", residues / seconds},
                    {"model_flops_per_second", rate},
                    {"peak_bytes", peak}};
    bench.figure = {"residues_per_second", residues / seconds, "residues/s"};
    if (product) {
        bench.report["product_flops_per_second"] = product_rate;
        bench.report["model_over_product"] = rate / product_rate;
        bench.figure.details["model_over_product"] = rate / product_rate;
    }
}

}  // namespace

BenchAction add_bench_embed(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    add_model_options(command, options->sizes);
    command.add_option("--checkpoint", options->checkpoint,
                       "sizes and weights of a checkpoint or Hugging Face folder (random weights without it)");
    command.add_option("--fasta", options->file, "proteins (random ones without it)");
    command.add_option("--proteins", options->proteins, "how many")->capture_default_str()->check(CLI::PositiveNumber);
    command.add_option("--longest", options->longest, "residues; longer proteins are left out")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--batch-tokens", options->batch_tokens, "tokens computed together")->check(CLI::PositiveNumber);
    command.add_option("--residues", options->residues, "vectors of residues: none, float16 or float32")
        ->capture_default_str()
        ->check(CLI::IsMember({"none", "float16", "float32"}));
    command.add_flag("--without-product", options->without_product,
                     "leave out the product to compare with, which takes longer than a small model");
    add_device_options(command, options->device);
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

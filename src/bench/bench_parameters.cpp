// protalbert_bench parameters: how many parameters the presets have, and the tables of the ALBERT paper counted anew;
// or those of one preset or deck, tensor by tensor, with what training it takes.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>

#include "base/deck.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "model/cost.hpp"
#include "model/parameters.hpp"
#include "train/train_step.hpp"

namespace protalbert {
namespace {

struct Options {
    std::int64_t vocabulary = 34;
    std::string preset;
    std::string deck;
    std::vector<std::string> overrides;
};

/// The paper's models read SentencePiece's 30,000 pieces.
constexpr std::int64_t paper_vocabulary = 30000;

struct Counts {
    std::int64_t encoder = 0;  ///< embeddings and layers
    std::int64_t pooler = 0;
    std::int64_t heads = 0;
};

Counts count(const ModelConfig& config) {
    Counts counts;
    for (const Parameter& parameter : make_parameter_layout(config).parameters) {
        (parameter.name.starts_with("albert.pooler") ? counts.pooler
         : parameter.name.starts_with("albert.")     ? counts.encoder
                                                     : counts.heads) += parameter.size;
    }
    return counts;
}

std::string grouped(std::int64_t number) { return format_count(static_cast<std::uint64_t>(number)); }

void print_presets(const Options& options, nlohmann::json& report) {
    fmt::print("Presets with a vocabulary of {}\n{:<16} {:>15} {:>15} {:>15} {:>20} {:>14}\n", options.vocabulary,
               "preset", "encoder", "with pooler", "with heads", "GFLOP/token at 512", "weights");
    for (const std::string& name : preset_names()) {
        ModelConfig config = preset(name);
        config.vocabulary = options.vocabulary;
        const Counts counts = count(config);
        const std::int64_t all = counts.encoder + counts.pooler + counts.heads;
        const double flops = forward_flops(config, 512) / 512;
        fmt::print("{:<16} {:>15} {:>15} {:>15} {:>20.3f} {:>14}\n", name, grouped(counts.encoder),
                   grouped(counts.encoder + counts.pooler), grouped(all), flops * 1e-9,
                   format_bytes(static_cast<double>(all) * sizeof(float)));
        report["presets"][name] = {{"encoder", counts.encoder},
                                   {"pooler", counts.pooler},
                                   {"heads", counts.heads},
                                   {"forward_flops_per_token", flops}};
    }
}

/// A line of the paper's tables 1, 3 and 4: its model and the number printed there, in millions.
struct PaperRow {
    const char* table;
    const char* name;
    const char* preset;
    std::int64_t embedding;
    Sharing sharing;
    double printed;
};

constexpr PaperRow paper_rows[] = {
    {"1", "BERT base", "bert_base", 768, Sharing::none, 108},
    {"1", "BERT large", "bert_large", 1024, Sharing::none, 334},
    {"1", "ALBERT base", "albert_base", 128, Sharing::all, 12},
    {"1", "ALBERT large", "albert_large", 128, Sharing::all, 18},
    {"1", "ALBERT xlarge", "albert_xlarge", 128, Sharing::all, 60},
    {"1", "ALBERT xxlarge", "albert_xxlarge", 128, Sharing::all, 235},
    {"3", "not shared", "albert_base", 64, Sharing::none, 87},
    {"3", "not shared", "albert_base", 128, Sharing::none, 89},
    {"3", "not shared", "albert_base", 256, Sharing::none, 93},
    {"3", "not shared", "albert_base", 768, Sharing::none, 108},
    {"3", "all shared", "albert_base", 64, Sharing::all, 10},
    {"3", "all shared", "albert_base", 128, Sharing::all, 12},
    {"3", "all shared", "albert_base", 256, Sharing::all, 16},
    {"3", "all shared", "albert_base", 768, Sharing::all, 31},
    {"4", "all shared", "albert_base", 768, Sharing::all, 31},
    {"4", "attention shared", "albert_base", 768, Sharing::attention, 83},
    {"4", "FFN shared", "albert_base", 768, Sharing::ffn, 57},
    {"4", "not shared", "albert_base", 768, Sharing::none, 108},
    {"4", "all shared", "albert_base", 128, Sharing::all, 12},
    {"4", "attention shared", "albert_base", 128, Sharing::attention, 64},
    {"4", "FFN shared", "albert_base", 128, Sharing::ffn, 38},
    {"4", "not shared", "albert_base", 128, Sharing::none, 89},
};

void print_paper(nlohmann::json& report) {
    constexpr double million = 1e6;
    fmt::print(
        "\nThe ALBERT paper's tables, counted as its code counts: 30,000 pieces, 512 positions, pooler, no heads\n"
        "{:<6} {:<18} {:>5} {:>15} {:>10} {:>18}\n",
        "table", "model", "E", "counted", "millions", "printed, millions");
    for (const PaperRow& row : paper_rows) {
        ModelConfig config = preset(row.preset);
        config.vocabulary = paper_vocabulary;
        config.embedding = row.embedding;
        config.projection = config.embedding != config.hidden;
        config.sharing = row.sharing;
        const Counts counts = count(config);
        const std::int64_t counted = counts.encoder + counts.pooler;
        fmt::print("{:<6} {:<18} {:>5} {:>15} {:>10.2f} {:>18}\n", row.table, row.name, row.embedding, grouped(counted),
                   static_cast<double>(counted) / million, row.printed);
        report["paper"].push_back({{"table", row.table},
                                   {"model", row.name},
                                   {"embedding", row.embedding},
                                   {"sharing", sharing_name(row.sharing)},
                                   {"counted", counted},
                                   {"printed_millions", row.printed}});
    }
    fmt::print(
        "The paper prints whole millions, most of them cut off; for xxlarge its table says 235 and its text 233.\n");
}

void print_tensors(const std::string& name, const ModelConfig& config, nlohmann::json& report) {
    const ParameterLayout layout = make_parameter_layout(config);
    fmt::print("\n{}, tensor by tensor (the decoder of masked residues is the word embedding)\n", name);
    nlohmann::json tensors = nlohmann::json::array();
    for (const Parameter& parameter : layout.parameters) {
        fmt::print("{:<88} {:>14} {:>15}\n", parameter.name, fmt::format("[{}]", fmt::join(parameter.shape, ", ")),
                   grouped(parameter.size));
        tensors.push_back({{"name", parameter.name}, {"shape", parameter.shape}, {"size", parameter.size}});
    }
    fmt::print("\n{}\n", parameter_table(layout, config));
    const Counts counts = count(config);
    report["name"] = name;
    report["encoder"] = counts.encoder;
    report["pooler"] = counts.pooler;
    report["heads"] = counts.heads;
    report["tensors"] = std::move(tensors);
}

/// What training a deck takes: memory of a rank, and the bytes that the ranks sum in each step. Returns its parameters.
std::int64_t print_training(const Options& options, nlohmann::json& report) {
    Deck deck = Deck::read(options.deck, options.overrides);
    const TrainSettings settings = read_train_settings(deck);
    const ModelConfig config = read_model_config(deck, options.vocabulary);
    deck.refuse_unknown_keys();
    print_tensors(options.deck, config, report);

    const MicroBatchLimits limits = micro_batch_limits(settings);
    const std::int64_t element_bytes = settings.precision == Precision::float32 ? sizeof(float) : 2;
    const MemoryEstimate memory =
        training_memory(config, limits.tokens, limits.sequences, limits.masked, element_bytes);
    const std::int64_t reduction = make_parameter_layout(config).size * std::int64_t{sizeof(float)};
    const double flops =
        training_flops(config, settings.sample.max_length) / static_cast<double>(settings.sample.max_length);
    const auto line = [](const char* what, std::int64_t bytes) {
        fmt::print("{:<56} {:>15}\n", what, format_bytes(static_cast<double>(bytes)));
    };
    line("memory a rank: parameters", memory.parameters);
    line("memory a rank: gradients and moments", memory.optimizer);
    line("memory a rank: activations of a micro-batch", memory.activations);
    line("gradient that the ranks sum in each step", reduction);
    fmt::print("{:<56} {:>15.2f}\n", "training MFLOP a token of the longest samples", flops * 1e-6);
    report["model"] = nlohmann::json::parse(to_json(config));
    report["max_length"] = settings.sample.max_length;
    report["global_batch"] = settings.global_batch;
    report["objective"] = objective_name(settings.sample.objective);
    report["parameter_bytes"] = memory.parameters;
    report["optimizer_bytes"] = memory.optimizer;
    report["activation_bytes"] = memory.activations;
    report["reduction_bytes"] = reduction;
    report["training_flops_per_token"] = flops;
    return make_parameter_layout(config).size;
}

void run(const Options& options, BenchRun& bench) {
    if (!bench.communicator.root()) return;
    if (!options.deck.empty()) {
        bench.figure = {"parameters", static_cast<double>(print_training(options, bench.report)),
                        "parameters of " + options.deck};
    } else {
        const std::string name = options.preset.empty() ? "prot_albert" : options.preset;
        ModelConfig config = preset(name);
        config.vocabulary = options.vocabulary;
        if (options.preset.empty()) {
            print_presets(options, bench.report);
            print_paper(bench.report);
            print_tensors(name, config, bench.report[name]);
        } else {
            print_tensors(name, config, bench.report);
        }
        bench.figure = {"parameters", static_cast<double>(make_parameter_layout(config).size), "parameters of " + name};
    }
    std::fflush(stdout);
}

}  // namespace

BenchAction add_bench_parameters(CLI::App& command) {
    auto options = std::make_shared<Options>();
    command.add_option("--vocabulary", options->vocabulary, "pieces of the vocabulary of presets and decks")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    auto* preset = command.add_option("--preset", options->preset, "one preset alone, tensor by tensor");
    auto* deck =
        command.add_option("--deck", options->deck, "one deck alone, with memory and the bytes of a reduction");
    deck->excludes(preset);
    command.add_option("--set", options->overrides, "key=value, instead of the deck's (repeatable)")
        ->allow_extra_args(false)
        ->needs(deck);
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

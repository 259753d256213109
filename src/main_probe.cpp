// protalbert_probe: heads that predict labels from an encoder's vectors.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>

#include "base/deck.hpp"
#include "base/error.hpp"
#include "comm/local_gpu.hpp"
#include "comm/number_range.hpp"
#include "comm/program.hpp"
#include "probe/probe.hpp"

namespace {

using namespace protalbert;

constexpr std::int64_t most_epochs = 1000000;
constexpr std::int64_t most_residues = std::int64_t{1} << 26;  // the longest protein that is read

/// Options of one action; --task and --device go with all.
struct Actions {
    std::string task;
    std::string deck;
    ProbeOptions probe;
    PredictOptions predict;
};

void add_task(CLI::App& app, std::string& task) {
    app.add_option("--task", task, "secondary_structure (labels of residues) or localization (labels of proteins)")
        ->required()
        ->check(CLI::IsMember({"secondary_structure", "localization"}).description(""))
        ->type_name("NAME");
}

void add_device(CLI::App& app, std::string& device) {
    app.add_option("--device", device, "auto, cpu or cuda")->capture_default_str()->type_name("NAME");
}

void add_encoder(CLI::App& app, std::int64_t& batch_tokens, Precision& precision) {
    app.add_option("--batch-tokens", batch_tokens, "tokens that the encoder computes together; by device")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31).description(""))
        ->type_name("N");
    static const std::map<std::string, Precision> precisions{{"float32", Precision::float32},
                                                             {"bfloat16", Precision::bfloat16}};
    app.add_option("--precision", precision, "of the encoder: float32 or bfloat16; float32")
        ->transform(CLI::CheckedTransformer(precisions).description(""))
        ->type_name("NAME");
}

/// Labels and vectors, for training and evaluation.
void add_data(CLI::App& app, ProbeOptions& options) {
    LabelFiles& labels = options.labels;
    app.add_option("--three-state", labels.three_state, "FASTA of labels H E C, headers >ID SET=train VALIDATION=False")
        ->type_name("FILE");
    app.add_option("--eight-state", labels.eight_state, "FASTA of labels G H I B E S T C")->type_name("FILE");
    app.add_option("--disorder", labels.disorder, "FASTA of labels 0 (ordered) and 1 (disordered)")->type_name("FILE");
    app.add_option("--mask", labels.mask, "FASTA with 1 where labels of structure count, else 0")->type_name("FILE");
    app.add_option("--localization", labels.localization,
                   "FASTA with headers >ID Location-M|S|U [test] as DeepLoc 1.0 has them, and the residues")
        ->type_name("FILE");
    VectorSource& vectors = options.vectors;
    CLI::Option* const embeddings =
        app.add_option("--embeddings", vectors.embeddings,
                       "vectors of these proteins by protalbert_embed: residues for structure, means for localization")
            ->type_name("FILE");
    app.add_option("--checkpoint", vectors.checkpoint,
                   "or an encoder that computes them: checkpoint, a run's folder, or a Hugging Face folder")
        ->excludes(embeddings)
        ->type_name("PATH");
    app.add_option("--proteins", vectors.proteins,
                   "FASTA of the residues, for --checkpoint and for the one-hot baseline; without it the file of "
                   "--localization")
        ->type_name("FILE");
    app.add_option("--validation-share", options.validation_share,
                   "of the training proteins, where the labels name none for validation")
        ->check(number_range(0, 0.9).description(""))
        ->capture_default_str()
        ->type_name("F");
    app.add_option("--seed", options.settings.seed, "of initial values, order, dropout, resampling")
        ->capture_default_str()
        ->type_name("N");
    app.add_option("--report", options.report, "JSON file for the scores")->type_name("FILE");
    add_encoder(app, vectors.batch_tokens, vectors.precision);
    add_device(app, options.device);
}

void add_train(CLI::App& app, Actions& actions) {
    ProbeOptions& options = actions.probe;
    add_task(app, actions.task);
    add_data(app, options);
    app.add_option(
           "--piece-length", options.vectors.piece_length,
           "residues that the encoder shall see at once, where it was pretrained on short proteins: longer ones "
           "are cut into pieces that overlap by half; 0: none is cut. The head remembers it")
        ->check(CLI::Range(std::int64_t{0}, most_residues).description(""))
        ->capture_default_str()
        ->type_name("N");
    app.add_option("--output", options.head, "the head to write; beside it scratch files while it works")
        ->required()
        ->type_name("FILE");
    ProbeSettings& settings = options.settings;
    app.add_option("--learning-rate", settings.learning_rate, "of Adam")
        ->check(number_range(1e-12, 1e3).description(""))
        ->capture_default_str()
        ->type_name("F");
    app.add_option("--batch", settings.batch, "proteins a step, over all ranks")
        ->check(CLI::Range(std::int64_t{1}, most_epochs).description(""))
        ->capture_default_str()
        ->type_name("N");
    app.add_option("--epochs", settings.epochs, "at most; 30 for structure, 300 for localization")
        ->check(CLI::Range(std::int64_t{1}, most_epochs).description(""))
        ->type_name("N");
    app.add_option("--patience", settings.patience,
                   "epochs without a lower validation loss that end training; 3 for structure, 20 for localization")
        ->check(CLI::Range(std::int64_t{1}, most_epochs).description(""))
        ->type_name("N");
    app.add_flag("!--no-baselines", options.baselines, "train no heads on one-hot residues and the untrained encoder");
    app.add_option(
           "--deck", actions.deck,
           "TOML file with learning_rate, batch, epochs, patience, piece_length, validation_share, seed; options "
           "of the command line go before it")
        ->type_name("FILE");
}

void add_evaluate(CLI::App& app, Actions& actions) {
    ProbeOptions& options = actions.probe;
    add_task(app, actions.task);
    app.add_option("--head", options.head, "a head of protalbert_probe train")->required()->type_name("FILE");
    add_data(app, options);
    app.add_option("--set", options.set, "proteins to score: test, validation or train")
        ->check(CLI::IsMember({"test", "validation", "train"}).description(""))
        ->capture_default_str()
        ->type_name("NAME");
}

void add_predict(CLI::App& app, Actions& actions) {
    PredictOptions& options = actions.predict;
    add_task(app, actions.task);
    app.add_option("--head", options.head, "a head of protalbert_probe train")->required()->type_name("FILE");
    app.add_option("--checkpoint", options.checkpoint,
                   "its encoder: checkpoint, a run's folder, or a Hugging Face folder")
        ->required()
        ->type_name("PATH");
    app.add_option("INPUT", options.inputs, "FASTA or text, plain or gzip; - is standard input")->required();
    app.add_option("--output", options.output, "start of the names of OUTPUT.h5 and OUTPUT.KIND.fasta")
        ->required()
        ->type_name("PATH");
    static const std::map<std::string, InvalidLetters> treatments = {
        {"error", InvalidLetters::error}, {"skip", InvalidLetters::skip}, {"unknown", InvalidLetters::unknown}};
    app.add_option("--invalid", options.invalid, "a letter that is no residue: error, skip the protein, or unknown (X)")
        ->transform(CLI::CheckedTransformer(treatments).description(""))
        ->type_name("NAME");
    static const std::map<std::string, TooLong> lengths = {
        {"error", TooLong::error}, {"skip", TooLong::skip}, {"window", TooLong::window}};
    app.add_option("--too-long", options.too_long,
                   "a protein beyond the model's position table: error, skip, or window, as protalbert_embed does; no "
                   "matter for a head that was trained with --piece-length")
        ->transform(CLI::CheckedTransformer(lengths).description(""))
        ->type_name("NAME");
    add_encoder(app, options.batch_tokens, options.precision);
    add_device(app, options.device);
}

/// Takes from the deck what the command line does not give.
void read_deck(const CLI::App& app, const std::string& file, ProbeOptions& options) {
    Deck deck = Deck::read(file);
    ProbeSettings& settings = options.settings;
    const auto given = [&](const char* option) { return app.get_option(option)->count() > 0; };
    const auto take = [&](auto& value, const char* option, const auto& read) {
        const auto from_deck = read();  // also to know the key
        if (!given(option)) value = from_deck;
    };
    take(settings.learning_rate, "--learning-rate",
         [&] { return deck.number("learning_rate", settings.learning_rate, 1e-12, 1e3); });
    take(settings.batch, "--batch", [&] { return deck.integer("batch", settings.batch, 1, most_epochs); });
    take(settings.epochs, "--epochs", [&] { return deck.integer("epochs", settings.epochs, 1, most_epochs); });
    take(settings.patience, "--patience", [&] { return deck.integer("patience", settings.patience, 1, most_epochs); });
    take(options.vectors.piece_length, "--piece-length",
         [&] { return deck.integer("piece_length", options.vectors.piece_length, 0, most_residues); });
    take(options.validation_share, "--validation-share",
         [&] { return deck.number("validation_share", options.validation_share, 0, 0.9); });
    take(settings.seed, "--seed", [&] {
        return static_cast<std::uint64_t>(deck.integer("seed", static_cast<std::int64_t>(settings.seed), 0, INT64_MAX));
    });
    deck.refuse_unknown_keys();
}

void check_data(const ProbeOptions& options) {
    const LabelFiles& labels = options.labels;
    const bool structure = options.task == Task::secondary_structure;
    const bool residues = !labels.three_state.empty() || !labels.eight_state.empty() || !labels.disorder.empty();
    if (structure && !labels.localization.empty())
        throw InputError("--localization is for --task localization; give --three-state, --eight-state or --disorder");
    if (!structure && (residues || !labels.mask.empty()))
        throw InputError("labels of residues are for --task secondary_structure; give --localization");
    if (!structure && labels.localization.empty()) throw InputError("--task localization needs --localization FILE");
    if (options.vectors.embeddings.empty() && options.vectors.checkpoint.empty())
        throw InputError("there are no vectors; give --embeddings FILE, or --checkpoint PATH with the residues");
    if (options.vectors.embeddings.empty() && structure && options.vectors.proteins.empty())
        throw InputError("--checkpoint needs --proteins FILE, the FASTA of the residues");
}

int run(int argc, char** argv, const Communicator& communicator) {
    CLI::App app{
        "Trains, scores and applies heads that predict secondary structure (a convolution over the vectors of "
        "residues) "
        "or localization\n(a dense net on their mean) from an encoder that stays as it is.",
        "protalbert_probe"};
    app.require_subcommand(1);
    Actions actions;
    CLI::App* const train = app.add_subcommand("train", "train a head and score it beside its baselines");
    CLI::App* const evaluate = app.add_subcommand("evaluate", "score a head on labelled proteins");
    CLI::App* const predict = app.add_subcommand("predict", "labels and probabilities of new proteins");
    add_train(*train, actions);
    add_evaluate(*evaluate, actions);
    add_predict(*predict, actions);
    if (const auto code = parse_command_line(app, argc, argv, communicator)) return *code;

    if (predict->parsed()) {
        actions.predict.task = task_from_name(actions.task);
        return predict_probe(actions.predict, communicator);
    }
    ProbeOptions& options = actions.probe;
    options.task = task_from_name(actions.task);
    if (!actions.deck.empty()) read_deck(*train, actions.deck, options);
    const bool structure = options.task == Task::secondary_structure;
    if (options.settings.epochs == 0) options.settings.epochs = structure ? 30 : 300;
    if (options.settings.patience == 0) options.settings.patience = structure ? 3 : 20;
    check_data(options);
    return train->parsed() ? train_probe(options, communicator) : evaluate_probe(options, communicator);
}

}  // namespace

int main(int argc, char** argv) {
    protalbert::take_launched_gpu(argc, argv);
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}

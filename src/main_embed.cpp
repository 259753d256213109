// protalbert_embed: proteins to vectors.

#include <CLI/CLI.hpp>
#include <map>
#include <sstream>

#include "base/error.hpp"
#include "base/signals.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "embed/embed.hpp"

namespace {

using namespace protalbert;

void parse_pool(const std::string& text, VectorChoice& choice) {
    choice.mean = choice.cls = false;
    if (text == "none") return;
    std::istringstream names(text);
    for (std::string name; std::getline(names, name, ',');) {
        if (name == "mean")
            choice.mean = true;
        else if (name == "cls")
            choice.cls = true;
        else
            throw InputError("--pool '" + text + "': '" + name + "' is not known; give none, mean, cls or mean,cls");
    }
}

/// Fills in what depends on the layout and refuses what it cannot hold.
void check_vectors(VectorChoice& choice, bool residues_given, bool pool_given) {
    if (choice.layout == Layout::per_protein) {
        // One dataset a protein: residue vectors unless pooled ones are asked for.
        if (!pool_given) choice.mean = choice.cls = false;
        if (!residues_given && (choice.mean || choice.cls)) choice.residues = ResidueVectors::none;
        const int kinds = (choice.residues != ResidueVectors::none) + choice.mean + choice.cls;
        if (kinds > 1)
            throw InputError(
                "--layout per-protein has one dataset a protein, for one kind of vector; choose one of "
                "--residues, --pool mean and --pool cls, or --layout flat");
    }
    if (choice.residues == ResidueVectors::none && !choice.mean && !choice.cls)
        throw InputError("nothing to write: --residues and --pool are both none; choose at least one");
}

int run(int argc, char** argv, const Communicator& communicator) {
    EmbedOptions options;
    std::string pool = "mean,cls";
    CLI::App app{
        "Embeds proteins: one vector a residue (last hidden state) and one a protein (their mean, or the row of "
        "[CLS]).\n"
        "The output is HDF5: /ids, /lengths, /offsets, /residues [sum of lengths, H], /mean and /cls [N, H] in input\n"
        "order; the residues of protein i are rows offsets[i] .. offsets[i+1] - 1. /status tells for each protein:\n"
        "0 embedded, 1 without residues, 2 too long, 3 skipped for its letters (length 0 and NaN for 1 to 3),\n"
        "4 embedded by windows (--too-long window), 5 embedded, but not all values are finite (the exit code is 1).\n"
        "Interrupted and called again with the same command, it continues. Memory: the input's residues are shared by\n"
        "the ranks (twice for a moment), and each rank keeps 8 bytes a protein beside model and batch.",
        "protalbert_embed"};
    app.add_option("--checkpoint", options.checkpoint,
                   "checkpoint file, a run's folder of checkpoints (newest), or a Hugging Face folder")
        ->required();
    app.add_option("inputs", options.inputs,
                   "FASTA or text (one protein a line, letters separated by spaces), plain "
                   "or gzip; - is standard input")
        ->required();
    app.add_option("--output", options.output, "file to write; its unfinished form is OUTPUT.part")->required();
    // Of what is given twice the last counts: a job's script has its own choices and its machine's before its user's.
    const std::map<std::string, ResidueVectors> residue_names{
        {"none", ResidueVectors::none}, {"float16", ResidueVectors::float16}, {"float32", ResidueVectors::float32}};
    const CLI::Option* residues =
        app.add_option("--residues", options.vectors.residues, "vectors of residues: none, float16 or float32")
            ->transform(CLI::CheckedTransformer(residue_names))
            ->default_str("float32")
            ->take_last();
    const CLI::Option* pooled = app.add_option("--pool", pool, "vectors of proteins: none, mean, cls or mean,cls")
                                    ->default_str("mean,cls")
                                    ->take_last();
    app.add_option("--layout", options.vectors.layout,
                   "flat, or per-protein: a dataset named by id for each protein, [L, H] or pooled [H]; its attributes "
                   "are original_id and, unless 0, status")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, Layout>{{"flat", Layout::flat}, {"per-protein", Layout::per_protein}}))
        ->default_str("flat")
        ->take_last();
    app.add_option("--batch-tokens", options.batch_tokens, "tokens computed together; a longer protein goes alone")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31))
        ->default_str("by device")
        ->take_last();
    app.add_option("--precision", options.precision, "of products: float32 or bfloat16")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, Precision>{{"float32", Precision::float32}, {"bfloat16", Precision::bfloat16}}))
        ->default_str("float32")
        ->take_last();
    app.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str()->take_last();
    app.add_option("--format", options.format, "of the inputs: auto, fasta or text")
        ->transform(CLI::CheckedTransformer(std::map<std::string, InputFormat>{
            {"auto", InputFormat::automatic}, {"fasta", InputFormat::fasta}, {"text", InputFormat::text}}))
        ->default_str("auto")
        ->take_last();
    app.add_option("--invalid", options.invalid, "a letter that is no residue: error, skip the protein, or unknown (X)")
        ->transform(CLI::CheckedTransformer(std::map<std::string, InvalidLetters>{
            {"error", InvalidLetters::error}, {"skip", InvalidLetters::skip}, {"unknown", InvalidLetters::unknown}}))
        ->default_str("error")
        ->take_last();
    app.add_option("--too-long", options.too_long,
                   "a protein beyond the model's position table: error, skip it, or window: it goes through the model "
                   "in windows of the table's length that overlap by half or more, and their vectors are blended; "
                   "attention does not reach from one to the next, and up to twice its residues are computed")
        ->transform(CLI::CheckedTransformer(std::map<std::string, TooLong>{
            {"error", TooLong::error}, {"skip", TooLong::skip}, {"window", TooLong::window}}))
        ->default_str("error")
        ->take_last();
    app.add_flag("--overwrite", options.overwrite, "replace an output of another job");
    if (const auto code = parse_command_line(app, argc, argv, communicator)) return *code;
    parse_pool(pool, options.vectors);
    check_vectors(options.vectors, residues->count() > 0, pooled->count() > 0);
    return embed_proteins(options, communicator);
}

}  // namespace

int main(int argc, char** argv) {
    // Before MPI starts: one rank that a signal ended there would leave the others waiting.
    protalbert::catch_signals();
    protalbert::take_launched_gpu(argc, argv);
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}

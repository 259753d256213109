// protalbert_prepare: sequence files to a corpus for pretraining.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/signals.hpp"
#include "comm/program.hpp"
#include "data/corpus_writer.hpp"

using namespace protalbert;

namespace {

struct Options {
    CorpusSettings settings;
    std::string output;
    std::string vocabulary;
};

void add_options(CLI::App& app, Options& options) {
    CorpusSettings& settings = options.settings;
    app.add_option("INPUT", settings.inputs,
                   "FASTA, or text with one protein a line, its letters separated by single spaces, and a blank line "
                   "between documents; plain or gzip; - is standard input")
        ->required();
    app.add_option("--output", options.output,
                   "the corpus; written beside its place and renamed when complete, so that an earlier one is replaced "
                   "by a whole one or not at all")
        ->required();
    static const std::map<std::string, InputFormat> formats = {
        {"auto", InputFormat::automatic}, {"fasta", InputFormat::fasta}, {"text", InputFormat::text}};
    app.add_option("--format", settings.format, "auto (by content), fasta or text")
        ->transform(CLI::CheckedTransformer(formats).description(""))
        ->type_name("NAME");
    app.add_option(
           "--vocabulary", options.vocabulary,
           "text with one piece a line in the order of ids, or a SentencePiece model. The built-in one has "
           "ProtAlbert's pieces, but the published order of most letters is only in its spiece.model: give that "
           "for a corpus that goes with the published weights")
        ->type_name("FILE");
    app.add_option(
           "--holdout", settings.holdout,
           "share of the sequences, for example 0.01, that goes to a second corpus OUTPUT.validation.h5; chosen "
           "by a hash of the residues, so that equal proteins are never in both")
        ->type_name("F");
    app.add_option("--seed", settings.seed, fmt::format("of the random order; {}", settings.seed))->type_name("N");
    static const std::map<std::string, InvalidLetters> treatments = {
        {"error", InvalidLetters::error}, {"skip", InvalidLetters::skip}, {"unknown", InvalidLetters::unknown}};
    app.add_option("--invalid", settings.invalid,
                   "what happens to a letter that is no residue: error (the default), skip its record, or read it as X "
                   "(unknown; letters, '*', '-', '.' and '?' alone, for anything else belongs to no sequence). U, Z, O "
                   "and B always count as X")
        ->transform(CLI::CheckedTransformer(treatments).description(""))
        ->type_name("NAME");
    app.add_flag("--keep-ids", settings.keep_ids, "store the first word of each header in the corpus");
}

}  // namespace

int main(int argc, char** argv) {
    // Before MPI starts: one rank that a signal ended there would leave the others waiting.
    catch_signals();
    return run_program(argc, argv, [&](const Communicator& communicator) -> int {
        // 1. What is wanted.
        CLI::App app("Makes a corpus in random order from protein sequences. Run it alone or under mpirun.",
                     "protalbert_prepare");
        Options options;
        add_options(app, options);
        if (const auto exit_code = parse_command_line(app, argc, argv, communicator)) return *exit_code;
        options.settings.output = options.output;

        // 2. The vocabulary.
        options.settings.vocabulary =
            options.vocabulary.empty() ? default_vocabulary() : read_vocabulary(options.vocabulary);

        // 3. Two passes over the sequences, ended without leftovers by a signal.
        const CorpusSummary summary = write_corpus(options.settings, communicator);

        // 4. What came of it.
        print_summary(summary, options.settings.vocabulary);
        return exit_done;
    });
}

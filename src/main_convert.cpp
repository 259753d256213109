// protalbert_convert: Hugging Face folders to checkpoints, and back.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"
#include "model/hugging_face_export.hpp"
#include "model/model_place.hpp"
#include "model/weight_source.hpp"

namespace {

using namespace protalbert;

namespace fs = std::filesystem;

struct Options {
    std::string input;
    std::string output;
    std::string vocabulary;
    bool overwrite = false;
};

std::optional<int> parse(Options& options, int argc, char** argv, const Communicator& communicator) {
    CLI::App app{
        "Converts a Hugging Face folder to a checkpoint, or a checkpoint to a Hugging Face folder.\n"
        "A folder is read as downloaded: config.json, the weights (model.safetensors or pytorch_model.bin, whole or "
        "in\n"
        "parts with an index) and spiece.model, vocab.txt or tokenizer.json. The checkpoint then holds weights alone, "
        "for\n"
        "protalbert_embed --checkpoint and protalbert_pretrain --init. A folder that is written is loaded by\n"
        "transformers' AlbertForPreTraining.from_pretrained and AutoTokenizer.from_pretrained without a network.",
        "protalbert_convert"};
    app.add_option("INPUT", options.input,
                   "Hugging Face folder or a hub id that was downloaded before, checkpoint file, or a run's folder of "
                   "checkpoints (the newest)")
        ->required();
    app.add_option("OUTPUT", options.output,
                   "checkpoint file or Hugging Face folder to write, whichever INPUT is not; its unfinished form is "
                   "OUTPUT.part")
        ->required();
    app.add_option("--vocabulary", options.vocabulary,
                   "pieces in the order of ids, one a line, or a spiece.model: instead of the input folder's; a "
                   "spiece.model is also put into a folder that is written")
        ->type_name("FILE");
    app.add_flag("--overwrite", options.overwrite, "replace an existing checkpoint or Hugging Face folder");
    return parse_command_line(app, argc, argv, communicator);
}

/// OUTPUT without a slash at its end, which would hide its name.
fs::path output_path(const Options& options) {
    const fs::path path = fs::path(options.output).lexically_normal();
    return path.has_filename() ? path : path.parent_path();
}

/// Whether a folder holds nothing but what this program writes into one, so that it can be replaced as a whole.
bool is_own_folder(const fs::path& folder) {
    const std::vector<std::string>& names = exported_files();
    return std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), [&](const fs::directory_entry& entry) {
        const std::string name = entry.path().filename().string();
        return std::find(names.begin(), names.end(), name) != names.end();
    });
}

/// Throws InputError unless OUTPUT is free or may be replaced.
void check_output(const fs::path& output, const Options& options, bool folder) {
    const fs::file_status status = fs::symlink_status(output);
    if (!fs::exists(status)) return;
    if (!options.overwrite)
        throw InputError(
            fmt::format("{} is there already; name another output, or replace it with --overwrite", output.string()));
    if (fs::is_directory(status) != folder)
        throw InputError(fmt::format("{} is a {}, where a {} would be written; name another output", output.string(),
                                     folder ? "file" : "folder", folder ? "folder" : "file"));
    if (folder && !is_own_folder(output))
        throw InputError(
            fmt::format("{} holds more than protalbert_convert writes, which --overwrite would delete; "
                        "name another output",
                        output.string()));
}

void to_checkpoint(WeightSource& source, const fs::path& output, const Communicator& alone) {
    const ModelConfig config = config_from_json(source.header.config, source.place);
    const ParameterLayout layout = make_parameter_layout(config);
    std::vector<float> values(static_cast<std::size_t>(layout.size));
    read_all_weights(source, layout, values.data(), alone);
    CheckpointArrays arrays;
    for (const Parameter& parameter : layout.parameters)
        arrays.parameters.push_back({parameter.name, parameter.shape, values.data() + parameter.offset});
    write_checkpoint(output, source.header, arrays, alone);
}

/// The bytes of --vocabulary when it is a spiece.model; throws InputError unless its pieces are the checkpoint's.
std::string matching_sentencepiece(const Options& options, const Vocabulary& vocabulary, const std::string& place) {
    if (options.vocabulary.empty()) return "";
    const std::vector<std::string> pieces = read_vocabulary(options.vocabulary).pieces;
    const auto [ours, theirs] =
        std::mismatch(vocabulary.pieces.begin(), vocabulary.pieces.end(), pieces.begin(), pieces.end());
    if (ours != vocabulary.pieces.end() || theirs != pieces.end())
        throw InputError(fmt::format(
            "the vocabulary {} differs from that of {} from id {} on ({} against {}); a "
            "checkpoint can only be written with its own",
            options.vocabulary, place, ours - vocabulary.pieces.begin(), theirs == pieces.end() ? "nothing" : *theirs,
            ours == vocabulary.pieces.end() ? "nothing" : *ours));
    std::string content = read_text_file(options.vocabulary, "vocabulary");
    return looks_like_sentencepiece(content) ? content : "";
}

void remark_on_export(const ModelConfig& config, const std::string& place) {
    if (!config.projection)
        log_information(fmt::format("{} has no projection: an identity is written, which transformers needs", place));
    if (config.sharing == Sharing::attention || config.sharing == Sharing::ffn)
        log_information(
            fmt::format("{} shares one part of its layers alone, which transformers cannot: shared parts are "
                        "written once for every iteration",
                        place));
    if (config.head_layer_norm_epsilon != config.layer_norm_epsilon)
        log_warning(
            fmt::format("{}: the masked-residue head's layer norm has the epsilon {}, where transformers will "
                        "use {}: its predictions differ slightly, hidden states do not",
                        place, config.head_layer_norm_epsilon, config.layer_norm_epsilon));
}

void to_hugging_face(const WeightSource& source, const fs::path& output, const Options& options,
                     const Communicator& alone) {
    const ModelConfig config = config_from_json(source.header.config, source.place);
    const Vocabulary vocabulary = make_vocabulary(source.header.vocabulary, source.place);
    const std::string sentencepiece = matching_sentencepiece(options, vocabulary, source.place);
    remark_on_export(config, source.place);
    const fs::path temporary = output.string() + ".part";
    if (fs::exists(temporary) && !(fs::is_directory(temporary) && is_own_folder(temporary)))
        throw InputError(fmt::format("{} is in the way and not from an earlier protalbert_convert; move it away",
                                     temporary.string()));
    require_space(output.parent_path(), exported_bytes(config), output.string());
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    try {
        write_hugging_face(
            temporary, config, vocabulary,
            [&](const Parameter& parameter, float* values) { read_weights(source, parameter, values, alone); },
            sentencepiece);
    } catch (const InputError&) {
        fs::remove_all(temporary);
        throw;
    }
    if (!fs::exists(output)) return rename_durably(temporary, output);
    // A folder that is not empty cannot be replaced by one rename; the old one is whole until the new one is.
    const fs::path old = output.string() + ".old";
    fs::rename(output, old);
    rename_durably(temporary, output);
    fs::remove_all(old);
}

void convert(const Options& options, const Communicator& alone) {
    const auto start = std::chrono::steady_clock::now();
    const fs::path output = output_path(options);
    require_writable_beside(output, "output");
    RunLock lock;
    lock.take(output_place(output, "output"), true, alone);
    const std::string input = locate_model(options.input);
    check_output(output, options, !is_hugging_face_folder(input));

    WeightSource source = open_weights(input, alone, options.vocabulary);
    if (source.hugging_face)
        to_checkpoint(source, output, alone);
    else
        to_hugging_face(source, output, options, alone);

    const ParameterLayout layout = make_parameter_layout(config_from_json(source.header.config, source.place));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    log_information(fmt::format("{} is {} as a {}: {} parameters, {} pieces, in {}", output.string(), source.place,
                                source.hugging_face ? "checkpoint" : "Hugging Face folder",
                                format_count(static_cast<std::uint64_t>(layout.count())),
                                source.header.vocabulary.size(), format_duration(seconds)));
}

int run(int argc, char** argv, const Communicator& communicator) {
    // 1. The command line.
    Options options;
    if (const auto code = parse(options, argc, argv, communicator)) return *code;

    // 2. One rank does it all: reading and writing a file is bound by the disk.
    const Communicator alone = communicator.split(communicator.rank());
    on_root(communicator, [&] { convert(options, alone); });
    return exit_done;
}

}  // namespace

int main(int argc, char** argv) {
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}

#include "train/run_state.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <sstream>

#include "base/deck.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "comm/program.hpp"
#include "io/checkpoint.hpp"
#include "model/weight_source.hpp"

namespace protalbert {

namespace fs = std::filesystem;

namespace {

std::vector<NamedArray> named_arrays(const ParameterLayout& layout, float* values /*[layout.size]*/) {
    std::vector<NamedArray> arrays;
    for (const Parameter& parameter : layout.parameters)
        arrays.push_back({parameter.name, parameter.shape, values + parameter.offset});
    return arrays;
}

/// A device array as the host reads it: in place where it can, so that a save takes no memory, else a copy.
struct HostArray {
    std::vector<float> copy;
    float* values;  ///< [layout.size]

    HostArray(const DeviceMemory& array, const Model& model) : values(array.as<float>()) {
        if (model.backend->host_reaches_memory()) {
            model.backend->synchronize({});
        } else {
            copy = download_array(array, model);
            values = copy.data();
        }
    }
};

std::vector<float> host_array(const Model& model) {
    return std::vector<float>(static_cast<std::size_t>(model.layout.size), 0.0F);
}

void upload_array(const DeviceMemory& array, const std::vector<float>& values, Backend& backend) {
    backend.upload(array.data(), values.data(), values.size() * sizeof(float), {});
    backend.synchronize({});
}

/// What rank 0 finds, for all: files may come and go while ranks look on their own.
fs::path resolve_together(const std::string& path, const Communicator& communicator) {
    std::string found;
    on_root(communicator, [&] { found = resolve_checkpoint(path).string(); });
    return communicator.broadcast(found, 0);
}

std::vector<fs::path> list_together(const fs::path& folder, const Communicator& communicator) {
    std::string lines;
    on_root(communicator, [&] {
        for (const fs::path& file : list_checkpoints(folder)) lines += file.string() + '\n';
    });
    std::istringstream input(communicator.broadcast(lines, 0));
    std::vector<fs::path> files;
    for (std::string line; std::getline(input, line);) files.emplace_back(line);
    return files;
}

/// "id 7: A against C" for the first few ids that differ.
std::vector<std::string> vocabulary_differences(const std::vector<std::string>& ours,
                                                const std::vector<std::string>& theirs) {
    constexpr std::size_t most = 5;
    std::vector<std::string> lines;
    if (ours.size() != theirs.size()) lines.push_back(fmt::format("{} pieces against {}", ours.size(), theirs.size()));
    for (std::size_t id = 0; id < std::min(ours.size(), theirs.size()) && lines.size() < most; ++id)
        if (ours[id] != theirs[id]) lines.push_back(fmt::format("id {}: {} against {}", id, ours[id], theirs[id]));
    return lines;
}

void check_vocabulary(const CheckpointHeader& header, const fs::path& file, const Corpus& corpus) {
    const auto lines = vocabulary_differences(corpus.vocabulary().pieces, header.vocabulary);
    if (!lines.empty())
        throw InputError(
            fmt::format("the vocabulary of corpus {} differs from that of checkpoint {}: {}; prepare the corpus with "
                        "the checkpoint's vocabulary",
                        corpus.path(), file.string(), fmt::join(lines, ", ")));
}

bool same_tensors(const ParameterLayout& ours, const ParameterLayout& theirs) {
    return std::equal(ours.parameters.begin(), ours.parameters.end(), theirs.parameters.begin(),
                      theirs.parameters.end(), [](const Parameter& left, const Parameter& right) {
                          return left.name == right.name && left.shape == right.shape;
                      });
}

/// "train.steps 100 -> 200" for the keys that `wanted` chooses.
template <class Wanted>
std::string changes_text(const std::vector<DeckChange>& changes, const Wanted& wanted) {
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("not set") : value; };
    std::vector<std::string> lines;
    for (const DeckChange& change : changes)
        if (wanted(change.key))
            lines.push_back(fmt::format("{} {} -> {}", change.key, shown(change.before), shown(change.after)));
    return fmt::format("{}", fmt::join(lines, ", "));
}

/// Keys that decide where, how long and with what a run goes on, not what it learns from a step.
bool is_about_running(const std::string& key) {
    constexpr const char* keys[] = {"train.steps", "train.batch_tokens", "data.corpus", "data.validation"};
    return key.starts_with("run.") || key.starts_with("checkpoint.") ||
           std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

/// Rank 0 says what the deck changes since the checkpoint; the model's table was compared by what it means.
void report_changes(const CheckpointHeader& header, const fs::path& file, const std::string& deck) {
    if (deck.empty()) return;
    const auto changes = deck_changes(Deck::parse(header.deck, file.string()), Deck::parse(deck, "deck"));
    const std::string running = changes_text(changes, is_about_running);
    const std::string training = changes_text(
        changes, [](const std::string& key) { return !is_about_running(key) && !key.starts_with("model."); });
    if (!running.empty()) log_information(fmt::format("changed since {} was written: {}", file.string(), running));
    if (!training.empty())
        log_warning(fmt::format("the deck trains otherwise than until {}: {}", file.string(), training));
}

void check_resumable(const CheckpointHeader& header, const fs::path& file, const TrainState& state,
                     const StartOptions& options, const TrainSettings& settings, const Corpus& corpus,
                     const Communicator& communicator) {
    std::vector<std::string> lines = differences(state.model.config, config_from_json(header.config, file.string()));
    check_vocabulary(header, file, corpus);
    // A corpus made by other means has no hash, and cannot be told from others.
    if (header.corpus_hash != corpus.hash() && header.corpus_hash != 0 && corpus.hash() != 0)
        lines.push_back(fmt::format("corpus {} has hash {:016x} against {:016x}", corpus.path(), corpus.hash(),
                                    header.corpus_hash));
    if (!lines.empty())
        throw InputError(
            fmt::format("the deck's model or corpus differs from that of checkpoint {}: {}; use the deck and the "
                        "corpus of that run, or another checkpoint.directory, with --init for the weights",
                        file.string(), fmt::join(lines, ", ")));
    if (!communicator.root()) return;
    log_information(fmt::format("checkpoint {} was written by {}", file.string(),
                                header.program.empty() ? "an unknown program" : header.program));
    report_changes(header, file, options.deck);
    if (header.samples != header.step * static_cast<std::uint64_t>(settings.global_batch))
        log_warning(
            fmt::format("train.global_batch has changed since {} was written: of this epoch, some sequences "
                        "come again or not at all",
                        file.string()));
}

void load_all(TrainState& state, const fs::path& file, const CheckpointHeader& header,
              const Communicator& communicator) {
    Backend& backend = *state.model.backend;
    std::vector<float> parameters = host_array(state.model), m = parameters, v = parameters;
    const ParameterLayout& layout = state.model.layout;
    read_checkpoint(
        file, {named_arrays(layout, parameters.data()), named_arrays(layout, m.data()), named_arrays(layout, v.data())},
        communicator);
    set_parameters(state.model, parameters);
    upload_array(state.m, m, backend);
    upload_array(state.v, v, backend);
    state.step = header.step;
    state.samples = header.samples;
}

/// The newest checkpoint that can be read; false when there is none.
bool resume_newest(TrainState& state, Start& start, const StartOptions& options, const TrainSettings& settings,
                   const Corpus& corpus, const Communicator& communicator) {
    for (const fs::path& file : list_together(settings.directory, communicator)) {
        CheckpointHeader header;
        try {
            header = read_checkpoint_header(file, communicator);
        } catch (const InputError& error) {
            if (communicator.root()) log_warning(fmt::format("passed over: {}", error.what()));
            continue;
        }
        check_resumable(header, file, state, options, settings, corpus, communicator);
        try {
            load_all(state, file, header, communicator);
        } catch (const InputError& error) {
            if (communicator.root()) log_warning(fmt::format("passed over: {}", error.what()));
            continue;
        }
        start = {StartKind::resumed, file};
        return true;
    }
    return false;
}

/// Takes weights alone from a checkpoint or Hugging Face folder; returns its place.
fs::path load_weights(TrainState& state, const std::string& path, const Corpus& corpus,
                      const Communicator& communicator) {
    const WeightSource source = open_weights(path, communicator);
    const fs::path file = source.place;
    const CheckpointHeader& header = source.header;
    const ModelConfig theirs = config_from_json(header.config, file.string());
    const auto lines = differences(state.model.config, theirs);
    if (!same_tensors(state.model.layout, make_parameter_layout(theirs)))
        throw InputError(fmt::format("--init {}: its tensors do not fit the deck's model: {}; make [model] the same",
                                     file.string(), fmt::join(lines, ", ")));
    check_vocabulary(header, file, corpus);
    if (!lines.empty() && communicator.root())
        log_warning(fmt::format("--init {}: the tensors fit, but the models differ: {}", file.string(),
                                fmt::join(lines, ", ")));
    std::vector<float> parameters = host_array(state.model);
    read_all_weights(source, state.model.layout, parameters.data(), communicator);
    set_parameters(state.model, parameters);
    return file;
}

/// DIRECTORY/set_aside_1, or the first number that is free.
fs::path free_folder(const fs::path& directory) {
    for (int number = 1;; ++number) {
        fs::path folder = directory / fmt::format("set_aside_{}", number);
        if (!fs::exists(folder)) return folder;
    }
}

/// Throws Error unless the array is the same on every rank.
void check_replicas(const float* values, std::int64_t size, const char* what, const Communicator& communicator) {
    const std::uint64_t hash = XXH3_64bits(values, static_cast<std::size_t>(size) * sizeof(float));
    const std::vector<std::uint64_t> hashes = communicator.gather_all(hash);
    const auto other = std::find_if(hashes.begin(), hashes.end(), [&](auto theirs) { return theirs != hashes[0]; });
    if (other != hashes.end())
        throw Error(
            fmt::format("the {} of ranks 0 and {} differ, although they are computed from the same gradients; "
                        "nothing was saved. A machine's memory or network may be faulty: start again from the "
                        "last checkpoint, without the machine of that rank",
                        what, other - hashes.begin()));
}

}  // namespace

std::vector<float> download_array(const DeviceMemory& array, const Model& model) {
    std::vector<float> values(static_cast<std::size_t>(model.layout.size));
    model.backend->download(values.data(), array.data(), values.size() * sizeof(float), {});
    model.backend->synchronize({});
    return values;
}

Start restore_state(TrainState& state, const StartOptions& options, const TrainSettings& settings, const Corpus& corpus,
                    const Communicator& communicator) {
    Start start;
    if (options.resume == "auto") {
        if (resume_newest(state, start, options, settings, corpus, communicator)) return start;
    } else if (options.resume != "never") {
        start = {StartKind::resumed, resolve_together(options.resume, communicator)};
        const CheckpointHeader header = read_checkpoint_header(start.checkpoint, communicator);
        check_resumable(header, start.checkpoint, state, options, settings, corpus, communicator);
        load_all(state, start.checkpoint, header, communicator);
        return start;
    }
    if (!options.init.empty()) {
        start = {StartKind::initialised, load_weights(state, options.init, corpus, communicator)};
    } else {
        set_parameters(state.model, initial_parameters(state.model.layout, state.model.config, settings.sample.seed));
    }
    return start;
}

void make_directories(const TrainSettings& settings, const Communicator& communicator) {
    on_root(communicator, [&] {
        for (const fs::path& folder : {settings.directory, settings.metrics.parent_path()}) {
            std::error_code error;
            if (!folder.empty()) fs::create_directories(folder, error);
            if (error)
                throw_unwritable(error.value(),
                                 fmt::format("cannot create {}: {}; set checkpoint.directory and run.metrics to places "
                                             "that can be written",
                                             folder.string(), error.message()));
        }
    });
}

void prepare_directory(const TrainState& state, const TrainSettings& settings, const Communicator& communicator) {
    on_root(communicator, [&] {
        const fs::path& directory = settings.directory;
        require_writable_place(directory / checkpoint_name(0), "checkpoint");
        require_writable_file(settings.metrics, "metrics file");

        fs::path aside;
        for (const fs::path& file : list_checkpoints(directory)) {
            if (file.filename() <= checkpoint_name(state.step) && state.step > 0) break;  // newest first
            if (aside.empty()) {
                aside = free_folder(directory);
                fs::create_directories(aside);
                if (fs::is_regular_file(settings.metrics))
                    fs::copy_file(settings.metrics, aside / settings.metrics.filename(),
                                  fs::copy_options::overwrite_existing);
            }
            fs::rename(file, aside / file.filename());
            log_warning(fmt::format("{} is not of this run's past: moved to {}", file.string(), aside.string()));
        }
    });
}

SaveResult save_state(const TrainState& state, std::uint64_t step, std::uint64_t samples, const std::string& deck,
                      const TrainSettings& settings, const Corpus& corpus, const Communicator& communicator) {
    const Model& model = state.model;
    const ParameterLayout& layout = model.layout;
    const HostArray parameters(model.parameters, model), m(state.m, model), v(state.v, model);
    check_replicas(parameters.values, layout.size, "parameters", communicator);
    check_replicas(m.values, layout.size, "first moments", communicator);
    check_replicas(v.values, layout.size, "second moments", communicator);

    const CheckpointHeader header = {.step = step,
                                     .samples = samples,
                                     .deck = deck,
                                     .config = to_json(model.config),
                                     .corpus_hash = corpus.hash(),
                                     .vocabulary = corpus.vocabulary().pieces,
                                     .program = {}};
    SaveResult result{settings.directory / checkpoint_name(step), {}};
    try {
        write_checkpoint(
            result.file, header,
            {named_arrays(layout, parameters.values), named_arrays(layout, m.values), named_arrays(layout, v.values)},
            communicator);
    } catch (const Error& error) {  // on all ranks alike
        result.problem = error.what();
        return result;
    }
    if (communicator.root()) prune_checkpoints(settings.directory, settings.keep, settings.keep_every);
    return result;
}

bool take_save_request(const TrainSettings& settings) {
    std::error_code error;
    return fs::remove(settings.directory / "save", error);
}

}  // namespace protalbert

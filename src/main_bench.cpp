// protalbert_bench: measures parts of the program; figures are ratios within one run wherever that is possible.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "bench/bench.hpp"
#include "comm/local_gpu.hpp"
#include "comm/program.hpp"
#include "comm/run_lock.hpp"

namespace {

using namespace protalbert;

int run(int argc, char** argv, const Communicator& communicator) {
    CLI::App app{"Measures parts of the program.", "protalbert_bench"};
    std::string json;
    app.add_option("--json", json, "file for the figures, as JSON");
    app.require_subcommand(1);
    app.fallthrough();  // --json also after the subcommand

    struct Command {
        CLI::App* parser;
        BenchAction action;
    };
    std::vector<Command> commands;
    const auto add = [&](const char* name, const char* description, BenchAction (*options)(CLI::App&)) {
        CLI::App* parser = app.add_subcommand(name, description);
        commands.push_back({parser, options(*parser)});
    };
    add("kernels", "every numerical operation: time, bandwidth, FLOP/s; products beside oneDNN's", add_bench_kernels);
    add("train", "training steps: tokens/s, FLOP/s, the time of each part", add_bench_train);
    add("embed", "embedding, with random weights or a checkpoint's: residues/s, FLOP/s beside oneDNN's plain product",
        add_bench_embed);
    add("io", "preparing a corpus, beside cat and wc -l; checkpoints, beside dd", add_bench_io);
    add("parameters", "parameters of the presets, of a deck and of the ALBERT paper's tables", add_bench_parameters);
    add("sentence", "accuracy of a trained model on masked residues and on both sentence tasks", add_bench_sentence);
    add("stability", "how much each iteration of a trained model changes the hidden states", add_bench_stability);
    add("collectives", "sums and exchanges between ranks: bandwidth, latency, outliers", add_bench_collectives);
    add("hdf5", "one HDF5 file shared by all ranks, beside a plain file a rank", add_bench_hdf5);
    add("simulate", "the input side of an epoch at any number of ranks", add_bench_simulate);
    add("plan", "what a run will cost: step time and its parts, memory, hours, efficiency", add_bench_plan);
    if (const auto code = parse_command_line(app, argc, argv, communicator)) return *code;

    RunLock lock;
    if (!json.empty()) {
        bool held = false;  // not a device, as /dev/stdout, which is for all
        on_root(communicator, [&] {
            require_writable_file(json, "--json");
            held = !std::filesystem::exists(json) || std::filesystem::is_regular_file(json);
        });
        communicator.broadcast(&held, sizeof held, 0);
        if (held) lock.take(output_place(json, "--json"), true, communicator);
    }

    BenchRun bench{communicator, {}, {}};
    std::string name;
    for (const Command& command : commands) {
        if (!command.parser->parsed()) continue;
        name = command.parser->get_name();
        command.action(bench);
    }
    if (!json.empty() && communicator.root()) {
        std::ofstream file(json);
        file << bench.report.dump(2) << '\n';
        if (!file.flush()) throw Error("cannot write " + json + "; choose another place with --json");
    }
    // The last line, for jobscripts/scaling_report.py and others like it.
    nlohmann::ordered_json line = {
        {"benchmark", name},         {"figure", bench.figure.name},   {"value", bench.figure.value},
        {"unit", bench.figure.unit}, {"ranks", communicator.ranks()}, {"threads", threads_for_rank(communicator)}};
    line.update(bench.figure.details);
    log_information("figure-of-merit " + line.dump());
    return exit_done;
}

}  // namespace

int main(int argc, char** argv) {
    protalbert::take_launched_gpu(argc, argv);
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}

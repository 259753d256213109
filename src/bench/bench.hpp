#pragma once
// The subcommands of protalbert_bench, one file each. A subcommand prints a table for people and fills `report` for
// --json; figures are ratios measured in one run wherever that is possible.

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/communicator.hpp"

namespace protalbert {

/// The one number that a run is judged by, for scripts that collect many runs.
struct FigureOfMerit {
    std::string name;
    double value = 0;
    std::string unit;
    nlohmann::json details = nlohmann::json::object();  ///< what it was measured with, and its parts
};

struct BenchRun {
    const Communicator& communicator;
    nlohmann::json report;
    FigureOfMerit figure;
};

/// What a subcommand does once its options are parsed.
using BenchAction = std::function<void(BenchRun&)>;

// Each adds its options to its subcommand and returns its action; the options live in the action.
BenchAction add_bench_kernels(CLI::App& command);     ///< every kernel of backend.hpp: time, bandwidth, FLOP/s
BenchAction add_bench_train(CLI::App& command);       ///< training steps on real or random proteins: tokens/s, FLOP/s
BenchAction add_bench_embed(CLI::App& command);       ///< embedding with random weights: residues/s, FLOP/s
BenchAction add_bench_io(CLI::App& command);          ///< a corpus beside cat and wc -l, checkpoints beside dd
BenchAction add_bench_parameters(CLI::App& command);  ///< parameters of presets, of a deck and of the paper's tables
BenchAction add_bench_sentence(CLI::App& command);    ///< accuracy of a trained model on both sentence tasks
BenchAction add_bench_stability(CLI::App& command);   ///< what each iteration of a trained model changes
BenchAction add_bench_collectives(
    CLI::App& command);                             ///< sums and exchanges between ranks: bandwidth, latency, outliers
BenchAction add_bench_hdf5(CLI::App& command);      ///< one shared HDF5 file beside plain files
BenchAction add_bench_simulate(CLI::App& command);  ///< the input side of an epoch at any number of ranks
BenchAction add_bench_plan(CLI::App& command);      ///< predicts a run's step, memory, hours and efficiency

}  // namespace protalbert

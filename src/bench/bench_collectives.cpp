// protalbert_bench collectives: what training asks of the network. The gradient's ranges summed over ranks, the
// exchange of a step's residues, a step's small sum, and pairs of ranks, which show whose link is slow.

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_device.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/slow_ranks.hpp"
#include "comm/gradient_reduction.hpp"
#include "data/epoch_order.hpp"
#include "kernels/handles.hpp"
#include "model/parameters.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    ModelSizes sizes;
    int repeats = 10;
    std::int64_t batch = 10753;
    DeviceChoice device;
};

/// Mean residues of a UniRef100 sequence cut at 512, for the exchange.
constexpr double mean_residues = 320;
constexpr std::size_t longest_machine_name = 64;

/// Median seconds of `work` on this rank, each run behind a barrier.
double time_of(int repeats, const Communicator& communicator, const std::function<void()>& work) {
    std::vector<double> seconds;
    for (int i = 0; i <= repeats; ++i) {
        communicator.barrier();
        const auto start = Clock::now();
        work();
        if (i > 0)
            seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());  // the first warms up
    }
    return median(seconds);
}

/// values [n] of each rank: [ranks][n].
std::vector<std::vector<double>> gather(const std::vector<double>& values, const Communicator& communicator) {
    std::vector<std::byte> bytes(values.size() * sizeof(double));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    const std::vector<std::byte> all = communicator.concatenate(bytes);
    std::vector<std::vector<double>> gathered(static_cast<std::size_t>(communicator.ranks()),
                                              std::vector<double>(values.size()));
    for (std::size_t rank = 0; rank < gathered.size(); ++rank)
        std::memcpy(gathered[rank].data(), &all[rank * bytes.size()], bytes.size());
    return gathered;
}

std::vector<std::string> machines(const Communicator& communicator) {
    std::vector<std::byte> name(longest_machine_name);
    gethostname(reinterpret_cast<char*>(name.data()), name.size() - 1);
    const std::vector<std::byte> all = communicator.concatenate(name);
    std::vector<std::string> names;
    for (std::size_t begin = 0; begin < all.size(); begin += longest_machine_name)
        names.emplace_back(reinterpret_cast<const char*>(&all[begin]));
    return names;
}

/// Seconds in which this rank exchanges `buffer` with the ranks at each distance behind and before it in the ring.
std::vector<double> times_of_pairs(const std::vector<float>& buffer, const std::vector<int>& distances, int repeats,
                                   const Communicator& communicator) {
    std::vector<float> arriving(buffer.size());
    std::vector<double> seconds;
    const int ranks = communicator.ranks(), rank = communicator.rank();
    for (const int distance : distances)
        seconds.push_back(time_of(repeats, communicator, [&] {
            check_mpi(MPI_Sendrecv(buffer.data(), static_cast<int>(buffer.size()), MPI_FLOAT, (rank + distance) % ranks,
                                   0, arriving.data(), static_cast<int>(arriving.size()), MPI_FLOAT,
                                   (rank + ranks - distance) % ranks, 0, communicator.handle(), MPI_STATUS_IGNORE),
                      "MPI_Sendrecv");
        }));
    return seconds;
}

/// Exchanges between pairs of ranks, through MPI from host memory; names those that take longer than others.
nlohmann::json measure_pairs(int repeats, const std::vector<std::string>& names, const Communicator& communicator) {
    constexpr std::size_t values = std::size_t{1} << 22;  // 16 MiB: far above what latency matters for
    const std::vector<float> buffer(values, 1.0F);
    std::vector<int> distances;
    for (int distance = 1; distance < communicator.ranks(); distance *= 2) distances.push_back(distance);
    const auto seconds = gather(times_of_pairs(buffer, distances, repeats, communicator), communicator);
    std::vector<double> rates;
    for (const std::vector<double>& of_rank : seconds)
        for (const double time : of_rank) rates.push_back(1e-9 * static_cast<double>(values * sizeof(float)) / time);
    log_information(fmt::format("pairs of ranks: {} both ways, {:.3f} GB/s per rank in the median, {:.3f} at worst",
                                format_bytes(static_cast<double>(values * sizeof(float))), median(rates),
                                *std::min_element(rates.begin(), rates.end())));
    const SlowRanks slow = find_slow_ranks(seconds, distances, names);
    nlohmann::json outliers = nlohmann::json::array();
    for (const SlowRank& rank : slow.found) {
        const char* const where = rank.between_machines ? "with other machines" : "within its machine";
        const std::string& machine = names[static_cast<std::size_t>(rank.rank)];
        log_information(fmt::format("outlier: rank {} on {}: exchanges {} take {:.2f} times as long as usual",
                                    rank.rank, machine, where, rank.factor));
        outliers.push_back({{"rank", rank.rank}, {"machine", machine}, {"where", where}, {"factor", rank.factor}});
    }
    if (!slow.judged_within && !slow.judged_between)
        log_information("outliers cannot be told among fewer than four ranks of a machine or four machines");
    else if (outliers.empty())
        log_information(fmt::format("no outliers: no rank takes more than {} times as long as usual", slow_factor));
    return outliers;
}

/// Seconds of the slowest rank in a step's exchange of residues, where the ranks that have read a window's blocks send
/// to all. `bytes`: what each of those sends.
double measure_exchange(double& bytes, const Options& options, const Communicator& communicator) {
    const auto ranks = static_cast<std::size_t>(communicator.ranks());
    const auto senders = std::min(ranks, static_cast<std::size_t>(BlockSettings{}.blocks_per_window));
    bytes = mean_residues * static_cast<double>(options.batch) / static_cast<double>(senders);
    const auto rank = static_cast<std::size_t>(communicator.rank());
    // As far from each other as they can be.
    const bool sends = (rank + 1) * senders / ranks > rank * senders / ranks;
    std::vector<std::vector<std::byte>> outgoing(ranks);
    for (std::size_t to = 0; sends && to < ranks; ++to) {
        const auto until = [&](std::size_t part) {
            return static_cast<std::size_t>(bytes * static_cast<double>(part) / static_cast<double>(ranks));
        };
        outgoing[to].resize(until(to + 1) - until(to));
    }
    double seconds = time_of(options.repeats, communicator, [&] { communicator.exchange(outgoing); });
    communicator.maximum(&seconds, 1);
    return seconds;
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const int ranks = communicator.ranks();
    const std::vector<std::string> names = machines(communicator);
    const ModelConfig config = bench_model(options.sizes, default_vocabulary());
    const ParameterLayout layout = make_parameter_layout(config);
    const std::unique_ptr<Backend> backend = make_backend(options.device, communicator);
    const auto gradient_bytes = static_cast<std::size_t>(layout.size) * sizeof(float);
    const DeviceMemory gradient(*backend, gradient_bytes);
    GradientReduction reduction(communicator, *backend, gradient_bytes);
    const auto sum = [&](std::int64_t offset, std::int64_t size) {
        reduction.start(gradient.as<float>() + offset, size);
        reduction.finish();
        backend->synchronize({});
    };
    log_information(fmt::format("{}; {} ranks on {} machines; gradients on {}, summed by {}; medians of {} runs",
                                describe(config), ranks, std::set<std::string>(names.begin(), names.end()).size(),
                                backend->description(), reduction.description(), options.repeats));

    const double host_latency = time_of(100 * options.repeats, communicator, [&] {
        double one = 1;
        communicator.sum(&one, 1);
    });
    const double latency = time_of(100 * options.repeats, communicator, [&] { sum(0, 1); });
    log_information(
        fmt::format("sum of one number       {:10.1f} us, by MPI alone {:.1f} us", 1e6 * latency, 1e6 * host_latency));

    log_information(
        fmt::format("{:<52}{:>12}{:>10}{:>16}", "sum of the gradient's ranges", "bytes", "ms", "GB/s per rank"));
    double total_bytes = 0, total_seconds = 0;
    // What a ring moves through each rank's link, in each direction: 2 (n - 1) / n of the bytes.
    const double ring = 2.0 * (ranks - 1) / ranks;
    for (const GradientRange& range : gradient_order(layout)) {
        double seconds = time_of(options.repeats, communicator, [&] { sum(range.offset, range.size); });
        communicator.maximum(&seconds, 1);
        const double bytes = static_cast<double>(range.size) * sizeof(float);
        const auto first = std::find_if(layout.parameters.begin(), layout.parameters.end(),
                                        [&](const Parameter& p) { return p.offset == range.offset; });
        log_information(fmt::format("  {:<50}{:>12}{:>10.3f}{:>16.3f}",
                                    first == layout.parameters.end()
                                        ? ""
                                        : first->name.substr(first->name.size() > 50 ? first->name.size() - 50 : 0),
                                    format_bytes(bytes), 1e3 * seconds, 1e-9 * ring * bytes / seconds));
        bench.report["sums"].push_back({{"bytes", bytes}, {"seconds", seconds}});
        total_bytes += bytes;
        total_seconds += seconds;
    }
    const double bandwidth = ring * total_bytes / total_seconds;
    log_information(fmt::format("  {:<50}{:>12}{:>10.3f}{:>16.3f}", "together", format_bytes(total_bytes),
                                1e3 * total_seconds, 1e-9 * bandwidth));

    double exchanged = 0;
    const double exchange = measure_exchange(exchanged, options, communicator);
    log_information(
        fmt::format("exchange of a step of {} sequences: {} from a sender, {:.3f} ms, {:.3f} GB/s per sender",
                    options.batch, format_bytes(exchanged), 1e3 * exchange, 1e-9 * exchanged / exchange));

    const nlohmann::json outliers =
        ranks > 1 ? measure_pairs(options.repeats, names, communicator) : nlohmann::json::array();
    bench.report["latency_seconds"] = latency;
    bench.report["exchange_seconds"] = exchange;
    bench.report["outliers"] = outliers;
    bench.figure = {"sum_bytes_per_second",
                    bandwidth,
                    "bytes/s per rank",
                    {{"gradient_bytes", total_bytes},
                     {"gradient_seconds", total_seconds},
                     {"latency_seconds", latency},
                     {"exchange_seconds", exchange},
                     {"reduction", reduction.description()},
                     {"outliers", outliers}}};
}

}  // namespace

BenchAction add_bench_collectives(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    add_model_options(command, options->sizes);
    command.add_option("--repeats", options->repeats, "runs of which the median counts")
        ->capture_default_str()
        ->check(CLI::Range(1, 10000));
    command.add_option("--batch", options->batch, "sequences of the step that is exchanged")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    command.add_option("--device", options->device.device, "where the gradients are: auto, cpu or cuda")
        ->take_last()
        ->capture_default_str();
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

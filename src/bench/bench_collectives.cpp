// protalbert_bench collectives: what training asks of the network. The gradient's ranges summed over ranks, the
// exchange of a step's residues, a step's small sum, and pairs of ranks, which show whose link is slow.

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
#include "bench/bench_proteins.hpp"
#include "comm/gradient_reduction.hpp"
#include "model/parameters.hpp"
#include "model/training_workspace.hpp"

namespace protalbert {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    ModelSizes sizes;
    int repeats = 10;
    std::int64_t batch = 10753;
};

/// Times over 1.5 of the median are named: a healthy network's medians lie within about 20 % of each other, and a link
/// at half its rate, as one lost lane or the wrong adapter leaves it, takes twice as long.
constexpr double outlier_factor = 1.5;
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

std::vector<double> gather(double value, const Communicator& communicator) {
    std::vector<std::byte> bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    const std::vector<std::byte> all = communicator.concatenate(bytes);
    std::vector<double> values(static_cast<std::size_t>(communicator.ranks()));
    std::memcpy(values.data(), all.data(), all.size());
    return values;
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

/// The ranks whose time exceeds the median of all by outlier_factor, one line each.
nlohmann::json name_outliers(const std::string& what, const std::vector<double>& seconds,
                             const std::vector<std::string>& names) {
    const double usual = median(seconds);
    nlohmann::json found = nlohmann::json::array();
    for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
        if (seconds[rank] <= outlier_factor * usual) continue;
        log_information(fmt::format("outlier: {}: rank {} on {} takes {:.2f} times the median of all ranks", what, rank,
                                    names[rank], seconds[rank] / usual));
        found.push_back({{"what", what}, {"rank", rank}, {"machine", names[rank]}, {"factor", seconds[rank] / usual}});
    }
    return found;
}

/// Seconds in which this rank exchanges `buffer` with partners at distances 1, 2, 4 ... around the ring, the median
/// over them: a slow link shows with all partners, a slow partner with one.
double time_of_pairs(std::vector<float>& buffer, int repeats, const Communicator& communicator) {
    std::vector<float> arriving(buffer.size());
    std::vector<double> seconds;
    const int ranks = communicator.ranks(), rank = communicator.rank();
    for (int distance = 1; distance < ranks; distance *= 2)
        seconds.push_back(time_of(repeats, communicator, [&] {
            check_mpi(MPI_Sendrecv(buffer.data(), static_cast<int>(buffer.size()), MPI_FLOAT, (rank + distance) % ranks,
                                   0, arriving.data(), static_cast<int>(arriving.size()), MPI_FLOAT,
                                   (rank + ranks - distance) % ranks, 0, communicator.handle(), MPI_STATUS_IGNORE),
                      "MPI_Sendrecv");
        }));
    return median(seconds);
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const int ranks = communicator.ranks();
    const std::vector<std::string> names = machines(communicator);
    const ModelConfig config = bench_model(options.sizes, default_vocabulary());
    const ParameterLayout layout = make_parameter_layout(config);
    std::vector<float> gradient(static_cast<std::size_t>(layout.size), 1.0F);
    GradientReduction reduction(communicator);
    nlohmann::json outliers = nlohmann::json::array();
    log_information(fmt::format("{}; {} ranks on {} machines; medians of {} runs", describe(config), ranks,
                                std::set<std::string>(names.begin(), names.end()).size(), options.repeats));

    const double latency = time_of(100 * options.repeats, communicator, [&] {
        double one = 1;
        communicator.sum(&one, 1);
    });
    log_information(fmt::format("sum of one number       {:10.1f} us", 1e6 * latency));

    log_information(
        fmt::format("{:<52}{:>12}{:>10}{:>16}", "sum of the gradient's ranges", "bytes", "ms", "GB/s per rank"));
    double total_bytes = 0, total_seconds = 0;
    // What a ring moves through each rank's link, in each direction: 2 (n - 1) / n of the bytes.
    const double ring = 2.0 * (ranks - 1) / ranks;
    for (const GradientRange& range : gradient_order(layout)) {
        double seconds = time_of(options.repeats, communicator, [&] {
            reduction.start(gradient.data() + range.offset, range.size);
            reduction.finish();
        });
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

    const auto piece = static_cast<std::size_t>(mean_residues * static_cast<double>(options.batch) / ranks / ranks);
    const std::vector<std::vector<std::byte>> outgoing(static_cast<std::size_t>(ranks), std::vector<std::byte>(piece));
    const double exchange = time_of(options.repeats, communicator, [&] { communicator.exchange(outgoing); });
    const auto exchanged = static_cast<double>(piece) * (ranks - 1);
    log_information(fmt::format("exchange of a step of {} sequences: {} a rank, {:.3f} ms, {:.3f} GB/s per rank",
                                options.batch, format_bytes(exchanged), 1e3 * exchange, 1e-9 * exchanged / exchange));

    double pairs = 0;
    if (ranks > 1) {
        constexpr std::size_t most = std::size_t{1} << 22;  // 16 MiB: far above what latency matters for
        gradient.resize(std::min(gradient.size(), most));
        pairs = time_of_pairs(gradient, options.repeats, communicator);
        const double bytes = static_cast<double>(gradient.size()) * sizeof(float);
        const std::vector<double> seconds = gather(pairs, communicator);
        log_information(fmt::format("pairs of ranks: {} both ways, {:.3f} GB/s per rank in the median, {:.3f} at worst",
                                    format_bytes(bytes), 1e-9 * bytes / median(seconds),
                                    1e-9 * bytes / *std::max_element(seconds.begin(), seconds.end())));
        outliers = name_outliers("pairs of ranks", seconds, names);
    }
    if (outliers.empty())
        log_information(fmt::format("no outliers: no rank takes more than {} times the median", outlier_factor));
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
                     {"outliers", outliers.size()}}};
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
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

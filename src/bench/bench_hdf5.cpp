// protalbert_bench hdf5: one HDF5 file shared by all ranks, each writing and reading its own rows collectively as
// checkpoints and embeddings do, in turn with a plain file a rank: what the disks give without HDF5.

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "base/positioned_file.hpp"
#include "base/progress.hpp"
#include "bench/bench.hpp"
#include "bench/bench_proteins.hpp"
#include "bench/scratch_folder.hpp"
#include "comm/program.hpp"
#include "io/hdf5.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Options {
    std::string folder = fs::temp_directory_path().string();
    std::uint64_t megabytes = 256;
    int repeats = 3;
};

/// Seconds of the slowest rank.
double time_of(const Communicator& communicator, const std::function<void()>& work) {
    communicator.barrier();
    const auto start = Clock::now();
    work();
    double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    communicator.maximum(&seconds, 1);
    return seconds;
}

struct Seconds {
    std::vector<double> write, read;
};

void check_content(const std::vector<float>& read, const std::vector<float>& written, const fs::path& file) {
    if (read != written)
        throw Error(fmt::format("{} does not hold what was written: its disk is damaged", file.string()));
}

void run_plain(const fs::path& file, const std::vector<float>& values, std::vector<float>& arriving, Seconds& seconds,
               const Communicator& communicator) {
    const std::size_t bytes = values.size() * sizeof(float);
    { const Hdf5File made = Hdf5File::create_alone(file.string(), 0); }
    seconds.write.push_back(time_of(communicator, [&] {
        const PositionedFile plain(file.string(), true);
        plain.write(values.data(), bytes, 0);
        plain.sync();
    }));
    forget_pages(file);
    seconds.read.push_back(
        time_of(communicator, [&] { PositionedFile(file.string(), false).read(arriving.data(), bytes, 0); }));
    check_content(arriving, values, file);
    fs::remove(file);
}

void run_shared(const fs::path& file, const std::vector<float>& values, std::vector<float>& arriving, Seconds& seconds,
                const Communicator& communicator) {
    const auto n = static_cast<std::uint64_t>(values.size());
    const Rows rows{n * static_cast<std::uint64_t>(communicator.rank()), n};
    seconds.write.push_back(time_of(communicator, [&] {
        Hdf5File shared = Hdf5File::create(file.string(), communicator);
        shared.create_dataset("/values", Element::float32, {n * static_cast<std::uint64_t>(communicator.ranks())});
        shared.write("/values", values.data(), rows);
        shared.close();
        sync_to_disk(file);
    }));
    forget_pages(file);
    seconds.read.push_back(time_of(communicator, [&] {
        const Hdf5File shared = Hdf5File::open(file.string(), communicator);
        shared.read("/values", arriving.data(), rows);
    }));
    check_content(arriving, values, file);
    communicator.barrier();
    on_root(communicator, [&] { fs::remove(file); });
}

void run(const Options& options, BenchRun& bench) {
    const Communicator& communicator = bench.communicator;
    const double bytes = static_cast<double>(options.megabytes) * 1e6;
    const ScratchFolder folder(options.folder,
                               2 * options.megabytes * 1000000 * static_cast<std::uint64_t>(communicator.ranks()),
                               communicator);
    std::vector<float> values(static_cast<std::size_t>(bytes / sizeof(float))), arriving(values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>((i + static_cast<std::size_t>(communicator.rank())) % 9973);
    log_information(fmt::format("{} a rank, {} ranks, in {}; written and synced, then read; medians of {} runs",
                                format_bytes(bytes), communicator.ranks(), options.folder, options.repeats));
    Seconds plain, shared;
    // The first round is not counted: a disk takes longer for blocks that it has never held.
    for (int i = 0; i <= options.repeats; ++i) {
        if (i == 1) plain = shared = {};
        run_plain(folder.path() / fmt::format("plain_{}", communicator.rank()), values, arriving, plain, communicator);
        run_shared(folder.path() / "shared.h5", values, arriving, shared, communicator);
    }

    log_information(fmt::format("{:<34}{:>14}{:>18}", "", "MB/s per rank", "MB/s, all ranks"));
    const auto line = [&](const char* what, const char* key, const std::vector<double>& seconds) {
        const double rate = bytes / median(seconds);
        log_information(fmt::format("{:<34}{:>14.0f}{:>18.0f}", what, 1e-6 * rate, 1e-6 * rate * communicator.ranks()));
        bench.report[key] = rate * communicator.ranks();
        return rate * communicator.ranks();
    };
    const double plain_write = line("plain file a rank, written", "plain_write", plain.write);
    const double write = line("shared HDF5 file, written", "hdf5_write", shared.write);
    const double plain_read = line("plain file a rank, read", "plain_read", plain.read);
    const double read = line("shared HDF5 file, read", "hdf5_read", shared.read);
    log_information(fmt::format("HDF5 gives {:.0f} % of the plain files' rate in writing, {:.0f} % in reading",
                                100 * write / plain_write, 100 * read / plain_read));
    bench.figure = {"hdf5_write_bytes_per_second",
                    write,
                    "bytes/s, all ranks",
                    {{"hdf5_read", read}, {"plain_write", plain_write}, {"plain_read", plain_read}}};
}

}  // namespace

BenchAction add_bench_hdf5(CLI::App& command) {
    const auto options = std::make_shared<Options>();
    command.add_option("--folder", options->folder, "on the file system to measure; the files are removed again")
        ->capture_default_str();
    command.add_option("--megabytes", options->megabytes, "of each rank")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000000));
    command.add_option("--repeats", options->repeats, "runs of which the median counts")
        ->capture_default_str()
        ->check(CLI::Range(1, 100));
    return [options](BenchRun& bench) { run(*options, bench); };
}

}  // namespace protalbert

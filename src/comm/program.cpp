#include "comm/program.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/path_text.hpp"
#include "comm/launcher_guard.hpp"
#include "comm/lost_processes.hpp"

namespace protalbert {

namespace {

using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

/// What an exception says to a person and to the shell.
struct Failure {
    std::string message;
    int exit_code = exit_done;
};

/// For use inside a catch block.
Failure current_failure() {
    try {
        throw;
    } catch (const Error& error) {
        return {error.what(), error.exit_code()};
    } catch (const std::filesystem::filesystem_error& error) {
        const bool fault = error.code() == std::errc::no_space_on_device || error.code() == std::errc::io_error;
        return {
            fmt::format("{}: {}; check the path and its permissions", error.path1().string(), error.code().message()),
            fault ? exit_failure : exit_bad_input};
    } catch (const std::bad_alloc&) {
        return {"out of memory; use smaller batches, fewer ranks on this machine, or a machine with more",
                exit_failure};
    } catch (const std::exception& error) {
        return {error.what(), exit_failure};
    } catch (...) {
        return {"an exception of unknown type; this is a mistake in the program", exit_failure};
    }
}

[[noreturn]] void rethrow(const Failure& failure) {
    if (failure.exit_code == exit_bad_input) throw InputError(failure.message);
    throw Error(failure.message, failure.exit_code);
}

/// Ranks that fail alike do so within a fraction of this, seconds; the others would wait for ever.
constexpr double rendezvous_seconds = 1.0;
/// Ranks that fail alone give lower ones this head start, seconds, so that one message is printed, not one a rank.
/// Longer than mpirun takes to end a local job, and bounded so that any rank ends the job within seconds.
constexpr double head_start_seconds = 0.3;
constexpr int head_starts = 8;
/// Time for mpirun to forward the message before it hears of the abort, seconds.
constexpr double forward_seconds = 0.1;
/// An end that is still not reached after so many seconds is forced.
constexpr unsigned forced_end_seconds = 5;

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

void flush_output() {
    std::cout.flush();
    std::fflush(stdout);
    std::fflush(stderr);
}

volatile std::sig_atomic_t forced_exit_code = exit_failure;

extern "C" void force_end(int) { _exit(forced_exit_code); }

/// From now on the process ends within seconds, whatever waits for whom in MPI's or a library's finalization.
void end_soon(int exit_code) {
    forced_exit_code = exit_code;
    std::signal(SIGALRM, force_end);
    alarm(forced_end_seconds);
}

/// What ranks tell each other when they fail.
struct Arrival {
    std::uint64_t message_hash;
    std::uint64_t exit_code;
};

/// The arrivals of all ranks if all fail within the time, else nothing.
std::vector<Arrival> meet_failed_ranks(const Failure& failure, const Communicator& rendezvous) {
    // Static: when the others do not come, MPI may still touch both until the process ends.
    static Arrival mine;
    static std::vector<Arrival> all;
    mine = {std::hash<std::string>{}(failure.message), static_cast<std::uint64_t>(failure.exit_code)};
    all.resize(rendezvous.ranks());
    MPI_Request request;
    int done = 0;
    if (MPI_Iallgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, rendezvous.handle(),
                       &request) != MPI_SUCCESS)
        return {};
    const auto start = Clock::now();
    const double patience = rendezvous_seconds + head_start_seconds * std::min(rendezvous.rank(), head_starts);
    while (Seconds(Clock::now() - start).count() < patience) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return {};
        if (done) return all;
        sleep_for(0.001);
    }
    return {};
}

/// Every rank has failed: each different message is printed once, by the lowest rank that has it.
int end_together(const Failure& failure, const std::vector<Arrival>& all, int rank) {
    constexpr int largest_number_of_messages = 4;  // more help nobody, and there may be thousands of ranks
    const auto same = [&](const Arrival& left, const Arrival& right) {
        return left.message_hash == right.message_hash;
    };
    int different = 0;
    for (int other = 0; other <= rank; ++other) {
        const bool first = std::none_of(all.begin(), all.begin() + other,
                                        [&](const Arrival& arrival) { return same(arrival, all[other]); });
        different += first;
        if (!first || other < rank || different > largest_number_of_messages) continue;
        log_error(failure.message);
    }
    flush_output();
    return static_cast<int>(all.front().exit_code);
}

/// Others go on, or wait for this rank in some collective call: the job ends here.
[[noreturn]] void end_job(const Failure& failure, int rank) {
    set_log_rank(0, 1);
    log_error(fmt::format("rank {}: {}", rank, failure.message));
    flush_output();
    end_soon(failure.exit_code);
    sleep_for(forward_seconds);
    MPI_Abort(MPI_COMM_WORLD, failure.exit_code);
    _exit(failure.exit_code);
}

int fail(const Failure& failure, const Communicator& rendezvous) {
    const std::vector<Arrival> all = meet_failed_ranks(failure, rendezvous);
    if (all.empty()) end_job(failure, rendezvous.rank());
    end_soon(static_cast<int>(all.front().exit_code));
    return end_together(failure, all, rendezvous.rank());
}

/// Waits until every rank is done. Only then may one begin to finalize MPI: when a rank fails while others wait for it
/// in MPI_Finalize, mpirun itself (Open MPI 4.1 with PMIx 4.2) crashes or hangs, about once in fifty times. By then a
/// failed rank uses the rendezvous, so this is MPI's own communicator.
void wait_for_done_ranks() {
    MPI_Request request;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return;
    for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done;) sleep_for(0.001);
}

int refuse_to_work_alone(const LostProcesses& lost) {
    // One process speaks for all, and the end of another one may end it.
    if (lost.speaks)
        log_error(lost.message);
    else
        sleep_for(rendezvous_seconds);
    flush_output();
    return exit_bad_input;
}

/// PMIx asks for the user's home folder, and crashes where neither HOME is set nor the system knows the user, as in
/// containers that run under any number. Empty, it is no folder to anybody.
void survive_without_home() {
    if (getpwuid(geteuid()) == nullptr) setenv("HOME", "", 0);
}

int run_body(const std::function<int(const Communicator&)>& body, int thread_level,
             const std::optional<LostProcesses>& launched) {
    const Communicator rendezvous = Communicator::world();
    set_log_rank(rendezvous.rank(), rendezvous.ranks());
    try {
        if (thread_level < MPI_THREAD_MULTIPLE)
            throw Error(
                "this MPI library does not allow calls from several threads (MPI_THREAD_MULTIPLE); use a build "
                "of it that does");
        const Communicator world = Communicator::world();
        if (launched && world.ranks() == 1) return refuse_to_work_alone(*launched);
        const int exit_code = body(world);
        flush_output();
        wait_for_done_ranks();
        return exit_code;
    } catch (...) {
        return fail(current_failure(), rendezvous);
    }
}

}  // namespace

int run_program(int argc, char** argv, const std::function<int(const Communicator&)>& body) {
    survive_without_home();
    guard_launcher();
    const std::optional<LostProcesses> launched = processes_of_launcher();
    int thread_level = MPI_THREAD_SINGLE;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &thread_level);
    int exit_code = exit_failure;
    try {
        exit_code = run_body(body, thread_level, launched);
    } catch (const std::exception& error) {  // the frame's own set-up
        log_error(error.what());
        MPI_Abort(MPI_COMM_WORLD, exit_failure);
    }
    MPI_Finalize();
    leave_launcher();
    return exit_code;
}

void abort_job(int rank, const std::string& message) { end_job({message, exit_failure}, rank); }

bool unwinding() { return std::uncaught_exceptions() > 0; }

void on_root(const Communicator& communicator, const std::function<void()>& work) {
    Failure failure;
    if (communicator.root()) {
        try {
            work();
        } catch (...) {
            failure = current_failure();
        }
    }
    communicator.broadcast(&failure.exit_code, sizeof failure.exit_code, 0);
    if (failure.exit_code == exit_done) return;
    failure.message = communicator.broadcast(failure.message, 0);
    rethrow(failure);
}

void all_or_none(const Communicator& communicator, const std::function<void()>& work) {
    Failure failure;
    try {
        work();
    } catch (...) {
        failure = current_failure();
    }
    const std::vector<std::uint64_t> codes = communicator.gather_all(static_cast<std::uint64_t>(failure.exit_code));
    const auto first = std::find_if(codes.begin(), codes.end(), [](std::uint64_t code) { return code != exit_done; });
    if (first == codes.end()) return;
    failure.exit_code = static_cast<int>(*first);
    failure.message = communicator.broadcast(failure.message, static_cast<int>(first - codes.begin()));
    rethrow(failure);
}

std::map<std::string, std::string> root_variables(const Communicator& communicator) {
    std::string sent;  // name, zero, value, zero
    if (communicator.root())
        for (const auto& [name, value] : environment_variables()) sent += name + '\0' + value + '\0';
    sent = communicator.broadcast(sent, 0);
    std::map<std::string, std::string> variables;
    for (std::size_t begin = 0; begin < sent.size();) {
        const std::string name = sent.c_str() + begin;
        begin += name.size() + 1;
        const std::string value = sent.c_str() + begin;
        begin += value.size() + 1;
        variables.emplace(name, value);
    }
    return variables;
}

#ifndef PROTALBERT_VERSION
#define PROTALBERT_VERSION "unversioned"
#endif
#ifndef PROTALBERT_GIT_HASH
#define PROTALBERT_GIT_HASH "git unknown"
#endif

std::string program_version() { return "protalbert " PROTALBERT_VERSION " (" PROTALBERT_GIT_HASH ")"; }

}  // namespace protalbert

#pragma once
// The frame of every program: MPI start-up, errors to messages and exit codes, the end of all ranks when one fails.

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "comm/communicator.hpp"

namespace CLI {
class App;
}

namespace protalbert {

/// Starts MPI (thread level multiple; Kokkos is left to the backend), runs `body` and returns its exit code.
/// An exception ends the job on all ranks within seconds: when every rank fails alike, one of them prints its message
/// ("error: ...") and all return its exit code; when some ranks fail alone, the first of them prints its message with
/// its rank and the job is aborted with that exit code.
/// While an exception unwinds the stack, destructors must not wait for other ranks: `unwinding()` tells them.
int run_program(int argc, char** argv, const std::function<int(const Communicator&)>& body);

/// Whether an exception is on its way up in this thread: destructors then leave collective work undone.
bool unwinding();

/// Parses the command line, the same on every rank. An exit code when the program shall end at once: --help and
/// --version (added here) are printed by rank 0. Throws InputError for wrong usage.
std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv, const Communicator& communicator);

/// Runs `work` on rank 0 alone; what it throws is thrown on every rank alike. Collective.
void on_root(const Communicator& communicator, const std::function<void()>& work);
/// Runs `work`, which must not communicate, on every rank; when any throws, every rank throws what the lowest of them
/// threw. Collective: afterwards all ranks know that all succeeded.
void all_or_none(const Communicator& communicator, const std::function<void()>& work);

/// Rank 0's environment variables (see path_text.hpp): launchers hand on some of them or none. Collective.
std::map<std::string, std::string> root_variables(const Communicator& communicator);

/// Ends the job on all ranks with an error message of rank `rank`: for threads, which cannot throw to run_program.
[[noreturn]] void abort_job(int rank, const std::string& message);

/// "protalbert 0.1.0 (git hash)".
std::string program_version();

}  // namespace protalbert

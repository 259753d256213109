#pragma once
// Processes of one launcher whose MPI library does not find the others: the launcher belongs to another MPI library.

#include <optional>
#include <string>

namespace protalbert {

/// What a launcher has told a process that MPI found alone.
struct LostProcesses {
    std::string message;  ///< for people
    bool speaks = true;   ///< one process prints it for all
};

/// The processes that the environment tells of, should MPI find this one alone: each would do all the work, into the
/// same files. Nothing where the launcher has started one process, and where what other launchers have left in the
/// environment does not count, because this process has been started by srun or by its MPI library's own mpirun. Call
/// it before MPI starts, which changes the environment.
std::optional<LostProcesses> processes_of_launcher();

}  // namespace protalbert

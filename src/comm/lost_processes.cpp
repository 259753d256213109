#include "comm/lost_processes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mpi.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace protalbert {

namespace {

/// Nothing where the variable is not set or is no number.
std::optional<int> number_of_environment(const char* name) {
    const char* text = std::getenv(name);
    if (!text) return std::nullopt;
    const std::string_view all = text;
    int number = 0;
    const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), number);
    if (error != std::errc() || end != all.data() + all.size()) return std::nullopt;
    return number;
}

/// What launchers set: how many processes there are, here or on all machines, and which of them this one is.
struct Variables {
    const char* size;  ///< none: the rank alone tells that there are others
    const char* rank;
};

constexpr Variables launcher_variables[] = {
    {"PMI_SIZE", "PMI_RANK"},                          // MPICH, Intel MPI, Cray's PALS
    {"MPI_LOCALNRANKS", "MPI_LOCALRANKID"},            // MPICH and Intel MPI with other ways of finding each other
    {"PMI_LOCAL_SIZE", "PMI_LOCAL_RANK"},              // Cray
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},  // Open MPI, IBM's Spectrum MPI
    {"MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},    // MVAPICH2
    {"JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"},      // IBM's jsrun
    {"FLUX_JOB_SIZE", "FLUX_TASK_RANK"},               // Flux
    {nullptr, "PALS_RANKID"},                          // Cray's PALS
    {nullptr, "PMIX_RANK"},                            // PMIx: Open MPI 5's prterun, srun --mpi=pmix
};

/// "Open MPI v4.1.4" of a version of several lines or clauses.
std::string library_name() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
    int length = 0;
    if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
    const std::string_view all(text, static_cast<std::size_t>(length));
    std::string name(all.substr(0, all.find_first_of(",\n")));
    for (char& letter : name)
        if (letter == '\t') letter = ' ';
    return name;
}

/// The variable that the library's own launcher sets, for each process anew.
const char* own_variable(const std::string& library) {
    return library.find("Open MPI") != std::string::npos ? "OMPI_COMM_WORLD_SIZE" : "PMI_SIZE";
}

LostProcesses lost_tasks_of_srun(int tasks) {
    const std::string message = fmt::format(
        "srun has started {} processes, but the MPI library of each finds no other; choose how they find each other, "
        "by MPI_TYPE in the machine's profile or srun --mpi=TYPE (srun --mpi=list; pmix for Open MPI, pmi2 for MPICH "
        "and Intel MPI, cray_shasta for Cray's), or load the MPI library with which the program was built; start "
        "processes that are to work alone by srun --ntasks=1",
        tasks);
    return {message, number_of_environment("SLURM_PROCID").value_or(0) == 0};
}

}  // namespace

std::optional<LostProcesses> processes_of_launcher() {
    // What a task of srun starts itself, as a shell or mpirun does, has the task's environment but not its process id:
    // of how many it is one, srun does not know.
    if (number_of_environment("SLURM_TASK_PID") == getpid()) {
        const int tasks = number_of_environment("SLURM_STEP_NUM_TASKS").value_or(0);
        if (tasks > 1) return lost_tasks_of_srun(tasks);
        if (tasks == 1) return std::nullopt;
    }
    const std::string library = library_name();
    if (number_of_environment(own_variable(library)) == 1) return std::nullopt;
    std::string told;
    std::vector<std::string> unset;  // without these the process is one that works alone
    bool speaks = true;
    for (const Variables& variables : launcher_variables) {
        const std::optional<int> rank = number_of_environment(variables.rank);
        const int size = variables.size ? number_of_environment(variables.size).value_or(1) : rank.value_or(0) + 1;
        if (size < 2) continue;
        const char* const telling = variables.size ? variables.size : variables.rank;
        unset.push_back(fmt::format("-u {}", telling));
        if (!told.empty()) continue;
        told = fmt::format("{}={}", telling, std::getenv(telling));
        // Where the rank alone tells it, rank 0 does not know that there are others.
        speaks = rank.value_or(0) <= (variables.size ? 0 : 1);
    }
    if (told.empty()) return std::nullopt;
    const std::string message = fmt::format(
        "a launcher has started several processes ({} in the environment), but the MPI library of each, {}, finds no "
        "other; start them with the mpirun of that library; a process that is to work alone within such a job is "
        "started by env {} PROGRAM",
        told, library, fmt::join(unset, " "));
    return LostProcesses{message, speaks};
}

}  // namespace protalbert

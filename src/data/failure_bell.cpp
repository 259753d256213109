#include "data/failure_bell.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/signals.hpp"
#include "comm/program.hpp"

namespace protalbert {

FailureBell::FailureBell(const Communicator& communicator) : communicator_(communicator.duplicate()) {}

void FailureBell::ring() {
    // Empty messages need no buffer and wait for nobody; those that nobody receives end with the program.
    for (int rank = 0; rank < communicator_.ranks(); ++rank) {
        if (rank == communicator_.rank()) continue;
        MPI_Request request;
        check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, rank, 0, communicator_.handle(), &request), "MPI_Isend");
        check_mpi(MPI_Request_free(&request), "MPI_Request_free");
    }
}

void FailureBell::look() {
    if (const int signal = caught_signal())
        throw Error(
            fmt::format("stopped by signal {} before the work was complete; nothing was kept, run it again", signal),
            exit_stopped);
    if (communicator_.ranks() == 1) return;
    int rung = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, communicator_.handle(), &rung, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (rung) throw AnotherFailed{};
}

void FailureBell::run(const std::function<void()>& work) {
    all_or_none(communicator_, [&] {
        try {
            work();
        } catch (const AnotherFailed&) {
            // all_or_none throws the other's reason here too.
        } catch (...) {
            ring();
            throw;
        }
    });
}

}  // namespace protalbert

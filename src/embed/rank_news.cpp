#include "embed/rank_news.hpp"

namespace protalbert {
namespace {

enum Kind : int { progress, stop, finished, end };
constexpr int tag = 1;

struct Message {
    std::uint64_t kind;
    std::uint64_t residues;
};

}  // namespace

RankNews::RankNews(const Communicator& communicator) : communicator_(communicator.duplicate()) {}

void RankNews::send(int kind, std::uint64_t residues, int to) {
    const Message message{static_cast<std::uint64_t>(kind), residues};
    check_mpi(MPI_Send(&message, sizeof message, MPI_BYTE, to, tag, communicator_.handle()), "MPI_Send");
}

void RankNews::receive(int source) {
    Message message;
    check_mpi(MPI_Recv(&message, sizeof message, MPI_BYTE, source, tag, communicator_.handle(), MPI_STATUS_IGNORE),
              "MPI_Recv");
    residues_ += message.residues;
    if (message.kind == stop) stopping_ = true;
    if (message.kind == finished) ++finished_ranks_;
    if (message.kind == end) ended_ = true;
    if (communicator_.root() && stopping_ && !told_) {
        told_ = true;
        for (int rank = 1; rank < communicator_.ranks(); ++rank) send(stop, 0, rank);
    }
}

bool RankNews::receive_waiting() {
    int waiting = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, communicator_.handle(), &waiting, &status), "MPI_Iprobe");
    if (waiting != 0) receive(status.MPI_SOURCE);
    return waiting != 0;
}

void RankNews::tell(std::uint64_t residues, bool stop_here) {
    if (communicator_.root()) {
        residues_ += residues;
        if (stop_here && !told_) {
            stopping_ = told_ = true;
            for (int rank = 1; rank < communicator_.ranks(); ++rank) send(stop, 0, rank);
        }
    } else {
        const bool ask = stop_here && !told_;
        if (stop_here) stopping_ = told_ = true;
        send(ask ? stop : progress, residues, 0);
    }
    while (receive_waiting()) {
    }
}

void RankNews::begin_finish() {
    if (communicator_.root())
        ++finished_ranks_;
    else
        send(finished, 0, 0);
}

bool RankNews::finish_step() {
    if (!communicator_.root()) {
        while (!ended_) receive(0);
        return true;
    }
    if (finished_ranks_ < communicator_.ranks()) {
        receive(MPI_ANY_SOURCE);
        return false;
    }
    for (int rank = 1; rank < communicator_.ranks(); ++rank) send(end, 0, rank);
    return true;
}

}  // namespace protalbert

// Sums by MPI of gradients that the host does not reach: copies to pinned host memory on a stream of their own, under
// the products that go on; MPI's sums there; copies back. Pieces of one range overlap each other's three stages.

#include <algorithm>
#include <deque>

#include "base/error.hpp"
#include "comm/gradient_reduction.hpp"
#include "comm/mpi_sums.hpp"
#include "kernels/handles.hpp"

namespace protalbert {

namespace {

/// 64 MiB: a few milliseconds on PCIe and on the network, so that the stages of a gradient of 0.9 GB overlap.
constexpr std::int64_t piece_bytes = std::int64_t{64} << 20;

class StagedReduction final : public ReductionMethod {
  public:
    StagedReduction(const Communicator& communicator, Backend& backend, std::size_t bytes)
        : communicator_(communicator.duplicate()),
          backend_(backend),
          host_(backend, bytes),
          stream_(backend),
          final_(backend),
          back_(backend) {}

    void start(void* values, std::int64_t n, Type type, Stream stream, const std::string&) override {
        backend_.record(final_.get(), stream);
        backend_.wait(stream_.get(), final_.get());
        const std::int64_t bytes = n * element_bytes(type);
        PROTALBERT_CHECK(used_ + bytes <= static_cast<std::int64_t>(host_.bytes()),
                         "the staging memory was made for fewer gradients");
        for (std::int64_t first = 0; first < bytes; first += piece_bytes) {
            Piece piece;
            piece.device = static_cast<std::byte*>(values) + first;
            piece.host = host_.data() + used_ + first;
            piece.bytes = std::min(piece_bytes, bytes - first);
            piece.type = type;
            piece.here = take_event();
            backend_.download(piece.host, piece.device, static_cast<std::size_t>(piece.bytes), stream_.get());
            backend_.record(piece.here.get(), stream_.get());
            pieces_.push_back(std::move(piece));
        }
        used_ += bytes;
    }

    void progress() override { advance(false); }

    void finish(Stream stream) override {
        advance(true);
        used_ = 0;
        backend_.record(back_.get(), stream_.get());
        backend_.wait(stream, back_.get());
    }

    std::string description() const override { return "MPI through host memory (this build has no NCCL)"; }

  private:
    struct Piece {
        std::byte* device = nullptr;
        std::byte* host = nullptr;
        std::int64_t bytes = 0;
        Type type{};
        OwnEvent here;  ///< the copy to the host is over
        std::vector<MPI_Request> requests;
        bool started = false;
    };

    OwnEvent take_event() {
        if (spare_events_.empty()) return OwnEvent(backend_);
        OwnEvent event = std::move(spare_events_.back());
        spare_events_.pop_back();
        return event;
    }

    /// Every piece through the next stage that it is ready for, or, waiting, through all. Sums start in the order of
    /// the pieces, which is the same on every rank.
    void advance(bool waiting) {
        for (Piece& piece : pieces_) {
            if (piece.started) continue;
            if (waiting) {
                backend_.wait_for(piece.here.get());
            } else if (!backend_.done(piece.here.get())) {
                break;
            }
            start_mpi_sum(piece.requests, piece.host, piece.bytes / element_bytes(piece.type), piece.type,
                          communicator_);
            piece.started = true;
        }
        while (!pieces_.empty() && pieces_.front().started) {
            Piece& piece = pieces_.front();
            const int requests = static_cast<int>(piece.requests.size());
            int done = 1;
            if (waiting) {
                check_mpi(MPI_Waitall(requests, piece.requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
            } else {
                check_mpi(MPI_Testall(requests, piece.requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
            }
            if (!done) break;
            backend_.upload(piece.device, piece.host, static_cast<std::size_t>(piece.bytes), stream_.get());
            spare_events_.push_back(std::move(piece.here));
            pieces_.pop_front();
        }
    }

    Communicator communicator_;
    Backend& backend_;
    HostMemory host_;
    OwnStream stream_;
    OwnEvent final_;  ///< a range is final on the device
    OwnEvent back_;   ///< every sum is there again
    std::deque<Piece> pieces_;
    std::vector<OwnEvent> spare_events_;
    std::int64_t used_ = 0;  ///< bytes of host_ since the last finish
};

}  // namespace

std::unique_ptr<ReductionMethod> make_staged_reduction(const Communicator& communicator, Backend& backend,
                                                       std::size_t bytes) {
    return std::make_unique<StagedReduction>(communicator, backend, bytes);
}

}  // namespace protalbert

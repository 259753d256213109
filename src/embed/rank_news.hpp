#pragma once
// What ranks tell each other while each computes its own batches: how far they are, and that all shall stop. Small
// messages through rank 0, looked at between batches; nobody waits for anybody until the end.

#include <cstdint>

#include "comm/communicator.hpp"

namespace protalbert {

class RankNews {
  public:
    /// Collective.
    explicit RankNews(const Communicator& communicator);

    /// `residues` more are done here; `stop`: a signal came here. Reads the messages that have come.
    void tell(std::uint64_t residues, bool stop);
    /// Whether some rank was asked to stop, as far as this rank knows.
    bool stopping() const { return stopping_; }
    /// Done by all ranks, as far as rank 0 knows.
    std::uint64_t residues() const { return residues_; }
    /// Waits for all ranks; rank 0 calls `heard` after each message. Collective.
    template <typename Heard>
    void finish(const Heard& heard) {
        begin_finish();
        while (!finish_step()) heard();
    }

  private:
    void receive(int source);
    bool receive_waiting();
    void send(int kind, std::uint64_t residues, int to);
    void begin_finish();
    bool finish_step();

    Communicator communicator_;
    std::uint64_t residues_ = 0;
    int finished_ranks_ = 0;
    bool stopping_ = false;
    bool told_ = false;  ///< rank 0: has passed the stop on; others: have asked for it
    bool ended_ = false;
};

}  // namespace protalbert

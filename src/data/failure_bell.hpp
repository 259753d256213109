#pragma once
// Long work without collective calls: when one rank fails or is told to stop, the others hear of it at their next look
// and end their work too, instead of finishing hours of it first.

#include <cstdint>
#include <functional>

#include "comm/communicator.hpp"

namespace protalbert {

class FailureBell {
  public:
    /// Collective.
    explicit FailureBell(const Communicator& communicator);

    /// To be called now and then by the work, at no cost: throws when another rank failed, or Error with exit_stopped
    /// when this process was asked to stop by a signal.
    void look();

    /// Runs `work`, which must not communicate but for look(), on every rank. When it throws on any, every rank throws
    /// what the lowest of the failing ranks threw, soon. Collective.
    void run(const std::function<void()>& work);

  private:
    /// Another rank failed; it will say why.
    struct AnotherFailed {};
    void ring();

    Communicator communicator_;
};

}  // namespace protalbert

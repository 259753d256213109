#pragma once
// One run at a time in a folder of checkpoints.

#include <filesystem>

#include "comm/communicator.hpp"

namespace protalbert {

/// Holds a folder as long as it lives, so that a second run of the same deck (a job submitted twice) does not write
/// between the checkpoints of the first. The hold is rank 0's, by flock, and ends with the process however that ends.
class RunLock {
  public:
    RunLock() = default;
    ~RunLock();
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

    /// Does nothing where the folder is held already, is not there yet, or lies on a file system that cannot hold
    /// folders. Waits some seconds for a run that is ending. Throws InputError when another one stays. Collective.
    void take(const std::filesystem::path& folder, const Communicator& communicator);

  private:
    int descriptor_ = -1;
};

}  // namespace protalbert

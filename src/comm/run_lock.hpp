#pragma once
// One run at a time at what it writes.

#include <filesystem>
#include <string>

#include "comm/communicator.hpp"

namespace protalbert {

/// What a run holds, and words for one that comes second: another run is at work `where`; `remedy` leads to another
/// place ("choose another --output").
struct RunPlace {
    std::filesystem::path file;
    std::string where;
    std::string remedy;
    bool goes_if_empty = false;  ///< a file that nobody has written to is removed when the hold ends
};

/// What every program holds while it works at an output: OUTPUT.lock, which goes with it. `option` names the output on
/// the command line.
RunPlace output_place(const std::filesystem::path& output, const std::string& option);

/// Whether `path` still names the open file. Who has waited for a lock has it of a file that may have been renamed or
/// removed meanwhile.
bool names_open_file(const std::filesystem::path& path, int descriptor);

/// Holds a file as long as it lives, so that a second run of the same job (submitted twice) does not write over the
/// first one's work. The hold is rank 0's, by flock, and ends with the process however that ends. It is on a file and
/// not on a folder, because network file systems make only locks of files known to other machines.
class RunLock {
  public:
    RunLock() = default;
    ~RunLock();
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

    /// Does nothing where the file is held already, and where it cannot be opened for writing or, with `make`, made:
    /// nobody writes there. Waits ten seconds for a run that is ending. Throws InputError when another one stays. Warns
    /// where the file system has no locks. Collective.
    void take(const RunPlace& place, bool make, const Communicator& communicator);

  private:
    std::filesystem::path removed_;  ///< at the end, if empty; none: no path
    int descriptor_ = -1;
};

}  // namespace protalbert

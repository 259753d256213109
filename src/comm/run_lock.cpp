#include "comm/run_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/program.hpp"

namespace protalbert {

namespace {

using namespace std::chrono_literals;

/// A run that was told to stop has saved by the time its job ends; what is left of it takes a second or two.
constexpr auto patience = 10s;
constexpr auto look_every = 100ms;

}  // namespace

RunLock::~RunLock() {
    if (descriptor_ >= 0) close(descriptor_);
}

void RunLock::take(const RunPlace& place, bool make, const Communicator& communicator) {
    on_root(communicator, [&] {
        if (descriptor_ >= 0) return;
        // For writing: NFS locks no file for one process alone that is open for reading.
        descriptor_ = open(place.file.c_str(), O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0666);
        if (descriptor_ < 0) return;
        for (auto waited = 0ms; flock(descriptor_, LOCK_EX | LOCK_NB) != 0; waited += look_every) {
            if (errno != EWOULDBLOCK) {
                log_warning(
                    fmt::format("the file system cannot tell whether another run is at work {} ({}); see to it "
                                "that none is",
                                place.where, std::strerror(errno)));
                return;
            }
            if (waited >= patience)
                throw InputError(
                    fmt::format("another run is at work {}: two would overwrite each other's files; wait for its end, "
                                "or {}",
                                place.where, place.remedy));
            if (waited == 0ms)
                log_information(fmt::format("another run is at work {}; waiting for its end", place.where));
            std::this_thread::sleep_for(look_every);
        }
    });
}

}  // namespace protalbert

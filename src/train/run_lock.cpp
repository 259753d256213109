#include "train/run_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
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

void RunLock::take(const std::filesystem::path& folder, const Communicator& communicator) {
    on_root(communicator, [&] {
        if (descriptor_ >= 0) return;
        descriptor_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (descriptor_ < 0) return;
        for (auto waited = 0ms; flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
             waited += look_every) {
            if (waited >= patience)
                throw InputError(fmt::format(
                    "another run is at work in {}: two would overwrite each other's checkpoints; wait for its end, or "
                    "choose another checkpoint.directory",
                    folder.string()));
            if (waited == 0ms)
                log_information(fmt::format("another run is at work in {}; waiting for its end", folder.string()));
            std::this_thread::sleep_for(look_every);
        }
    });
}

}  // namespace protalbert

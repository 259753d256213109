#include "comm/run_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
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

RunPlace output_place(const std::filesystem::path& output, const std::string& option) {
    return {.file = output.string() + ".lock",
            .where = "at " + output.string(),
            .remedy = "choose another " + option,
            .goes_if_empty = true};
}

bool names_open_file(const std::filesystem::path& path, int descriptor) {
    struct stat opened = {}, named = {};
    return fstat(descriptor, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

RunLock::~RunLock() {
    if (descriptor_ < 0) return;
    std::error_code error;
    const bool goes =
        !removed_.empty() && names_open_file(removed_, descriptor_) && std::filesystem::file_size(removed_, error) == 0;
    if (goes) std::filesystem::remove(removed_, error);
    close(descriptor_);
}

void RunLock::take(const RunPlace& place, bool make, const Communicator& communicator) {
    on_root(communicator, [&] {
        if (descriptor_ >= 0) return;
        const auto open_file = [&] {
            // For writing: NFS locks no file for one process alone that is open for reading.
            if (descriptor_ >= 0) close(descriptor_);
            descriptor_ = open(place.file.c_str(), O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0666);
            return descriptor_ >= 0;
        };
        if (!open_file()) return;
        for (auto waited = 0ms;; waited += look_every) {
            if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
                if (names_open_file(place.file, descriptor_)) {
                    if (place.goes_if_empty) removed_ = place.file;
                    return;
                }
                if (!open_file()) return;
                continue;
            }
            if (errno == EINTR) continue;
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

#include "base/positioned_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.hpp"
#include "base/file_system.hpp"

namespace protalbert {
namespace {

// Linux moves at most 2 GiB a call.
constexpr std::size_t largest_transfer = std::size_t{1} << 30;
/// A slowed write goes in pieces of so many bytes, a page: a kill finds it anywhere.
constexpr std::size_t slow_transfer = 4096;

/// Bytes a second that writes keep to; 0: as fast as they go.
double slow_rate() {
    static const double rate = [] {
        const char* const wish = std::getenv("PROTALBERT_SLOW_WRITE");
        return wish ? std::atof(wish) : 0.0;
    }();
    return rate;
}

void wait_for(std::size_t bytes) {
    if (slow_rate() > 0)
        std::this_thread::sleep_for(std::chrono::duration<double>(static_cast<double>(bytes) / slow_rate()));
}

}  // namespace

void slow_down() { wait_for(slow_transfer); }

PositionedFile::PositionedFile(const std::string& path, bool writable)
    : path_(path), descriptor_(open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)) {
    if (descriptor_ < 0) throw Error(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
}

PositionedFile::~PositionedFile() { close(descriptor_); }

std::uint64_t PositionedFile::size() const {
    struct stat status {};
    if (fstat(descriptor_, &status) != 0)
        throw Error(fmt::format("cannot inspect {}: {}", path_, std::strerror(errno)));
    return static_cast<std::uint64_t>(status.st_size);
}

void PositionedFile::read(void* data, std::size_t bytes, std::uint64_t position) const {
    auto* next = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t count = pread(descriptor_, next, std::min(bytes, largest_transfer), static_cast<off_t>(position));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            throw Error(fmt::format("cannot read {} bytes at {} of {}: {}", bytes, position, path_,
                                    count < 0 ? std::strerror(errno) : "it ends before"));
        next += count;
        position += static_cast<std::uint64_t>(count);
        bytes -= static_cast<std::size_t>(count);
    }
}

void PositionedFile::write(const void* data, std::size_t bytes, std::uint64_t position) const {
    const auto* next = static_cast<const char*>(data);
    const std::size_t most = slow_rate() > 0 ? slow_transfer : largest_transfer;
    while (bytes > 0) {
        const ssize_t count = pwrite(descriptor_, next, std::min(bytes, most), static_cast<off_t>(position));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            throw Error(fmt::format("cannot write {}: {}{}; what is finished is kept: make room and call again", path_,
                                    std::strerror(errno), space_hint(path_)));
        wait_for(static_cast<std::size_t>(count));
        next += count;
        position += static_cast<std::uint64_t>(count);
        bytes -= static_cast<std::size_t>(count);
    }
}

bool PositionedFile::reserve(std::uint64_t bytes) const {
    if (bytes == 0 || fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0) return true;
    return errno != ENOSPC && errno != EDQUOT && errno != EFBIG;
}

void PositionedFile::truncate(std::uint64_t bytes) const {
    if (ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0)
        throw Error(fmt::format("cannot set the size of {}: {}", path_, std::strerror(errno)));
}

void PositionedFile::start_sync(std::uint64_t position, std::uint64_t bytes) const {
    sync_file_range(descriptor_, static_cast<off_t>(position), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

void PositionedFile::sync() const {
    if (fdatasync(descriptor_) != 0)
        throw Error(fmt::format("cannot bring {} to disk: {}{}", path_, std::strerror(errno), space_hint(path_)));
}

}  // namespace protalbert

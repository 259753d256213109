#include "io/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"
#include "base/file_system.hpp"

namespace protalbert {

namespace {

// Linux moves at most 2 GiB a call.
constexpr std::size_t largest_transfer = std::size_t{1} << 30;

}  // namespace

InputFile::InputFile(const std::filesystem::path& path, const std::string& what) : path_(path) {
    require_readable_file(path, what);
    // Opening a pipe must not wait for somebody to write.
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status {};
    if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
        const int code = errno;
        if (descriptor_ >= 0) close(descriptor_);
        throw InputError(fmt::format("{} {}: {}; {}", what, path.string(), std::strerror(code), path_advice(path)));
    }
    if (!S_ISREG(status.st_mode)) {
        close(descriptor_);
        throw InputError(fmt::format("{} {} is a device or pipe; name a file", what, path.string()));
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { close(descriptor_); }

void InputFile::read(void* data, std::size_t bytes, std::uint64_t position) const {
    if (position > size_ || bytes > size_ - position)
        throw InputError(
            fmt::format("{} is truncated: {} bytes at {} are needed, but it has {}; copy or download it again", name(),
                        bytes, position, size_));
    auto* next = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t count = pread(descriptor_, next, std::min(bytes, largest_transfer), static_cast<off_t>(position));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            throw InputError(fmt::format("cannot read {} bytes at {} of {}: {}", bytes, position, name(),
                                         count < 0 ? std::strerror(errno) : "it ends before"));
        next += count;
        position += static_cast<std::uint64_t>(count);
        bytes -= static_cast<std::size_t>(count);
    }
}

std::string InputFile::read(std::size_t bytes, std::uint64_t position) const {
    if (bytes > size_) read(nullptr, bytes, position);  // says so before anything is allocated
    std::string content(bytes, '\0');
    read(content.data(), bytes, position);
    return content;
}

std::uint64_t little_endian(const char* data, int bytes) {
    std::uint64_t number = 0;
    for (int i = bytes - 1; i >= 0; --i) number = number << 8 | static_cast<unsigned char>(data[i]);
    return number;
}

}  // namespace protalbert

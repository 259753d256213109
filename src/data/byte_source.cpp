#include "data/byte_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.hpp"

namespace protalbert {
namespace {

// Compressed bytes read at once: large enough for parallel file systems, small beside a rank's memory.
constexpr std::size_t raw_size = std::size_t{1} << 20;
// zlib: the largest window, plus 16 for a gzip header and checksum.
constexpr int gzip_window_bits = 15 + 16;
constexpr int idle_milliseconds = 500;

struct Compression {
    std::string_view magic;
    const char* name;
};
constexpr Compression other_compressions[] = {
    {std::string_view("BZh", 3), "bzip2"},
    {std::string_view("\xFD"
                      "7zXZ",
                      5),
     "xz"},
    {std::string_view("\x28\xB5\x2F\xFD", 4), "zstd"},
    {std::string_view("PK\x03\x04", 4), "zip"},
};

}  // namespace

std::string input_name(const std::string& path) { return path == "-" ? "standard input" : path; }

ByteSource::ByteSource(const std::string& path, std::uint64_t begin) : name_(input_name(path)) {
    if (path == "-") {
        descriptor_ = STDIN_FILENO;
        owned_ = false;
    } else {
        descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0) throw InputError(fmt::format("cannot open {}: {}", name_, std::strerror(errno)));
    }
    try {
        struct stat status {};
        if (fstat(descriptor_, &status) != 0)
            throw InputError(fmt::format("cannot read {}: {}", name_, std::strerror(errno)));
        if (S_ISDIR(status.st_mode)) throw InputError(fmt::format("{} is a folder; name the files in it", name_));
        regular_ = owned_ && S_ISREG(status.st_mode);
        if (regular_) {
            file_size_ = static_cast<std::uint64_t>(status.st_size);
            posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
        }
        if (begin > 0) {
            if (lseek(descriptor_, static_cast<off_t>(begin), SEEK_SET) < 0)
                throw Error(fmt::format("cannot go to byte {} of {}: {}", begin, name_, std::strerror(errno)));
        } else {
            recognise_content();
        }
    } catch (...) {
        if (owned_) close(descriptor_);
        throw;
    }
}

ByteSource::~ByteSource() {
    if (stream_open_) inflateEnd(&stream_);
    if (owned_) close(descriptor_);
}

void ByteSource::recognise_content() {
    raw_.resize(raw_size);
    // A pipe may give its first bytes one by one.
    constexpr std::size_t magic_bytes = 6;
    while (raw_end_ < magic_bytes) {
        const std::size_t count = read_file(raw_.data() + raw_end_, raw_.size() - raw_end_);
        if (count == 0) break;
        raw_end_ += count;
    }
    const std::string_view start(raw_.data(), raw_end_);
    for (const Compression& other : other_compressions)
        if (start.starts_with(other.magic))
            throw InputError(
                fmt::format("{} is compressed with {}; decompress it, or compress it with gzip", name_, other.name));
    gzip_ = start.starts_with("\x1F\x8B");
    if (gzip_) {
        if (inflateInit2(&stream_, gzip_window_bits) != Z_OK) throw Error("zlib cannot start: out of memory?");
        stream_open_ = true;
    }
}

std::size_t ByteSource::read_file(char* data, std::size_t size) {
    // Waiting for a pipe must not keep this process from hearing that another one failed.
    while (!regular_ && idle_) {
        pollfd waiting{descriptor_, POLLIN, 0};
        if (poll(&waiting, 1, idle_milliseconds) > 0) break;
        idle_();  // nothing came for a while, or a signal came
    }
    for (;;) {
        const ssize_t count = ::read(descriptor_, data, size);
        if (count >= 0) {
            consumed_ += static_cast<std::uint64_t>(count);
            return static_cast<std::size_t>(count);
        }
        if (errno == EINTR) {
            if (idle_) idle_();
            continue;
        }
        throw Error(fmt::format("reading {} failed after byte {}: {}", name_, consumed_, std::strerror(errno)));
    }
}

std::size_t ByteSource::read(char* data, std::size_t size) {
    if (gzip_) return read_gzip(data, size);
    if (raw_begin_ < raw_end_) {
        const std::size_t count = std::min(size, raw_end_ - raw_begin_);
        std::memcpy(data, raw_.data() + raw_begin_, count);
        raw_begin_ += count;
        return count;
    }
    return read_file(data, size);
}

std::size_t ByteSource::read_gzip(char* data, std::size_t size) {
    std::size_t given = 0;
    while (given == 0) {
        if (raw_begin_ == raw_end_) {
            raw_begin_ = 0;
            raw_end_ = read_file(raw_.data(), raw_.size());
            if (raw_end_ == 0) {
                if (member_open_)
                    throw InputError(fmt::format(
                        "{} ends in the middle of its gzip data after {} bytes: the file is incomplete, fetch it again",
                        name_, consumed_));
                return 0;
            }
        }
        if (!member_open_) {
            // Between members: zeros are padding; anything but another member is damage, which inflate reports.
            while (raw_begin_ < raw_end_ && raw_[raw_begin_] == 0) ++raw_begin_;
            if (raw_begin_ == raw_end_) continue;
            inflateReset(&stream_);
            member_open_ = true;
        }
        stream_.next_in = reinterpret_cast<Bytef*>(raw_.data() + raw_begin_);
        stream_.avail_in = static_cast<uInt>(raw_end_ - raw_begin_);
        stream_.next_out = reinterpret_cast<Bytef*>(data);
        stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, std::size_t{1} << 30));
        const uInt room = stream_.avail_out;
        const int status = inflate(&stream_, Z_NO_FLUSH);
        raw_begin_ = raw_end_ - stream_.avail_in;
        given = room - stream_.avail_out;
        if (status == Z_STREAM_END) {
            member_open_ = false;
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
            throw InputError(
                fmt::format("{} is damaged: gzip data before byte {} cannot be decompressed ({}); fetch it again",
                            name_, consumed_ - stream_.avail_in, stream_.msg ? stream_.msg : "unknown reason"));
        }
    }
    return given;
}

}  // namespace protalbert

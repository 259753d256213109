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

#include "base/buffer_size.hpp"
#include "base/content.hpp"
#include "base/error.hpp"
#include "base/file_system.hpp"

namespace protalbert {
namespace {

// Compressed bytes read at once: large enough for parallel file systems, small beside a rank's memory.
constexpr std::size_t raw_size = buffer_size(std::size_t{1} << 20);
// zlib: the largest window, plus 16 for a gzip header and checksum.
constexpr int gzip_window_bits = 15 + 16;
constexpr int idle_milliseconds = 500;

constexpr std::string_view gzip_magic = "\x1F\x8B";
/// Whether a gzip member's extra field has BGZF's subfield: "BC" and two bytes.
bool has_bgzf_field(const unsigned char* extra, std::size_t size) {
    for (std::size_t at = 0; at + 4 <= size;) {
        const std::size_t length = extra[at + 2] | std::size_t{extra[at + 3]} << 8;
        if (extra[at] == 'B' && extra[at + 1] == 'C' && length == 2) return true;
        at += 4 + length;
    }
    return false;
}

}  // namespace

std::string input_name(const std::string& path) { return path == "-" ? "standard input" : path; }

ByteSource::ByteSource(const std::string& path, std::uint64_t begin) : name_(input_name(path)) {
    if (path == "-") {
        descriptor_ = STDIN_FILENO;
        owned_ = false;
    } else {
        descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0)
            throw InputError(fmt::format("cannot open {}: {}; {}", name_, std::strerror(errno), path_advice(path)));
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
            looked_ = true;
            if (lseek(descriptor_, static_cast<off_t>(begin), SEEK_SET) < 0)
                throw Error(fmt::format("cannot go to byte {} of {}: {}", begin, name_, std::strerror(errno)));
        } else {
            recognise_gzip();
            // A silent pipe must not be waited for before somebody listens to the other processes: when_idle.
            if (regular_) refuse_foreign_content();
        }
    } catch (...) {
        if (stream_open_) inflateEnd(&stream_);
        if (owned_) close(descriptor_);
        throw;
    }
}

ByteSource::~ByteSource() {
    if (stream_open_) inflateEnd(&stream_);
    if (owned_) close(descriptor_);
}

/// Reads until `bytes` are in raw_; false where the file ends before.
bool ByteSource::fill_raw(std::size_t bytes) {
    if (raw_begin_ > 0 && raw_end_ - raw_begin_ < bytes) {
        std::memmove(raw_.data(), raw_.data() + raw_begin_, raw_end_ - raw_begin_);
        raw_end_ -= raw_begin_;
        raw_begin_ = 0;
    }
    // A pipe may give its bytes one by one.
    while (raw_end_ - raw_begin_ < bytes) {
        const std::size_t count = read_file(raw_.data() + raw_end_, raw_.size() - raw_end_);
        if (count == 0) return false;
        raw_end_ += count;
    }
    return true;
}

void ByteSource::recognise_gzip() {
    raw_.resize(raw_size);
    fill_raw(gzip_magic.size());
    gzip_ = std::string_view(raw_.data(), raw_end_).starts_with(gzip_magic);
    if (!gzip_) return;
    if (inflateInit2(&stream_, gzip_window_bits) != Z_OK) throw Error("zlib cannot start: out of memory?");
    stream_open_ = true;
}

void ByteSource::refuse_foreign_content() {
    looked_ = true;
    if (!gzip_) {
        fill_raw(telling_bytes);
        if (const auto foreign = foreign_content({raw_.data(), raw_end_}))
            throw InputError(fmt::format("{} {}", name_, *foreign));
        return;
    }
    head_.resize(telling_bytes);
    std::size_t filled = 0;
    while (filled < head_.size()) {
        const std::size_t count = read_gzip(head_.data() + filled, head_.size() - filled);
        if (count == 0) break;
        filled += count;
    }
    head_.resize(filled);
    const std::string_view content(head_.data(), head_.size());
    if (content.starts_with(gzip_magic))
        throw InputError(
            fmt::format("{} is compressed twice by gzip; decompress it once (gzip -dc < FILE > NEW)", name_));
    if (const auto foreign = foreign_content(content, true))
        throw InputError(fmt::format("{} is gzip, and what it holds {}", name_, *foreign));
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
    if (!looked_) refuse_foreign_content();
    const auto give = [&](const std::vector<char>& from, std::size_t& begin, std::size_t end) {
        const std::size_t count = std::min(size, end - begin);
        std::memcpy(data, from.data() + begin, count);
        begin += count;
        return count;
    };
    if (gzip_) return head_begin_ < head_.size() ? give(head_, head_begin_, head_.size()) : read_gzip(data, size);
    return raw_begin_ < raw_end_ ? give(raw_, raw_begin_, raw_end_) : read_file(data, size);
}

/// Before a member, at raw_begin_: false where no other one follows.
bool ByteSource::begin_member() {
    // Zeros between members are padding, as tapes leave it.
    do {
        while (raw_begin_ < raw_end_ && raw_[raw_begin_] == 0) ++raw_begin_;
    } while (raw_begin_ == raw_end_ && fill_raw(1));
    if (raw_begin_ == raw_end_) return false;
    if (!fill_raw(gzip_magic.size()) || !std::string_view(raw_.data() + raw_begin_, 2).starts_with(gzip_magic)) {
        remark_ = fmt::format(
            "{} has bytes behind its gzip data, from byte {} on, that are not gzip: not read, as gunzip does; was "
            "something appended to it?",
            name_, consumed_ - (raw_end_ - raw_begin_));
        return false;
    }
    inflateReset(&stream_);
    header_ = {};
    header_.extra = extra_;
    header_.extra_max = sizeof extra_;
    inflateGetHeader(&stream_, &header_);
    inflated_ = 0;
    return true;
}

void ByteSource::end_gzip() {
    gzip_ended_ = true;
    raw_begin_ = raw_end_;
    if (bgzf_open_) refuse_open_bgzf();
}

/// BGZF, the gzip in blocks of samtools and bgzip, closes with a block without content; of a file that was cut between
/// two blocks nothing else tells.
void ByteSource::refuse_open_bgzf() const {
    throw InputError(fmt::format(
        "{} is incomplete: it is gzip in blocks (BGZF) without the empty block that closes it; fetch it again, or, "
        "where it is known to be whole, compress it anew: gzip -dc < FILE | gzip > NEW",
        name_));
}

std::size_t ByteSource::read_gzip(char* data, std::size_t size) {
    std::size_t given = 0;
    while (given == 0 && !gzip_ended_) {
        if (!member_open_) {
            member_open_ = begin_member();
            if (!member_open_) {
                end_gzip();
                break;
            }
        }
        if (raw_begin_ == raw_end_ && !fill_raw(1))
            throw InputError(fmt::format(
                "{} ends in the middle of its gzip data after {} bytes: the file is incomplete, fetch it again", name_,
                consumed_));
        stream_.next_in = reinterpret_cast<Bytef*>(raw_.data() + raw_begin_);
        stream_.avail_in = static_cast<uInt>(raw_end_ - raw_begin_);
        stream_.next_out = reinterpret_cast<Bytef*>(data);
        stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, std::size_t{1} << 30));
        const uInt room = stream_.avail_out;
        const int status = inflate(&stream_, Z_NO_FLUSH);
        raw_begin_ = raw_end_ - stream_.avail_in;
        given = room - stream_.avail_out;
        inflated_ += given;
        if (status == Z_STREAM_END) {
            member_open_ = false;
            const std::size_t extra =
                header_.done == 1 && header_.extra ? std::min<std::size_t>(header_.extra_len, sizeof extra_) : 0;
            const bool block = has_bgzf_field(extra_, extra);
            if (bgzf_open_ && !block) refuse_open_bgzf();
            bgzf_open_ = block && inflated_ > 0;
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
            throw InputError(
                fmt::format("{} is damaged: gzip data before byte {} cannot be decompressed ({}); fetch it again",
                            name_, consumed_ - stream_.avail_in, stream_.msg ? stream_.msg : "unknown reason"));
        }
    }
    return given;
}

}  // namespace protalbert

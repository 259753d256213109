#pragma once
// The bytes of one input, decompressed: a plain file from a position, a gzip file (any number of members, also blocks
// of BGZF), a pipe or standard input. Gzip is recognised by content.

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace protalbert {

class ByteSource {
  public:
    /// "-" is standard input. `begin` > 0 is for plain files alone. Throws InputError naming the file when it cannot be
    /// opened, or is a regular file of foreign content (base/content.hpp), also within gzip. Of a pipe's content the
    /// first read tells.
    explicit ByteSource(const std::string& path, std::uint64_t begin = 0);
    ~ByteSource();
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;

    /// Up to `size` bytes; 0 at the end. Throws InputError for damaged or truncated gzip data and BGZF without
    /// its closing block, Error when reading fails. What stands behind gzip data and is none is not read, as gunzip
    /// does it: remark() tells.
    std::size_t read(char* data, std::size_t size);

    bool gzip() const { return gzip_; }
    /// What whoever reads should be told, once the end is reached; empty where there is nothing.
    const std::string& remark() const { return remark_; }
    /// A file of known size that can be read at any position, not a pipe or terminal.
    bool regular() const { return regular_; }
    std::uint64_t file_size() const { return file_size_; }  ///< bytes, of a regular file
    /// Bytes of the file given out so far; for gzip those decompressed.
    std::uint64_t consumed() const { return consumed_ - (raw_end_ - raw_begin_); }
    /// Called twice a second while a pipe has nothing to read; it may throw.
    void when_idle(std::function<void()> idle) { idle_ = std::move(idle); }

  private:
    std::size_t read_file(char* data, std::size_t size);
    std::size_t read_gzip(char* data, std::size_t size);
    void recognise_gzip();
    void refuse_foreign_content();
    bool fill_raw(std::size_t bytes);
    bool begin_member();
    void end_gzip();
    [[noreturn]] void refuse_open_bgzf() const;

    std::string name_;
    int descriptor_ = -1;
    bool owned_ = true;
    bool regular_ = false;
    bool gzip_ = false;
    std::uint64_t file_size_ = 0;
    std::uint64_t consumed_ = 0;
    std::vector<char> raw_;  // bytes of the file that were read and not yet given out or decompressed
    std::size_t raw_begin_ = 0;
    std::size_t raw_end_ = 0;
    z_stream stream_{};
    bool stream_open_ = false;
    bool looked_ = false;         // what the content is
    bool member_open_ = false;    // in the middle of a gzip member
    bool gzip_ended_ = false;     // what follows is not read
    gz_header header_{};          // of the member
    unsigned char extra_[64]{};   // its extra field, where BGZF says that it is a block
    bool bgzf_open_ = false;      // the last of its blocks had content
    std::uint64_t inflated_ = 0;  // bytes of the member
    std::vector<char> head_;      // decompressed bytes that were looked at and not yet given out
    std::size_t head_begin_ = 0;
    std::string remark_;
    std::function<void()> idle_;
};

/// The name of an input in messages: its path, or "standard input".
std::string input_name(const std::string& path);

}  // namespace protalbert

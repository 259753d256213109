#pragma once
// Lines of an input as pieces of a bounded buffer: a line longer than the buffer comes in several pieces.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "data/byte_source.hpp"

namespace protalbert {

struct LinePiece {
    const char* data = nullptr;  ///< without the line's end
    std::size_t size = 0;
    std::uint64_t position = 0;  ///< of data in the decompressed file
    bool starts = false;         ///< first piece of its line
    bool ends = false;           ///< last piece of its line
};

class LineScanner {
  public:
    /// `position`: of the source's next byte. `advance` (may be empty) hears consumed bytes after each read.
    LineScanner(ByteSource& source, std::uint64_t position, const std::function<void(std::uint64_t)>& advance)
        : source_(source), position_(position), advance_(advance), buffer_(buffer_size) {}

    /// The next piece; false at the end of the input. Its data stay valid until the next call.
    bool next(LinePiece& piece) {
        for (;;) {
            const char* start = buffer_.data() + begin_;
            const std::size_t available = end_ - begin_;
            const char* newline = available ? static_cast<const char*>(std::memchr(start, '\n', available)) : nullptr;
            if (newline) {
                const auto size = static_cast<std::size_t>(newline - start);
                take(piece, size, size + 1, true);
                return true;
            }
            if (available == buffer_.size()) {
                // Too long for the buffer. A CR at the cut may belong to the line's end, so it waits.
                const std::size_t size = available - (start[available - 1] == '\r' ? 1 : 0);
                take(piece, size, size, false);
                return true;
            }
            if (at_end_) {
                if (available == 0) return false;
                take(piece, available, available, true);
                return true;
            }
            refill();
        }
    }

    /// What the buffer holds once it is full or the input has ended; nothing is taken.
    std::string_view peek() {
        while (!at_end_ && end_ - begin_ < buffer_.size()) refill();
        return {buffer_.data() + begin_, end_ - begin_};
    }
    /// Passes over `count` bytes that were peeked at.
    void skip(std::size_t count) {
        begin_ += count;
        position_ += count;
    }

  private:
    // A few hundred proteins; small enough for the second-level cache.
    static constexpr std::size_t buffer_size = std::size_t{1} << 18;

    void take(LinePiece& piece, std::size_t size, std::size_t step, bool ends) {
        piece.data = buffer_.data() + begin_;
        piece.size = size;
        piece.position = position_;
        piece.starts = at_line_start_;
        piece.ends = ends;
        if (ends && size > 0 && piece.data[size - 1] == '\r') --piece.size;
        at_line_start_ = ends;
        begin_ += step;
        position_ += step;
    }

    void refill() {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        const std::size_t count = source_.read(buffer_.data() + end_, buffer_.size() - end_);
        end_ += count;
        at_end_ = count == 0;
        if (advance_) advance_(source_.consumed());
    }

    ByteSource& source_;
    std::uint64_t position_;
    const std::function<void(std::uint64_t)>& advance_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool at_line_start_ = true;
    bool at_end_ = false;
};

}  // namespace protalbert

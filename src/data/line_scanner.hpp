#pragma once
// Lines of an input as pieces of a bounded buffer: a line longer than the buffer comes in several pieces. A line ends
// in LF, in CR LF or, as on old Macs, in CR; UTF-8's mark before a line's first letter is passed over.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/buffer_size.hpp"
#include "base/content.hpp"
#include "data/byte_source.hpp"

namespace protalbert {

struct LinePiece {
    const char* data = nullptr;  ///< without the line's end
    std::size_t size = 0;
    std::uint64_t position = 0;       ///< of data in the decompressed file
    std::uint64_t line_position = 0;  ///< of the line's first byte
    bool starts = false;              ///< first piece of its line
    bool ends = false;                ///< last piece of its line
    std::string_view text() const { return {data, size}; }
};

class LineScanner {
  public:
    /// `position`: of the source's next byte. `advance` (may be empty) hears consumed bytes after each read.
    LineScanner(ByteSource& source, std::uint64_t position, std::function<void(std::uint64_t)> advance = {})
        : source_(source), position_(position), advance_(std::move(advance)), buffer_(most_bytes) {}

    /// The next piece; false at the end of the input. Its data stay valid until the next call.
    bool next(LinePiece& piece) {
        for (;;) {
            find('\n', newline_);
            find('\r', carriage_return_);
            const std::size_t end = std::min(newline_, carriage_return_);
            const bool full = end_ - begin_ == buffer_.size();
            if (end < end_) {
                // A CR that was read last may be half of a line's end.
                const bool waits = buffer_[end] == '\r' && end + 1 == end_ && !at_end_;
                if (!waits) {
                    const bool both = buffer_[end] == '\r' && end + 1 < end_ && buffer_[end + 1] == '\n';
                    take(piece, end - begin_, both ? 2 : 1);
                    return true;
                }
                if (full) {
                    take(piece, end - begin_, 0);
                    return true;
                }
            } else if (full) {
                take(piece, end_ - begin_, 0);
                return true;
            } else if (at_end_) {
                if (begin_ == end_) return false;
                take(piece, end_ - begin_, 0);
                piece.ends = true;
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

  private:
    // A few hundred proteins; small enough for the second-level cache.
    static constexpr std::size_t most_bytes = buffer_size(std::size_t{1} << 18);

    /// Moves `place` to the next `letter` at or behind begin_, or to end_; between begin_ and the old place is none.
    void find(char letter, std::size_t& place) const {
        place = std::max(place, begin_);
        if (place == end_ || buffer_[place] == letter) return;
        const void* const found = std::memchr(buffer_.data() + place, letter, end_ - place);
        place = found ? static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.data()) : end_;
    }

    /// The next `size` bytes as a piece, and `ending` bytes of a line's end behind them.
    void take(LinePiece& piece, std::size_t size, std::size_t ending) {
        piece.starts = at_line_start_;
        piece.ends = at_line_start_ = ending > 0;
        if (piece.starts) line_position_ = position_;
        piece.data = buffer_.data() + begin_;
        piece.size = size;
        piece.position = position_;
        piece.line_position = line_position_;
        while (piece.starts && piece.text().starts_with(byte_order_mark)) {
            piece.data += byte_order_mark.size();
            piece.size -= byte_order_mark.size();
            piece.position += byte_order_mark.size();
        }
        begin_ += size + ending;
        position_ += size + ending;
    }

    void refill() {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        for (std::size_t* place : {&newline_, &carriage_return_}) *place = std::max(*place, begin_) - begin_;
        end_ -= begin_;
        begin_ = 0;
        const std::size_t count = source_.read(buffer_.data() + end_, buffer_.size() - end_);
        end_ += count;
        at_end_ = count == 0;
        if (advance_) advance_(source_.consumed());
    }

    ByteSource& source_;
    std::uint64_t position_;
    std::uint64_t line_position_ = 0;
    std::function<void(std::uint64_t)> advance_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t newline_ = 0;  // as find leaves it
    std::size_t carriage_return_ = 0;
    bool at_line_start_ = true;
    bool at_end_ = false;
};

}  // namespace protalbert

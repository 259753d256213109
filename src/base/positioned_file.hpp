#pragma once
// Reads and writes at positions of a file, beside HDF5.
//
// For tests of programs that are killed while they write: the environment variable PROTALBERT_SLOW_WRITE, in bytes a
// second, slows every write of a checkpoint's or an embedding's arrays down, and makes the steps that follow a write
// (syncing, reading back, renaming) wait for as long as 4096 bytes would take.

#include <cstddef>
#include <cstdint>
#include <string>

namespace protalbert {

/// An open file that closes itself. Any thread may read or write.
class PositionedFile {
  public:
    /// Throws Error.
    PositionedFile(const std::string& path, bool writable);
    ~PositionedFile();
    PositionedFile(const PositionedFile&) = delete;
    PositionedFile& operator=(const PositionedFile&) = delete;

    std::uint64_t size() const;
    void read(void* data, std::size_t bytes, std::uint64_t position) const;
    /// Throws Error, with the space left when there is none and what to do.
    void write(const void* data, std::size_t bytes, std::uint64_t position) const;
    /// Gives the file at least `bytes` of disk, where the file system can promise that; false when there is no room.
    bool reserve(std::uint64_t bytes) const;
    void truncate(std::uint64_t bytes) const;
    /// Lets the disk begin with bytes that were written, so that sync() has less to wait for. Never fails.
    void start_sync(std::uint64_t position, std::uint64_t bytes) const;
    /// Waits until what was written is on disk.
    void sync() const;

  private:
    std::string path_;
    int descriptor_;
};

/// Waits as PROTALBERT_SLOW_WRITE says, between two steps of finishing a file.
void slow_down();

}  // namespace protalbert

#pragma once
// A file of foreign origin, read at positions: whatever is wrong with it is an InputError that names it.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace protalbert {

/// An open regular file that closes itself.
class InputFile {
  public:
    /// Throws InputError when there is none, or when it is no regular file or cannot be read; `what` names its kind.
    InputFile(const std::filesystem::path& path, const std::string& what);
    ~InputFile();
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    std::string name() const { return path_.string(); }
    const std::filesystem::path& path() const { return path_; }
    std::uint64_t size() const { return size_; }
    /// Throws InputError when the file ends before position + bytes, or cannot be read.
    void read(void* data, std::size_t bytes, std::uint64_t position) const;
    /// The bytes as text.
    std::string read(std::size_t bytes, std::uint64_t position) const;

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::uint64_t size_ = 0;
};

/// The number of `bytes` bytes at `data`, least significant first.
std::uint64_t little_endian(const char* data, int bytes);

}  // namespace protalbert

#pragma once
// The folder in which a benchmark writes what it measures.

#include <cstdint>
#include <filesystem>

#include "comm/communicator.hpp"

namespace protalbert {

/// A new folder inside another, removed with all that it holds when the benchmark ends, also by an error.
class ScratchFolder {
  public:
    /// Makes PARENT/protalbert_bench_ and six letters. Throws InputError where nobody may write, and Error without
    /// `bytes` of space. Collective.
    ScratchFolder(const std::filesystem::path& parent, std::uint64_t bytes, const Communicator& communicator);
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
    bool owner_;
};

}  // namespace protalbert

#pragma once
// What the fuzzers share. A fuzzer is one function, LLVMFuzzerTestOneInput, that gives the bytes to a reader. A fault
// is whatever the sanitizers report, any exception but InputError, a broken promise (require), a hang, and memory
// beyond the limits that fuzz.sh sets.

#include <fcntl.h>
#include <mpi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "comm/communicator.hpp"

namespace fuzzing {

/// Ends the fuzzer with a fault unless `condition` holds.
inline void require(bool condition, const std::string& promise) {
    if (condition) return;
    std::fprintf(stderr, "broken promise: %s\n", promise.c_str());
    std::abort();
}

/// A regular file in memory, written anew for each input.
class MemoryFile {
  public:
    MemoryFile() : descriptor_(memfd_create("fuzz", 0)) { require(descriptor_ >= 0, "memory for a file"); }
    ~MemoryFile() { close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
    const std::string& set(std::string_view content) {
        require(ftruncate(descriptor_, 0) == 0 &&
                    pwrite(descriptor_, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()),
                "a file in memory can be written");
        path_ = path();
        return path_;
    }

  private:
    int descriptor_;
    std::string path_;
};

/// A file with a name, for readers that ask for its real path (HDF5). In memory where Linux has a place for such files.
class NamedFile {
  public:
    explicit NamedFile(const std::string& suffix = "") {
        const std::filesystem::path memory = "/dev/shm";
        const std::filesystem::path folder =
            access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
        path_ = (folder / ("protalbert_fuzz." + std::to_string(getpid()) + suffix)).string();
    }
    ~NamedFile() { unlink(path_.c_str()); }
    NamedFile(const NamedFile&) = delete;
    NamedFile& operator=(const NamedFile&) = delete;

    const std::string& path() const { return path_; }
    const std::string& set(std::string_view content) const {
        const int descriptor = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        require(descriptor >= 0 &&
                    write(descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                    close(descriptor) == 0,
                "a file can be written");
        return path_;
    }

  private:
    std::string path_;
};

/// MPI with this process as its only rank.
inline const protalbert::Communicator& alone() {
    static const auto* const communicator = [] {
        int provided = 0;
        MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
        std::atexit([] { MPI_Finalize(); });
        return new protalbert::Communicator(protalbert::Communicator::world());
    }();
    return *communicator;
}

/// Why `read` refuses its input; nothing when it takes it.
template <class Read>
std::optional<std::string> refusal(const Read& read) {
    try {
        read();
    } catch (const protalbert::InputError& error) {
        return error.what();
    }
    return std::nullopt;
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// Takes the first byte off, 0 where there is none.
inline unsigned take_byte(std::string_view& bytes) {
    if (bytes.empty()) return 0;
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    return byte;
}

/// One input for a reader of several files: they are separated by this byte, which none of them needs.
constexpr char file_separator = '\x1c';

/// As many files as were asked for, missing ones empty; the last one has the rest.
inline std::vector<std::string_view> split_files(std::string_view bytes, std::size_t files) {
    std::vector<std::string_view> parts;
    while (parts.size() + 1 < files) {
        const std::size_t end = std::min(bytes.find(file_separator), bytes.size());
        parts.push_back(bytes.substr(0, end));
        bytes.remove_prefix(std::min(end + 1, bytes.size()));
    }
    parts.push_back(bytes);
    return parts;
}

}  // namespace fuzzing

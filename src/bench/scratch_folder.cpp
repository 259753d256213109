#include "bench/scratch_folder.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "base/file_system.hpp"
#include "comm/program.hpp"

namespace protalbert {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder(const fs::path& parent, std::uint64_t bytes, const Communicator& communicator)
    : path_(communicator.broadcast((parent / fmt::format("protalbert_bench_{}", getpid())).string(), 0)),
      owner_(communicator.root()) {
    on_root(communicator, [&] {
        require_writable_place(path_, "the benchmark's folder");
        require_space(parent, bytes, "the benchmark's files");
        fs::create_directory(path_);
    });
}

ScratchFolder::~ScratchFolder() {
    std::error_code error;
    if (owner_) fs::remove_all(path_, error);
}

}  // namespace protalbert

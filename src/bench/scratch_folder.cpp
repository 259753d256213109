#include "bench/scratch_folder.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/program.hpp"

namespace protalbert {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder(const fs::path& parent, std::uint64_t bytes, const Communicator& communicator)
    : owner_(communicator.root()) {
    std::string place = (parent / "protalbert_bench_XXXXXX").string();
    on_root(communicator, [&] {
        require_writable_place(place, "the benchmark's folder");
        require_space(parent, bytes, "the benchmark's files");
        // A name that nobody has: process ids repeat on another machine.
        if (mkdtemp(place.data()) == nullptr)
            throw Error(fmt::format("cannot make the benchmark's folder {}: {}", place, std::strerror(errno)));
    });
    path_ = communicator.broadcast(place, 0);
}

ScratchFolder::~ScratchFolder() {
    std::error_code error;
    if (owner_) fs::remove_all(path_, error);
}

}  // namespace protalbert

#include "train/timeline_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <vector>

#include "base/file_system.hpp"
#include "base/timeline.hpp"

namespace protalbert {

std::string write_timeline(const std::string& file, const Communicator& communicator) {
    std::array<char, 256> machine{};
    gethostname(machine.data(), machine.size() - 1);
    const std::string events =
        timeline::events(communicator.rank(), fmt::format("rank {} on {}", communicator.rank(), machine.data()));

    std::vector<std::vector<std::byte>> outgoing(static_cast<std::size_t>(communicator.ranks()));
    const auto* begin = reinterpret_cast<const std::byte*>(events.data());
    outgoing.front().assign(begin, begin + events.size());
    const std::vector<std::vector<std::byte>> gathered = communicator.exchange(outgoing);
    if (!communicator.root()) return {};

    std::ofstream stream(file, std::ios::binary);
    stream << "{\"traceEvents\": [\n";
    for (std::size_t rank = 0; rank < gathered.size(); ++rank) {
        if (rank > 0) stream << ",\n";
        stream.write(reinterpret_cast<const char*>(gathered[rank].data()),
                     static_cast<std::streamsize>(gathered[rank].size()));
    }
    stream << "\n]}\n";
    return stream.flush() ? std::string() : fmt::format("cannot write {}{}", file, space_hint(file));
}

}  // namespace protalbert

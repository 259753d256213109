// A checkpoint after bytes of it were changed: 4 bytes a change, where (3) and what (1, exclusive or); the last 3 bytes
// of an odd number cut the file. Whatever its seal covers, a change is refused before HDF5 reads it, and what is not
// refused is what was written.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fuzzing.hpp"
#include "io/checkpoint.hpp"
#include "io/seal.hpp"

using namespace protalbert;
using namespace fuzzing;

namespace {

struct Checkpoint {
    CheckpointHeader header;
    std::vector<float> values = {1, 2, 3, 4, 5, 6};
    std::string bytes;
};

CheckpointArrays arrays_at(float* values) {
    return {{{"a.weight", {2, 2}, values}, {"a.bias", {2}, values + 4}}, {}, {}};
}

const Checkpoint& checkpoint() {
    static const Checkpoint made = [] {
        Checkpoint checkpoint;
        checkpoint.header = {7, 70, "[train]\nsteps = 7\n", "{}", 5, {"<pad>", "A", "C"}, ""};
        const std::filesystem::path file =
            std::filesystem::temp_directory_path() / ("protalbert_fuzz." + std::to_string(getpid()) + ".h5");
        write_checkpoint(file, checkpoint.header, arrays_at(checkpoint.values.data()), alone());
        std::ostringstream content;
        content << std::ifstream(file, std::ios::binary).rdbuf();
        checkpoint.bytes = content.str();
        std::filesystem::remove(file);
        return checkpoint;
    }();
    return made;
}

/// Changes the bytes as the input says; whether any differs.
bool damage(std::string& bytes, std::string_view changes) {
    const std::string whole = bytes;
    const auto place = [&](std::string_view from) {
        return (static_cast<unsigned char>(from[0]) |
                static_cast<std::size_t>(static_cast<unsigned char>(from[1])) << 8 |
                static_cast<std::size_t>(static_cast<unsigned char>(from[2])) << 16) %
               whole.size();
    };
    for (; changes.size() >= 4; changes.remove_prefix(4)) bytes[place(changes)] ^= changes[3];
    if (changes.size() == 3) bytes.resize(place(changes));
    return bytes != whole;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const NamedFile file;
    const Checkpoint& good = checkpoint();
    std::string bytes = good.bytes;
    const bool damaged = damage(bytes, text(data, size));
    const std::string& path = file.set(bytes);
    bool sealed = false;
    const auto refused = refusal([&] { sealed = check_seal(path); });
    require(damaged || sealed, "a checkpoint is sealed");
    if (refused) return 0;
    // Without a seal, as after a cut where HDF5 ends, the file is HDF5's to judge. One of full length has lost it by
    // changes to HDF5's first bytes, which have a checksum of their own.
    if (!sealed) {
        if (bytes.size() == good.bytes.size())
            require(refusal([&] { read_checkpoint_header(path, alone()); }).has_value(), "a broken start is refused");
        return 0;
    }
    const CheckpointHeader header = read_checkpoint_header(path, alone());
    require(header.step == good.header.step && header.samples == good.header.samples &&
                header.deck == good.header.deck && header.config == good.header.config &&
                header.vocabulary == good.header.vocabulary && header.corpus_hash == good.header.corpus_hash,
            "a header that is not refused is the one that was written");
    std::vector<float> values(good.values.size());
    const auto refused_values = refusal([&] { read_checkpoint(path, arrays_at(values.data()), alone()); });
    require(refused_values || values == good.values, "values that are not refused are those that were written");
    require(damaged || !refused_values, "an undamaged checkpoint is read");
    return 0;
}

// The end of an unfinished file of embeddings. First three bytes: batches, proteins, and whether the hashes are made to
// fit by this fuzzer (bit 0: of the positions, bit 1: of the footer); then the file. Damage to a batch's entry makes it
// undone.

#include <xxhash.h>

#include <cstring>

#include "embed/output.hpp"
#include "fuzzing.hpp"

using namespace protalbert;
using namespace fuzzing;

namespace {

// The footer as src/embed/output.cpp writes it: nine numbers, of which the last two are hashes, and 16 bytes of magic.
constexpr std::size_t number_bytes = sizeof(std::uint64_t);
constexpr std::size_t footer_bytes = 9 * number_bytes + 16;

void make_hashes_fit(std::string& file, std::size_t proteins, unsigned which) {
    if (file.size() < footer_bytes) return;
    char* const footer = file.data() + file.size() - footer_bytes;
    const std::size_t position_bytes = proteins * number_bytes;
    if ((which & 1) != 0 && file.size() - footer_bytes >= position_bytes) {
        const std::uint64_t hash = XXH3_64bits(footer - position_bytes, position_bytes);
        std::memcpy(footer + 7 * number_bytes, &hash, sizeof hash);
    }
    if ((which & 2) != 0) {
        const std::uint64_t hash = XXH3_64bits(footer, 8 * number_bytes);
        std::memcpy(footer + 8 * number_bytes, &hash, sizeof hash);
        std::memcpy(footer + 9 * number_bytes, "protalbert part", 16);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const NamedFile file(".part");
    static const std::string path = file.path().substr(0, file.path().size() - std::string_view(".part").size());
    std::string_view bytes = text(data, size);
    OutputSizes sizes;
    sizes.batches = take_byte(bytes) % 32;
    sizes.proteins = take_byte(bytes) % 32;
    const unsigned fit = take_byte(bytes);
    std::string content(bytes);
    make_hashes_fit(content, sizes.proteins, fit);
    file.set(content);
    refusal([&] {
        const OutputFile output = continue_output(path, sizes, alone());
        require(output.done.size() == sizes.batches, "every batch is done or not");
        require(output.proteins.empty() || output.proteins.size() == sizes.proteins, "every protein has its place");
        require(output.progress <= content.size(), "the table lies in the file");
        for (std::uint64_t batch = 0; batch < sizes.batches; ++batch) {
            ProgressEntry entry;
            std::memcpy(&entry, content.data() + output.progress + batch * sizeof entry, sizeof entry);
            const std::uint64_t value = output.done[batch];
            require(value == 0 || (value == entry.value && progress_entry(batch, value).check == entry.check),
                    "what is done says so");
        }
    });
    refusal([&] { find_output(path, {}, false, alone()); });
    return 0;
}

// A safetensors file: the bytes of its header's length, if the first byte is odd, are set by this fuzzer. Tensors lie
// within the file, and are read.

#include "fuzzing.hpp"
#include "io/safetensors.hpp"
#include "tensors.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static MemoryFile file;
    std::string_view bytes = text(data, size);
    std::string content;
    if (take_byte(bytes) % 2 == 1) {
        // Header, then behind a separator the elements.
        const std::uint64_t length = std::min(bytes.find(file_separator), bytes.size());
        content.assign(reinterpret_cast<const char*>(&length), sizeof length);
        content += bytes.substr(0, length);
        if (length < bytes.size()) content += bytes.substr(length + 1);
    } else {
        content = bytes;
    }
    const std::string& path = file.set(content);
    refusal([&] { check_tensors(list_safetensors(path), content.size()); });
    return 0;
}

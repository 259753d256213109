// A file of torch.save, of either layout. Tensors lie within the file, and are read.

#include "fuzzing.hpp"
#include "io/pytorch_file.hpp"
#include "tensors.hpp"

using namespace protalbert;
using namespace fuzzing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static MemoryFile file;
    const std::string& path = file.set(text(data, size));
    refusal([&] {
        const std::vector<StoredTensor> tensors = list_pytorch_file(path).tensors;
        check_tensors(tensors, size);
        // A pickle may name one tuple as the shape of every tensor: none may be long.
        for (const StoredTensor& tensor : tensors) require(tensor.shape.size() <= 64, "shapes are short");
    });
    return 0;
}

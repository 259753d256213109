// A model folder: files of config.json, vocabulary, and the header of model.safetensors (its length is set and as many
// zeros follow as its last offset says). An empty vocabulary is none. Every parameter of a folder that is taken can be
// read.

#include <filesystem>
#include <fstream>

#include "fuzzing.hpp"
#include "model/hugging_face.hpp"

using namespace protalbert;
using namespace fuzzing;

namespace {

namespace fs = std::filesystem;

/// A folder whose files are memory.
struct Folder {
    fs::path path = fs::temp_directory_path() / ("protalbert_fuzz." + std::to_string(getpid()));
    MemoryFile config, vocabulary, weights;

    Folder() {
        fs::remove_all(path);
        fs::create_directory(path);
        fs::create_symlink(config.path(), path / "config.json");
        fs::create_symlink(weights.path(), path / "model.safetensors");
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

/// The largest number in the text that could be the end of the elements.
std::uint64_t largest_number(std::string_view text) {
    constexpr std::uint64_t most = 1 << 16;
    std::uint64_t largest = 0, number = 0;
    for (const char letter : text) {
        number = letter >= '0' && letter <= '9' ? 10 * number + static_cast<std::uint64_t>(letter - '0') : 0;
        if (number > most) number = 0;
        largest = std::max(largest, number);
    }
    return largest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Folder folder;
    const std::vector<std::string_view> parts = split_files(text(data, size), 3);
    folder.config.set(parts[0]);
    const std::uint64_t length = parts[2].size();
    std::string weights(reinterpret_cast<const char*>(&length), sizeof length);
    weights += parts[2];
    weights.append(largest_number(parts[2]), '\0');
    folder.weights.set(weights);
    const std::string vocabulary = parts[1].empty() ? "" : folder.vocabulary.set(parts[1]);
    refusal([&] {
        require(is_hugging_face_folder(folder.path), "a folder with config.json is Hugging Face's");
        const HuggingFaceFolder opened = open_hugging_face(folder.path, vocabulary);
        remarks(opened);
        require(opened.sources.size() == opened.layout.parameters.size(), "every parameter has a source or none");
        if (opened.layout.size > 1 << 20) return;
        for (std::size_t i = 0; i < opened.sources.size(); ++i) {
            std::vector<float> values(static_cast<std::size_t>(opened.layout.parameters[i].size));
            refusal([&] { read_parameter(opened, i, values.data()); });
        }
    });
    return 0;
}

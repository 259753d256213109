#pragma once
// Files of weights for tests, and what is said about bad ones.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "io/stored_tensor.hpp"

namespace protalbert::testing {

/// A folder of its own for a test, removed at its end.
class Folder {
  public:
    Folder() {
        const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
        std::string name = std::string("protalbert_") + test->test_suite_name() + "_" + test->name();
        for (char& c : name) c = c == '/' ? '_' : c;
        path_ = std::filesystem::temp_directory_path() / (name + "_" + std::to_string(getpid()));
        std::filesystem::create_directories(path_);
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::filesystem::path write(const std::string& name, const std::string& content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
        return path_ / name;
    }
    std::filesystem::path path() const { return path_; }
    std::filesystem::path path(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

inline std::string content_of(const std::filesystem::path& file) {
    std::ostringstream content;
    content << std::ifstream(file, std::ios::binary).rdbuf();
    return content.str();
}

/// `number` in `count` bytes, least significant first.
inline std::string bytes_of(std::uint64_t number, int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i, number >>= 8) bytes += static_cast<char>(number);
    return bytes;
}

/// The message of the InputError that `work` throws; a failure of the test when it throws none.
template <class Work>
std::string message_of(const Work& work) {
    try {
        work();
    } catch (const InputError& error) {
        return error.what();
    } catch (const std::exception& error) {
        ADD_FAILURE() << "not an InputError: " << error.what();
        return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
}

#define EXPECT_MESSAGE(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

inline std::vector<float> read_values(const StoredTensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    read_tensor(tensor, values.data());
    return values;
}

/// Reads all that can be read; only an InputError may stop it. False when one did.
template <class List>
bool survives(const List& list) {
    try {
        for (const StoredTensor& tensor : list()) {
            // A tensor of one repeated element may have any size; whoever wants it knows the size from elsewhere.
            const bool small = tensor.elements() <= 1 << 20;
            if (small && (tensor.element == "float32" || tensor.element == "float16")) read_values(tensor);
        }
        return true;
    } catch (const InputError&) {
        return false;
    }
}

}  // namespace protalbert::testing

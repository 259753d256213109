#pragma once
// A place for a test's files, and what is said about bad ones.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.hpp"

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

}  // namespace protalbert::testing

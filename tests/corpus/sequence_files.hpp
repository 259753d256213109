#pragma once
// Small sequence files for tests, and what the reader makes of them.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data/sequence_reader.hpp"

namespace protalbert::corpus_test {

/// A folder of its own for a test, removed at its end.
class Folder {
  public:
    Folder() {
        const auto* test = testing::UnitTest::GetInstance()->current_test_info();
        path_ = std::filesystem::temp_directory_path() / (std::string("protalbert_") + test->test_suite_name() + "_" +
                                                          test->name() + "_" + std::to_string(getpid()));
        std::filesystem::create_directories(path_);
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::string write(const std::string& name, const std::string& content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
        return (path_ / name).string();
    }
    /// Appends a gzip member.
    std::string append_gzip(const std::string& name, const std::string& content) const {
        gzFile file = gzopen((path_ / name).c_str(), "ab");
        if (!content.empty()) gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
        gzclose(file);
        return (path_ / name).string();
    }
    std::filesystem::path path(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

struct ReadResult {
    std::vector<SequenceRecord> records;
    InputCounts counts;
};

inline void read_part(const InputPart& part, ReadResult& result, InvalidLetters invalid = InvalidLetters::error) {
    read_sequences(part, default_vocabulary(), invalid, result.counts,
                   [&](const SequenceRecord& record) { result.records.push_back(record); });
}

inline ReadResult read_file(const std::string& path, InvalidLetters invalid = InvalidLetters::error,
                            InputFormat format = InputFormat::automatic) {
    ReadResult result;
    const auto plan = plan_input({path}, format, 1);
    for (const InputPart& part : plan.front()) read_part(part, result, invalid);
    return result;
}

/// Residues as letters.
inline std::string letters(const std::vector<std::uint8_t>& tokens) {
    static const Vocabulary vocabulary = default_vocabulary();
    std::string text;
    for (const std::uint8_t token : tokens) text += vocabulary.pieces[token];
    return text;
}

/// "id:LETTERS id:LETTERS ...", with a bar before records that begin a document when `documents` are asked for.
inline std::string show(const ReadResult& result, bool documents = false) {
    std::string text;
    for (const SequenceRecord& record : result.records)
        text += fmt::format("{}{}{}:{}", text.empty() ? "" : " ", documents && record.starts_document ? "|" : "",
                            record.id, letters(record.tokens));
    return text;
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

}  // namespace protalbert::corpus_test

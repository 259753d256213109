#pragma once
// Small sequence files for tests, and what the reader makes of them.

#include <fmt/format.h>
#include <zlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "../foundation/folder.hpp"
#include "data/sequence_reader.hpp"

namespace protalbert::corpus_test {

using testing::Folder;
using testing::message_of;

/// Appends a gzip member to a file of the folder.
inline std::filesystem::path append_gzip(const Folder& folder, const std::string& name, const std::string& content) {
    const std::filesystem::path path = folder.path(name);
    gzFile file = gzopen(path.c_str(), "ab");
    if (!content.empty()) gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return path;
}

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

}  // namespace protalbert::corpus_test

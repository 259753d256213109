#pragma once
// Small sequence files for tests, and what the reader makes of them.

#include <fmt/format.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
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

inline std::string whole_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void append(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::app)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// A gzip member with an extra field in its header, none where it is empty.
inline std::string gzip_member(const std::string& content, const std::string& extra) {
    z_stream stream{};
    deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string field = extra, input = content, member(content.size() + extra.size() + 256, '\0');
    gz_header header{};
    header.extra = extra.empty() ? nullptr : reinterpret_cast<Bytef*>(field.data());
    header.extra_len = static_cast<uInt>(field.size());
    deflateSetHeader(&stream, &header);
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(member.data());
    stream.avail_out = static_cast<uInt>(member.size());
    deflate(&stream, Z_FINISH);
    member.resize(stream.total_out);
    deflateEnd(&stream);
    return member;
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

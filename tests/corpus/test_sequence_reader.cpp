// FASTA and text as people write them, cut anywhere into parts, plain and gzip; and messages for what is wrong.

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "data/sequence_reader.hpp"
#include "sequence_files.hpp"

namespace protalbert {
namespace {

using namespace corpus_test;

TEST(SequenceReader, ReadsFasta) {
    const Folder folder;
    const auto read = [&](const std::string& content) { return show(read_file(folder.write("f", content))); };
    EXPECT_EQ(read(">a first protein\nMKV\nLL\n>b\nAC\n"), "a:MKVLL b:AC");
    EXPECT_EQ(read(">a\r\nMKV\r\nLL\r\n>b\r\nAC"), "a:MKVLL b:AC");
    EXPECT_EQ(read("\n\n>a\n\nMKV\n\nLL\n\n\n>b\nAC\n\n"), "a:MKVLL b:AC");
    EXPECT_EQ(read(">a\nmkv LL\tA \n"), "a:MKVLLA");
    EXPECT_EQ(read(">\nMK\n> spaced id\nV\n>tab\tseparated\nL\n>empty\n>last"), ":MK spaced:V tab:L empty: last:");
    EXPECT_EQ(read("\xEF\xBB\xBF>bom\nMK\n"), "bom:MK");
    EXPECT_EQ(read(">sp|P1|X_Y some > sign [in] header\nMK\n"), "sp|P1|X_Y:MK");
    EXPECT_EQ(read(">a\nUZOBuzobA*\n>b\nM\n*\n>c\n*\n"), "a:XXXXXXXXA b:M c:");

    const ReadResult result = read_file(folder.write("f", ">a\nUZOBuzobA*\n\n>b\nM\n*\n>c\n*\n>d\n"));
    EXPECT_EQ(result.counts.records, 4U);
    EXPECT_EQ(result.counts.residues, 10U);
    EXPECT_EQ(result.counts.replaced_residues, 8U);
    EXPECT_EQ(result.counts.stops, 3U);
    EXPECT_EQ(result.counts.empty_records, 2U);
    EXPECT_EQ(result.records[1].position, 15U);
    EXPECT_EQ(result.records[1].line, 4U);
    EXPECT_TRUE(result.records[1].starts_document);
}

TEST(SequenceReader, ReadsText) {
    const Folder folder;
    const auto read = [&](const std::string& content) { return show(read_file(folder.write("t", content)), true); };
    EXPECT_EQ(read("M K V\nL L\n\nA C\n"), "|t:1:MKV t:2:LL |t:4:AC");
    EXPECT_EQ(read("M K V \r\nL L\r\n\r\nA C"), "|t:1:MKV t:2:LL |t:4:AC");
    EXPECT_EQ(read("\n \n\nM\n \t\nm u  k *\n*\n\n\n"), "|t:4:M |t:6:MXK t:7:");
    const ReadResult result = read_file(folder.write("t", "M U\n\nL *\nZ Z Z\n"));
    EXPECT_EQ(result.counts.replaced_residues, 4U);
    EXPECT_EQ(result.counts.stops, 1U);
    EXPECT_EQ(result.records[1].position, 5U);
    EXPECT_EQ(result.records[1].line, 3U);
}

// A record, wherever it is cut, belongs to exactly one part, and positions and ids do not depend on the cut.
void expect_any_cut(const Folder& folder, const std::string& content, InputFormat format) {
    const std::string path = folder.write("cut", content);
    InputPart part;
    part.path = path;
    part.format = format;
    ReadResult whole;
    read_part(part, whole);
    for (std::uint64_t first = 0; first <= content.size(); ++first)
        for (std::uint64_t second = first; second <= content.size(); second += 7) {
            ReadResult pieces;
            for (const auto& [begin, end] :
                 {std::pair<std::uint64_t, std::uint64_t>{0, first}, {first, second}, {second, end_of_file}}) {
                if (begin == end) continue;
                part.begin = begin;
                part.end = end;
                read_part(part, pieces);
            }
            ASSERT_EQ(show(pieces, true), show(whole, true)) << first << " " << second;
            for (std::size_t i = 0; i < whole.records.size(); ++i)
                ASSERT_EQ(pieces.records[i].position, whole.records[i].position);
        }
}

TEST(SequenceReader, FastaMayBeCutAnywhere) {
    const Folder folder;
    expect_any_cut(folder, ">a x > y\nMKV\nLLA\n>b\n\n>c\nA\n\nC\n>d\nDEF", InputFormat::fasta);
    expect_any_cut(folder, "\r\n>a\r\nMKV\r\nLLA\r\n>b\r\n>c\r\nA\r\n\r\nC\r\n", InputFormat::fasta);
}

TEST(SequenceReader, TextMayBeCutAnywhere) {
    const Folder folder;
    expect_any_cut(folder, "M K V\nL\n\nA C\nD\nE F\n\n\n\nG\n \nH I\n\n", InputFormat::text);
    expect_any_cut(folder, "\r\nM K V\r\nL\r\n\r\nA C\r\nD \r\n\r\n\r\nG", InputFormat::text);
}

TEST(SequenceReader, LinesMayBeLongerThanAnyBuffer) {
    const Folder folder;
    // Around multiples of the scanner's buffer of 2^18 bytes, with both line ends, so that cuts fall on CR and LF.
    for (const std::size_t length :
         {(1U << 18) - 6, (1U << 18) - 5, (1U << 18) - 4, (1U << 18) - 3, (1U << 18) - 2, 1U << 18, (1U << 18) + 1,
          (1U << 19) - 4, (1U << 19) - 3, (1U << 19) + 5, 3U << 18})
        for (const std::string end : {"\n", "\r\n"}) {
            std::string residues(length, 'A');
            for (std::size_t i = 0; i < length; i += 3) residues[i] = 'L';
            const std::string path = folder.write("long", ">a" + end + residues + end + ">b" + end + "C" + end);
            ASSERT_EQ(show(read_file(path)), "a:" + residues + " b:C") << length;

            std::string text;
            for (const char letter : residues) text += std::string(1, letter) + " ";
            text.back() = end[0];
            ASSERT_EQ(letters(read_file(folder.write("text", text + end.substr(1) + "C" + end)).records[0].tokens),
                      residues);
            const std::string header = ">id " + std::string(length, 'x') + end + "MK" + end;
            ASSERT_EQ(show(read_file(folder.write("header", header))), "id:MK");
        }
}

TEST(SequenceReader, ReadsGzipOfSeveralMembers) {
    const Folder folder;
    append_gzip(folder, "g.gz", ">a\nMK");
    append_gzip(folder, "g.gz", "");
    const std::string path = append_gzip(folder, "g.gz", "V\n>b\nAC\n");
    EXPECT_EQ(show(read_file(path)), "a:MKV b:AC");
    // Padding with zeros, as tapes leave it.
    FILE* file = std::fopen(path.c_str(), "ab");
    std::fwrite("\0\0\0\0", 1, 4, file);
    std::fclose(file);
    EXPECT_EQ(show(read_file(path)), "a:MKV b:AC");
    EXPECT_EQ(show(read_file(append_gzip(folder, "t.gz", "M K\n\nV\n")), true), "|t.gz:1:MK |t.gz:3:V");
}

TEST(SequenceReader, NamesDamagedGzip) {
    const Folder folder;
    std::string content;
    for (int i = 0; i < 20000; ++i) content += ">id" + std::to_string(i * 7919) + "\nMKVLAAGIT\n";
    const std::string path = append_gzip(folder, "g.gz", content);
    const auto size = std::filesystem::file_size(path);
    EXPECT_EQ(read_file(path).records.size(), 20000U);
    std::filesystem::resize_file(path, size - 5);
    EXPECT_MESSAGE(message_of([&] { read_file(path); }), "g.gz ends in the middle");
    std::filesystem::resize_file(path, size / 2);
    EXPECT_MESSAGE(message_of([&] { read_file(path); }), "incomplete");
    FILE* file = std::fopen(path.c_str(), "r+b");
    std::fseek(file, static_cast<long>(size / 4), SEEK_SET);
    std::fwrite("damaged by a bad disk", 1, 21, file);
    std::fclose(file);
    message_of([&] { read_file(path); });
    const std::string trailing = append_gzip(folder, "trailing.gz", ">a\nMK\n");
    file = std::fopen(trailing.c_str(), "ab");
    std::fwrite("garbage", 1, 7, file);
    std::fclose(file);
    EXPECT_MESSAGE(message_of([&] { read_file(trailing); }), "trailing.gz is damaged");
}

TEST(SequenceReader, NamesFileLineRecordAndLetter) {
    const Folder folder;
    const auto refused = [&](const std::string& content) {
        return message_of([&] { read_file(folder.write("f.fa", content)); });
    };
    EXPECT_MESSAGE(refused(">a\nMK\n>bad one\nMK\nVLJ\n"), "f.fa:5: record 'bad' has 'J' in column 3");
    EXPECT_MESSAGE(refused(">a\nMK-V\n"), "f.fa:2: record 'a' has '-'");
    EXPECT_MESSAGE(refused(">a\nM*\nK\n"), "f.fa:2: record 'a' has '*' in column 2");
    EXPECT_MESSAGE(refused(">a\nM**\n"), "f.fa:2: record 'a' has '*' in column 2");
    EXPECT_MESSAGE(refused(">a\nMK>V\n"), "has '>'");
    EXPECT_MESSAGE(refused(std::string(">a\nMK\0V\n", 8)), "byte 0x00");
    EXPECT_MESSAGE(refused(">a\nMK\xC3\xA9\n"), "byte 0xc3");
    EXPECT_MESSAGE(refused(">a\rMKV\r>b\rMK\r"), "carriage returns");
    EXPECT_MESSAGE(refused(">a\nMK\rV\n"), "byte 0x0d");
    EXPECT_MESSAGE(refused(fmt::format(">{:i>1024}\nMK\n", "")), "f.fa:1: the id that begins 'iii");
    EXPECT_EQ(read_file(folder.write("f.fa", fmt::format(">{:i>1023}\nMK\n", ""))).records[0].id.size(), 1023U);
    EXPECT_MESSAGE(refused("M K\nMKV L\n"), "f.fa:2: no space before 'K' in column 2");
    EXPECT_MESSAGE(refused("M K\n\nA J\n"), "f.fa:3: the sequence has 'J' in column 3");
    EXPECT_MESSAGE(refused("MKVLL\nMK\n"), "neither FASTA");
    EXPECT_MESSAGE(
        message_of([&] { read_file(folder.write("f.fa", "M K\n>a\n"), InvalidLetters::error, InputFormat::fasta); }),
        "f.fa:1: 'M K' where the first header is expected");
    EXPECT_MESSAGE(
        message_of([&] { read_file(folder.write("f.fa", ">a\nM K\n"), InvalidLetters::error, InputFormat::text); }),
        "f.fa:1:");
}

TEST(SequenceReader, CountsLinesFromTheFilesStartInEveryPart) {
    const Folder folder;
    std::string content;
    for (int i = 0; i < 50; ++i) content += ">r" + std::to_string(i) + "\nMKV\nLL\n";
    content += ">bad\nMKV\nLJL\n";
    InputPart part;
    part.path = folder.write("f", content);
    part.format = InputFormat::fasta;
    for (part.begin = 0; part.begin < content.rfind('>'); part.begin += 11) {
        ReadResult result;
        EXPECT_MESSAGE(message_of([&] { read_part(part, result); }), "f:153: record 'bad' has 'J' in column 2");
    }
}

TEST(SequenceReader, SkipsOrReadsUnknownLettersWhenTold) {
    const Folder folder;
    const std::string path = folder.write("f", ">a\nMJK\n>b\nACU\n>c\nM*K*\n>d\nM-\n");
    const ReadResult skipped = read_file(path, InvalidLetters::skip);
    EXPECT_EQ(show(skipped), "b:ACX");
    EXPECT_EQ(skipped.counts.skipped_records, 3U);
    EXPECT_EQ(skipped.counts.records, 1U);
    EXPECT_EQ(skipped.counts.residues, 3U);
    EXPECT_EQ(skipped.counts.replaced_residues, 1U);
    const ReadResult unknown = read_file(path, InvalidLetters::unknown);
    EXPECT_EQ(show(unknown), "a:MXK b:ACX c:MXK d:MX");
    EXPECT_EQ(unknown.counts.unknown_letters, 3U);
    EXPECT_EQ(unknown.counts.stops, 1U);
    // Binary data are no letters.
    const std::string binary = folder.write("g", std::string(">a\nM\0K\n", 7));
    message_of([&] { read_file(binary, InvalidLetters::skip); });
    message_of([&] { read_file(binary, InvalidLetters::unknown); });
    // A document keeps its beginning when its first record is skipped.
    EXPECT_EQ(show(read_file(folder.write("t", "M J\nA\n\nC\n"), InvalidLetters::skip), true), "|t:2:A |t:4:C");
}

TEST(SequenceReader, ReportsProgress) {
    const Folder folder;
    const std::string path = folder.write("f", ">a\nMKV\n");
    InputPart part;
    part.path = path;
    part.format = InputFormat::fasta;
    InputCounts counts;
    std::uint64_t last = 0;
    read_sequences(
        part, default_vocabulary(), InvalidLetters::error, counts, [](const SequenceRecord&) {},
        [&](std::uint64_t bytes) { last = bytes; });
    EXPECT_EQ(last, 7U);
}

}  // namespace
}  // namespace protalbert

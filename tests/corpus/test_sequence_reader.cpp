// FASTA and text as people write them, cut anywhere into parts, plain and gzip; and messages for what is wrong.

#include <gtest/gtest.h>

#include <chrono>
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
    // UTF-8's mark, which cat carries into the middle of a file, and the line ends of old Macs.
    EXPECT_EQ(read("\xEF\xBB\xBF>bom\nMK\n"), "bom:MK");
    EXPECT_EQ(read(">a\nMK\n\xEF\xBB\xBF>bom\nMK\n"), "a:MK bom:MK");
    EXPECT_EQ(read("\xEF\xBB\xBF\r\n>bom\r\nMK"), "bom:MK");
    EXPECT_EQ(read(">a\rMKV\r>b some words\rMK\rL\r"), "a:MKV b:MKL");
    EXPECT_EQ(read(">a\nMK\rV\r\nL\n"), "a:MKVL");
    // NCBI's nr joins the headers of equal proteins by this byte.
    EXPECT_EQ(read(">one\x01two\nMK\n>three words\x01"
                   "four\nV\n"),
              "one:MK three:V");
    EXPECT_EQ(read(">sp|P1|X_Y some > sign [in] header\nMK\n"), "sp|P1|X_Y:MK");
    EXPECT_EQ(read(">a\nUZOBuzobA*\n>b\nM\n*\n>c\n*\n"), "a:XXXXXXXXA b:M c:");

    const ReadResult result = read_file(folder.write("f", ">a\nUZOBuzobA*\n\n>b\nM\n*\n>c\n*\n>d\n"));
    EXPECT_EQ(result.counts.records, 4U);
    EXPECT_EQ(result.counts.residues, 10U);
    EXPECT_EQ(result.counts.replaced_residues, 8U);
    EXPECT_EQ(result.counts.stops, 3U);
    EXPECT_EQ(result.counts.empty_records, 2U);
    EXPECT_EQ(result.records[1].position, 15U);
    ASSERT_EQ(result.counts.contents.size(), 1U);
    EXPECT_EQ(result.counts.contents[0].nucleotides, 3U);
    EXPECT_TRUE(result.counts.remarks.empty());
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
    expect_any_cut(folder, "\r>a\rMKV\rLLA\r>b\r>c\rA\r\rC", InputFormat::fasta);
    expect_any_cut(folder, "\xEF\xBB\xBF>a\nMKV\n\xEF\xBB\xBF>b\r\n\xEF\xBB\xBF\n>c\nA\n", InputFormat::fasta);
    expect_any_cut(folder, ">a\n;>b\nMKV\n# >c\n>d\nA\n;", InputFormat::fasta);
}

TEST(SequenceReader, TextMayBeCutAnywhere) {
    const Folder folder;
    expect_any_cut(folder, "M K V\nL\n\nA C\nD\nE F\n\n\n\nG\n \nH I\n\n", InputFormat::text);
    expect_any_cut(folder, "\r\nM K V\r\nL\r\n\r\nA C\r\nD \r\n\r\n\r\nG", InputFormat::text);
    expect_any_cut(folder, "\rM K V\rL\r\rA C\rD \r\r\rG\r", InputFormat::text);
    expect_any_cut(folder, "M K V\n; words\nL\n\n# words\nA C\n#\n\nG\n", InputFormat::text);
}

TEST(SequenceReader, LinesMayBeLongerThanAnyBuffer) {
    const Folder folder;
    // Around multiples of the scanner's buffer of 2^18 bytes, with both line ends, so that cuts fall on CR and LF.
    for (const std::size_t length :
         {(1U << 18) - 6, (1U << 18) - 5, (1U << 18) - 4, (1U << 18) - 3, (1U << 18) - 2, 1U << 18, (1U << 18) + 1,
          (1U << 19) - 4, (1U << 19) - 3, (1U << 19) + 5, 3U << 18})
        for (const std::string end : {"\n", "\r\n", "\r"}) {
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
    const std::string twice = append_gzip(folder, "twice.gz", whole_file(append_gzip(folder, "once.gz", ">a\nMK\n")));
    EXPECT_MESSAGE(message_of([&] { read_file(twice); }), "twice.gz is compressed twice by gzip");
    std::string tar(512, '\0');
    tar.replace(257, 5, "ustar");
    EXPECT_MESSAGE(message_of([&] { read_file(append_gzip(folder, "a.tar.gz", tar)); }), "a tar archive");
    EXPECT_MESSAGE(message_of([&] { read_file(append_gzip(folder, "u.gz", "\xFF\xFE>\0a\0")); }), "UTF-16");
}

// As gunzip does: what follows the gzip data and is none is left alone, and said.
TEST(SequenceReader, LeavesWhatStandsBehindGzipData) {
    const Folder folder;
    for (const std::string& behind : {std::string("garbage"), std::string("\x1F"), std::string("\0\0x", 3)}) {
        const std::string path = append_gzip(folder, "behind.gz", ">a\nMK\n");
        append(path, behind);
        const ReadResult result = read_file(path);
        EXPECT_EQ(show(result), "a:MK");
        ASSERT_EQ(result.counts.remarks.size(), 1U);
        EXPECT_MESSAGE(result.counts.remarks[0], "behind.gz has bytes behind its gzip data");
        std::filesystem::remove(path);
    }
    // Another member that is damaged is no such thing.
    const std::string path = append_gzip(folder, "member.gz", ">a\nMK\n");
    append(path, "\x1F\x8Bgarbage");
    EXPECT_MESSAGE(message_of([&] { read_file(path); }), "member.gz is damaged");
}

// BGZF: gzip members with a field that says so, and an empty one at the end. Nothing but its absence shows a cut
// between two blocks.
TEST(SequenceReader, NamesBgzfWithoutItsClosingBlock) {
    const Folder folder;
    const auto block = [&](const std::string& content, const std::string& extra) {
        return gzip_member(content, extra);
    };
    const std::string field("BC\x02\0\0\0", 6), other("XY\x01\0z", 5);
    const std::string first = block(">a\nMK\n", field), second = block(">b\nV\n", other + field);
    const std::string closing = block("", field);
    const auto read = [&](const std::string& bytes) { return show(read_file(folder.write("b.gz", bytes))); };
    EXPECT_EQ(read(first + second + closing), "a:MK b:V");
    EXPECT_EQ(read(first + closing + second + closing), "a:MK b:V");  // two files joined
    EXPECT_EQ(read(first + closing + gzip_member(">c\nL\n", "")), "a:MK c:L");
    EXPECT_EQ(read(gzip_member(">c\nL\n", other)), "c:L");
    EXPECT_EQ(read(first + closing + gzip_member(">c\nL\n", "") + second + closing), "a:MK c:L b:V");
    for (const std::string& cut : {first, first + second, first + closing + second, first + gzip_member(">c\nL\n", "")})
        EXPECT_MESSAGE(message_of([&] { read(cut); }), "b.gz is incomplete: it is gzip in blocks (BGZF)");
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
    EXPECT_MESSAGE(refused(">a\nMK>V\n"), "f.fa:2: record 'a' has '>' in column 3");
    EXPECT_MESSAGE(refused(">a\nMK*>V\n"), "f.fa:2: record 'a' has '>' in column 4");
    EXPECT_MESSAGE(refused(std::string(">a\nMK\0V\n", 8)), "byte 0x00");
    EXPECT_MESSAGE(refused(">a\nMK\xC3\xA9\n"), "byte 0xc3");
    EXPECT_MESSAGE(refused(">a\rMKV\r>b\rMJ\r"), "f.fa:4: record 'b' has 'J' in column 2");
    EXPECT_MESSAGE(refused(">a\nMK\nV1\n"), "f.fa:3: record 'a' has '1'");
    EXPECT_MESSAGE(refused(std::string(">a\0b\nMK\n", 8)), "f.fa:1: a header with a zero byte");
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

// A command is for the whole file, also where only its end has marks and CR, and in whichever part the fault is.
TEST(SequenceReader, CommandsFitTheWholeFile) {
    const Folder folder;
    std::string content;
    while (content.size() < (std::size_t{5} << 19)) content += ">q\nMKVLAAGITR\n";
    InputPart part;
    part.format = InputFormat::fasta;
    const auto message = [&](const std::string& end) {
        part.path = folder.write("f", content + end);
        ReadResult result;
        return message_of([&] { read_part(part, result); });
    };
    EXPECT_MESSAGE(message(">a\nM1\n>b\nM\n"), ": sed '/^[>;#]/!s/[0-9]//g' < FILE > NEW");
    const std::string marks = "sed -e 's/^\\(\\xEF\\xBB\\xBF\\)*//' -e '/^[>;#]/!s/[0-9]//g'";
    for (const std::size_t begin : {std::size_t{0}, content.size() / 2}) {
        part.begin = begin;
        EXPECT_MESSAGE(message(">a\nM1\n\xEF\xBB\xBF>b\nM\n"), ": " + marks + " < FILE > NEW");
        EXPECT_MESSAGE(message(">a\nM1\n\xEF\xBB\xBF>b\rM\r"), ": tr '\\r' '\\n' < FILE | " + marks + " > NEW");
    }
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

// What a record costs does not depend on how much of the file lies before it, remarks included: where every record
// looked for its line from the file's start, this would take minutes, and a hundred times that in UniRef100.
TEST(SequenceReader, ReadsPartsWithoutWhatLiesBefore) {
    const Folder folder;
    std::string content;
    for (int i = 0; i < 200000; ++i)
        content += ">\xE9" + std::to_string(i) + "\n" + std::string(90, 'M') + " AC DEF K\n";
    InputPart part;
    part.path = folder.write("f", content);
    part.format = InputFormat::fasta;
    part.begin = content.size() / 2;
    const auto start = std::chrono::steady_clock::now();
    ReadResult result;
    read_part(part, result);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    EXPECT_EQ(result.counts.latin1_ids, result.records.size());
    EXPECT_EQ(result.counts.remarks.size(), 2U);
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

// Under no option do they become a residue.
TEST(SequenceReader, NeverReadsAsResiduesWhatBelongsToNoSequence) {
    const Folder folder;
    for (const InvalidLetters invalid :
         {InvalidLetters::error, InvalidLetters::skip, InvalidLetters::unknown, InvalidLetters::mark}) {
        const auto refused = [&](const std::string& content) {
            return message_of([&] { read_file(folder.write("f.fa", content), invalid); });
        };
        EXPECT_MESSAGE(refused(">a\nMK>b some name\nVL\n"), "f.fa:2: record 'a' has '>' in column 3");
        EXPECT_MESSAGE(refused(">a\nMK*>b some name\nVL\n"), "f.fa:2: record 'a' has '>' in column 4");
        EXPECT_MESSAGE(refused("M K > b\n"), "f.fa:1: '>' in column 5 begins a header of FASTA");
        EXPECT_MESSAGE(refused("M K\nM K>b\n"), "f.fa:2: '>' in column 4 begins a header of FASTA");
        EXPECT_MESSAGE(refused("M K\n>b\nVL\n"), "f.fa:2: '>' in column 1 begins a header of FASTA");
        EXPECT_MESSAGE(refused(">a\nMK\xEF\xBB\xBF>b\nVL\n"),
                       "f.fa:2: record 'a' has UTF-8's byte order mark in column 3");
        EXPECT_MESSAGE(refused("M K\nM K\xEF\xBB\xBF V\n"),
                       "f.fa:2: the sequence has UTF-8's byte order mark in column 4");
        for (const char* code : {"P1", "F1", "DL", "DC", "RL", "RC", "N1", "N3", "XX"})
            EXPECT_MESSAGE(refused(fmt::format(">one\nMK\n>{};AAA\nNAME\nMK*\n", code)), "f.fa:3: '>");
        const ReadResult comments = read_file(folder.write("f.fa", ">a\n;MK\nVL\n#MK\n>b\n;\nM\n"), invalid);
        EXPECT_EQ(show(comments), "a:VL b:M");
        EXPECT_EQ(comments.counts.comments, 3U);
        EXPECT_EQ(show(read_file(folder.write("t", "M K\n; V\n#L\nA\n"), invalid), true), "|t:1:MK t:4:A");
    }
    for (const char character : std::string("0123456789;#:,@=|_/\\\"'()[]{}<&%$+!~^`")) {
        const std::string path = folder.write("f.fa", fmt::format(">a\nM{}K\n>b\nV\n", character));
        for (const InvalidLetters invalid : {InvalidLetters::error, InvalidLetters::unknown})
            EXPECT_MESSAGE(message_of([&] { read_file(path, invalid); }), "f.fa:2: record 'a' has '");
        EXPECT_EQ(show(read_file(path, InvalidLetters::skip)), "b:V");
        const ReadResult marked = read_file(path, InvalidLetters::mark);
        ASSERT_EQ(marked.records.size(), 2U);
        EXPECT_TRUE(marked.records[0].invalid);
        EXPECT_FALSE(marked.records[1].invalid);
    }
}

TEST(SequenceReader, RefusesProseAndRemarksOnIrregularWords) {
    const Folder folder;
    const std::string prose = folder.write("f.fa", ">a long\nname that fills a line\nMK\n>b\nV\n");
    for (const InvalidLetters invalid : {InvalidLetters::error, InvalidLetters::unknown})
        EXPECT_MESSAGE(message_of([&] { read_file(prose, invalid); }),
                       "f.fa:2: record 'a' has words where its residues are expected");
    EXPECT_EQ(show(read_file(prose, InvalidLetters::skip)), "b:V");
    EXPECT_MESSAGE(message_of([&] { read_file(folder.write("f.fa", ">a\nALA GLY Val\n"), InvalidLetters::unknown); }),
                   "f.fa:2: record 'a' has its residues in the code of three letters");
    EXPECT_EQ(show(read_file(folder.write("f.fa", ">a\nAGL AVA\n>b\nALA\n"))), "a:AGLAVA b:ALA");
    for (const std::string code : {"Met-Lys-Val", "MetLysVal", "METLYSVALALA", " Ala Gly", "H-Tyr-Gly-OH",
                                   "met lys xaa val", "METLYSVALALAG", "MetAlaHypSerLys*", "MetAlaGlySerNH2"})
        EXPECT_MESSAGE(
            message_of([&] { read_file(folder.write("f.fa", ">a\n" + code + "\n"), InvalidLetters::unknown); }),
            "f.fa:2: record 'a' has its residues in the code of three letters");
    EXPECT_EQ(show(read_file(folder.write("f.fa", ">a\nMETLYSVAL\n>b\nAla\n"))), "a:METLYSVAL b:ALA");
    // Where text cannot be told from residues, somebody should look.
    const std::pair<std::string, std::string> remarkable[] = {
        {"LYSINE RICH PEPTIDE\nMK VL A\n", "f.fa:2: 'LYSINE RICH PEPTIDE' was read as residues"},
        {"LYSINE\nMKVLAGITR\n", "f.fa:2: 'LYSINE' is shorter than the line behind it"},
        {"lysozyme\n\nMKVLAGITR\n", "f.fa:2: 'lysozyme' is shorter than the line behind it"},
        {"MKVLAGITRWMKVLA\nHEAVY CHAIN\n", "f.fa:3: 'HEAVY CHAIN' was read as residues"},
        {"MKVL\nM K V L\n", "f.fa:2: 'MKVL' is shorter than the line behind it"},
        {"MKVLAGITR\nKinase\n", "f.fa:3: 'Kinase' was read as residues"},
        {"nan\n", "f.fa:2: 'nan' was read as residues"},
        {"Magainin\nGIGKF\n", "f.fa:2: 'Magainin' was read as residues"},
        {"HEAVY CHAIN\nEVQLVESGGG LVQPGGSLRL\n", "f.fa:2: 'HEAVY CHAIN' was read as residues"},
        {"MKVLA\nMKV LIVES AT THE\n", "f.fa:3: 'MKV LIVES AT THE' was read as residues"},
    };
    for (const auto& [lines, remark] : remarkable) {
        const ReadResult words = read_file(folder.write("f.fa", ">a\n" + lines));
        ASSERT_GE(words.counts.remarks.size(), 1U) << lines;
        EXPECT_MESSAGE(words.counts.remarks[0], remark);
    }
    // A comment that swallowed the header of the next file.
    for (const std::string comment : {"; the end>b", "#end of a>b c", "# -----> b"})
        EXPECT_MESSAGE(message_of([&] {
                           read_file(folder.write("f.fa", ">a\nMK\n" + comment + "\n\nV\n"), InvalidLetters::skip);
                       }),
                       "f.fa:3: '>' in column");
    EXPECT_EQ(show(read_file(folder.write("f.fa", ">a\n; A->G\nMK\nV\n; a > b\n \t\n>b\nV\n;>c\n"))), "a:MKV b:V");
    // What is shorter than the residues behind it is text where it looks like words; residues fill their lines.
    const std::string residues = "MKVLAAGITRSWYACDEFGHIKLM\n";
    for (const std::string name : {"LYSINE RICH PEPTIDE", "KINASE \tDNA", "Length", " Length ", "Chain", "Lysozyme",
                                   "HEAVY CHAIN", "alpha chain", "CHAIN A"}) {
        const std::string path = folder.write("f.fa", ">a\n" + residues + name + "\n" + residues + ">b\nV\n");
        for (const InvalidLetters invalid : {InvalidLetters::error, InvalidLetters::unknown})
            EXPECT_MESSAGE(message_of([&] { read_file(path, invalid); }),
                           "f.fa:3: record 'a' has words where its residues are expected: '" + name + "'");
        EXPECT_EQ(show(read_file(path, InvalidLetters::skip)), "b:V");
    }
    EXPECT_EQ(show(read_file(folder.write("f.fa", ">a\nMkvla\nMkvla\nMKV A\nMKVLA\n>b\nChain\n>c\nMKVLAG\n"))),
              "a:MKVLAMKVLAMKVAMKVLA b:CHAIN c:MKVLAG");
    for (const std::string name : {"Homo sapiens", "Lysozyme C", "hypothetical\tprotein", "Hemoglobin alpha",
                                   "LYSOZYME C PRECURSOR", "UNKNOWN PROTEIN", "CYTOCHROME C"})
        EXPECT_MESSAGE(message_of([&] { read_file(folder.write("f.fa", ">a\nMK\n" + name + "\n>b\nV\n")); }),
                       "f.fa:3: record 'a' has words where its residues are expected");
    EXPECT_MESSAGE(message_of([&] { read_file(folder.write("f.fa", ">p1;a\nNAME\nMK*\n")); }), "f.fa:1: '>p1;a'");
    const ReadResult blocks = read_file(folder.write("f.fa", ">a\nMKVLA AGITR\nMKVLA AG\n mkvla agitr a\nM K V\n"));
    EXPECT_TRUE(blocks.counts.remarks.empty());
    EXPECT_TRUE(
        read_file(folder.write("f.fa", ">a\nMKVLAAGIVG AHHHHHHHHH*\n>b\nMKVLA\nMK\n*\n")).counts.remarks.empty());
}

TEST(SequenceReader, ReadsIdsThatAreNotUtf8AsLatin1) {
    const Folder folder;
    const ReadResult result = read_file(folder.write("f", ">caf\xE9 x\nMK\n>\xC3\xA9\nV\n>\xFF\nV\n"));
    EXPECT_EQ(show(result), "caf\xC3\xA9:MK \xC3\xA9:V \xC3\xBF:V");
    EXPECT_EQ(result.counts.latin1_ids, 2U);
    ASSERT_EQ(result.counts.remarks.size(), 1U);
    EXPECT_MESSAGE(result.counts.remarks[0], "f:1: the id 'caf\xC3\xA9' is not UTF-8");
    // The limit is that of the bytes that are stored.
    const std::string many(600, '\xE9');
    EXPECT_MESSAGE(message_of([&] { read_file(folder.write("f", ">" + many + "\nMK\n")); }), "more than 1023 bytes");
}

TEST(SequenceReader, WarnsOfGenes) {
    const Folder folder;
    const auto warns = [&](const std::string& content) {
        const std::vector<std::string> lines = warnings(read_file(folder.write("f", content)).counts, {"f"});
        return !lines.empty() && lines.back().find("genes") != std::string::npos;
    };
    const std::string gene = "ATGACGGTTCAGTTCAACGGTACCAAGTNTGCCTTTGAA",
                      protein = "MKVLAAGITRSWYACDEFGHIKLMNPQRSTVWYDEEEK";
    std::string rna = gene;
    for (char& letter : rna) letter = letter == 'T' ? 'u' : letter;
    EXPECT_TRUE(warns(">a\n" + gene + "\n>b\n" + gene + "\n"));
    EXPECT_TRUE(warns(">a\n" + rna + "\n>b\n" + rna + "\n"));
    EXPECT_TRUE(warns(">a\n" + gene.substr(0, 20) + "\n>b\n" + gene.substr(0, 19) + "\n>c\n" + gene.substr(0, 18)));
    EXPECT_TRUE(warns(">a\n" + protein + protein + "\n>b\n" + gene + "\n"));
    EXPECT_TRUE(warns(">a\n" + protein + "\n>primer\n" + gene.substr(0, 18) + "\n"));
    EXPECT_FALSE(warns(">a\n" + protein + "\n>b\n" + protein + "\n"));
    EXPECT_FALSE(warns(">a\nGATACA\n"));
    std::string many = ">peptide\n" + gene + "\n";
    for (int i = 0; i < 7; ++i) many += ">p" + std::to_string(i) + "\n" + protein + "\n";
    EXPECT_FALSE(warns(many));
    EXPECT_TRUE(warns(many + ">gene\n" + gene + "\n"));
}

TEST(SequenceReader, WarnsOfEachInput) {
    InputCounts counts;
    counts.contents = {{.input = 0, .letters = 0x3FFFFFF, .records = 100, .residues = 30000, .nucleotides = 9000},
                       {.input = 2, .letters = 0x3FFFFFF, .records = 10, .residues = 300, .nucleotide_records = 9}};
    const std::vector<std::string> lines = warnings(counts, {"proteins", "other", "genes"});
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_MESSAGE(lines[0], "genes looks like genes and not like proteins");
    counts.contents.assign(11, counts.contents[1]);
    for (std::uint32_t i = 0; i < 11; ++i) counts.contents[i].input = i;
    const std::vector<std::string> many = warnings(counts, std::vector<std::string>(11, "f"));
    ASSERT_EQ(many.size(), 9U);
    EXPECT_MESSAGE(many[8], "and 3 more inputs like these");
}

TEST(SequenceReader, WarnsOfColumns) {
    const Folder folder;
    std::string column = "M H\n", peptides = "M K V\n";
    for (int i = 0; i < 10; ++i) column += "K E\n", peptides += "A C D\n";
    const std::vector<std::string> lines = warnings(read_file(folder.write("t", column)).counts, {"t"});
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_MESSAGE(lines[0], "t has 22 residues in 11 records");
    EXPECT_TRUE(warnings(read_file(folder.write("t", peptides)).counts, {"t"}).empty());
}

TEST(SequenceReader, WarnsOfLabels) {
    const Folder folder;
    const auto told = [&](const std::string& content) {
        return warnings(read_file(folder.write("f", content)).counts, {"f"});
    };
    std::string labels = ">a\n", peptides = ">a\n";
    for (int i = 0; i < 30; ++i) labels += "HHHEEcC\n", peptides += "MKVLAAGITR\n";
    ASSERT_EQ(told(labels).size(), 1U);
    EXPECT_MESSAGE(told(labels)[0], "f has only the letters CEH in 210 residues");
    EXPECT_TRUE(told(peptides + "SW\n").empty());
    EXPECT_TRUE(told(">a\nAGAGAGAGAGS\n").empty());
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

// Who reads what: every byte of plain files exactly once, gzip files whole, formats by content.

#include <gtest/gtest.h>

#include <map>

#include "data/sequence_reader.hpp"
#include "sequence_files.hpp"

namespace protalbert {
namespace {

using namespace corpus_test;

TEST(InputPlan, SharesPlainBytesOutAndKeepsGzipWhole) {
    const Folder folder;
    std::string protein = ">a\n" + std::string(997, 'A') + "\n";
    std::string large;
    for (int i = 0; i < 40; ++i) large += protein;
    const std::vector<std::string> inputs = {folder.write("one", large), append_gzip(folder, "two.gz", large),
                                             folder.write("three", protein), append_gzip(folder, "four.gz", protein),
                                             folder.write("five", large + large)};
    std::uint64_t plain = 3 * large.size() + protein.size();
    for (const int ranks : {1, 2, 3, 7, 64}) {
        const auto plan = plan_input(inputs, InputFormat::automatic, ranks);
        ASSERT_EQ(plan.size(), static_cast<std::size_t>(ranks));
        std::map<std::uint32_t, std::uint64_t> next;  // byte to be read next of each file
        std::map<std::uint32_t, int> whole;
        std::uint64_t most = 0;
        for (const auto& parts : plan) {
            std::uint64_t bytes = 0;
            for (const InputPart& part : parts) {
                EXPECT_EQ(part.path, inputs[part.file]);
                EXPECT_EQ(part.format, InputFormat::fasta);
                EXPECT_EQ(part.form.gzip, part.file == 1 || part.file == 3);
                if (part.form.gzip) {
                    ++whole[part.file];
                    EXPECT_EQ(part.begin, 0U);
                    EXPECT_EQ(part.end, end_of_file);
                    continue;
                }
                EXPECT_EQ(part.begin, next[part.file]);
                next[part.file] = part.begin + part.bytes;
                bytes += part.bytes;
            }
            most = std::max(most, bytes);
        }
        EXPECT_EQ(next[0], large.size());
        EXPECT_EQ(next[2], protein.size());
        EXPECT_EQ(next[4], 2 * large.size());
        EXPECT_EQ(whole[1], 1);
        EXPECT_EQ(whole[3], 1);
        // Gzip files weigh little here, so that plain bytes are shared evenly.
        EXPECT_LE(most, plain / static_cast<std::uint64_t>(ranks) * 11 / 10 + 200) << ranks;
    }
}

TEST(InputPlan, GivesRanksWithGzipFewerPlainBytes) {
    const Folder folder;
    std::string random;
    for (std::uint32_t i = 0, x = 1; i < 100000; ++i, x = x * 1664525 + 1013904223)
        random += "ACDEFGHIKLMNPQRSTVWY"[x >> 24 & 15];
    const std::vector<std::string> inputs = {append_gzip(folder, "g.gz", ">a\n" + random),
                                             folder.write("p", ">a\n" + random)};
    const auto plan = plan_input(inputs, InputFormat::automatic, 3);
    for (const InputPart& part : plan[0]) EXPECT_TRUE(part.form.gzip);
    EXPECT_NEAR(static_cast<double>(plan[1].at(0).bytes), 50000, 10);
    EXPECT_NEAR(static_cast<double>(plan[2].at(0).bytes), 50000, 10);
}

TEST(InputPlan, RecognisesFormats) {
    const auto format = [](const std::string& start) { return recognise_format(start, "f"); };
    EXPECT_EQ(format("\n\n >a"), InputFormat::fasta);
    EXPECT_EQ(format("\xEF\xBB\xBF>a"), InputFormat::fasta);
    EXPECT_EQ(format("M K V"), InputFormat::text);
    EXPECT_EQ(format("M"), InputFormat::text);
    EXPECT_EQ(format("M\r\nK"), InputFormat::text);
    const auto refused = [&](const std::string& start) { return message_of([&] { format(start); }); };
    EXPECT_MESSAGE(refused("MKV\nLLA\n"), "f is neither FASTA nor the text format: it begins with 'MKV'; if each line");
    EXPECT_MESSAGE(refused("# STOCKHOLM 1.0\n"), "f is an alignment in Stockholm format");
    EXPECT_MESSAGE(refused("CLUSTAL W (1.83) multiple sequence alignment\n"), "in Clustal format");
    EXPECT_MESSAGE(refused(" 5 42\nA0A1      MK\n"), "in PHYLIP format");
    EXPECT_MESSAGE(refused("#NEXUS\n"), "in NEXUS format");
    EXPECT_MESSAGE(refused(" MSF: 131  Type: P ..\n"), "in MSF format");
    EXPECT_MESSAGE(refused("LOCUS       AB0001\n"), "in GenBank format");
    EXPECT_MESSAGE(refused("ID   001R_FRG3G  Reviewed;\n"), "of UniProt or EMBL");
    EXPECT_MESSAGE(refused("@read1\nACGT\n+\nIIII\n"), "in FASTQ format");
    EXPECT_MESSAGE(refused("HEADER    HYDROLASE\n"), "in PDB format");
    EXPECT_MESSAGE(refused("{\"id\": 1}"), "JSON");
    EXPECT_MESSAGE(refused("1\tA0A1\tMKV\n"), "like a table");
    EXPECT_MESSAGE(refused("A\tMKV\n"), "like a table");
    EXPECT_MESSAGE(refused("id,sequence\na,MKV\n"), "like a table");
    EXPECT_MESSAGE(refused("; made by hand\n>a\nMK\n"), "begins with a comment");
    EXPECT_MESSAGE(refused("# made by hand\n>a\nMK\n"), "begins with a comment");
    EXPECT_MESSAGE(refused("M 1\nK 2\n"), "like a table");
    EXPECT_MESSAGE(refused("M 1 0.35\nK 2 0.44\n"), "like a table");
    EXPECT_MESSAGE(refused("5 M K\n"), "neither FASTA");
    EXPECT_MESSAGE(refused("- K\n"), "neither FASTA");
    EXPECT_MESSAGE(refused("M some words\n"), "neither FASTA");
    EXPECT_MESSAGE(refused("\xC3\xA9"), "no text");
    EXPECT_MESSAGE(message_of([&] { format(" \n\n"); }), "no sequences");
}

TEST(InputPlan, RefusesWhatCannotBeRead) {
    const Folder folder;
    const auto refused = [&](const std::vector<std::string>& inputs) {
        return message_of([&] { plan_input(inputs, InputFormat::automatic, 2); });
    };
    EXPECT_MESSAGE(refused({folder.path("missing").string()}), "missing: No such file");
    EXPECT_MESSAGE(refused({folder.path("").string()}), "folder");
    EXPECT_MESSAGE(refused({folder.write("empty", "")}), "empty holds no sequences");
    EXPECT_MESSAGE(refused({folder.write("blank", "\n \r\n")}), "holds no sequences");
    EXPECT_MESSAGE(refused({append_gzip(folder, "empty.gz", "")}), "holds no sequences");
    const std::pair<std::string, std::string> foreign[] = {
        {"\x28\xB5\x2F\xFDxxxxx", "zstd"},
        {"BZh91AY", "bzip2"},
        {"\x02\x21\x4C\x18xxxx", "lz4"},
        {"\x78\x9Cxxxx", "zlib (pigz -d)"},
        {std::string("\x89LZO\0\r\n\x1A\n", 9), "lzop"},
        {"070701000000", "a cpio archive"},
        {"\x1F\x9D\x90xxx", "compressed with compress"},
        {"PK\x03\x04xx", "zip archive"},
        {"7z\xBC\xAF\x27\x1Cxx", "7-Zip"},
        {"\x89HDF\r\n\x1A\nxx", "HDF5"},
        {"%PDF-1.4", "PDF"},
        {"\x7F"
         "ELF\x02",
         "a program"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "pointer of Git LFS"},
        {"<!DOCTYPE html><html>", "a web page"},
        {std::string("\xFF\xFE>\0a\0\n\0", 8), "text in UTF-16; convert it to UTF-8: iconv -f UTF-16 "},
        {std::string("\xFE\xFF\0>\0a\0\n", 8), "text in UTF-16; convert it to UTF-8: iconv -f UTF-16 "},
        {std::string(">\0a\0\n\0M\0", 8), "text in UTF-16LE"},
        {std::string("\0>\0a\0\n\0M", 8), "text in UTF-16BE"},
        {std::string("\xFF\xFE\0\0>\0\0\0", 8), "text in UTF-32"},
    };
    for (const auto& [content, what] : foreign) EXPECT_MESSAGE(refused({folder.write("x", content)}), what);
    // Tar archives, by their mark or, the oldest, by the checksum of the header; not text with such a word in its
    // place.
    std::string header(512, '\0');
    header.replace(0, 7, "a.fasta");
    header.replace(257, 6, std::string("ustar\0", 6));
    EXPECT_MESSAGE(refused({folder.write("x", header)}), "a tar archive");
    header.replace(257, 6, 6, '\0');
    std::uint64_t sum = 8 * ' ';
    for (const char c : header) sum += static_cast<unsigned char>(c);
    header.replace(148, 7, fmt::format("{:06o} ", sum));
    EXPECT_MESSAGE(refused({folder.write("x", header)}), "a tar archive");
    const std::string mustard = ">" + std::string(255, 'x') + "mustard\nMKV\n";
    EXPECT_EQ(plan_input({folder.write("mustard", mustard)}, InputFormat::automatic, 1)[0][0].format,
              InputFormat::fasta);
    EXPECT_MESSAGE(refused({folder.write("x", "CRAMMK\nLZIPK\n")}), "neither FASTA nor the text format");
    EXPECT_MESSAGE(refused({"-", "-"}), "twice");
    EXPECT_MESSAGE(message_of([&] { plan_input({folder.write("blank", "\n\n")}, InputFormat::fasta, 1); }),
                   "holds no sequences");
}

TEST(InputPlan, EstimatesResidues) {
    const Folder folder;
    std::string content;
    std::uint32_t x = 1;
    for (int i = 0; i < 20000; ++i) {
        content += ">protein" + std::to_string(i) + "\n";
        for (int j = 0; j < 200; ++j, x = x * 1664525 + 1013904223) content += "ACDEFGHIKLMNPQRS"[x >> 24 & 15];
        content += "\n";
    }
    for (const std::filesystem::path& path : {folder.write("plain", content), append_gzip(folder, "packed", content)}) {
        const InputEstimate estimate = estimate_input(path);
        EXPECT_NEAR(estimate.residues, 4e6, 2e5);
        EXPECT_NEAR(estimate.records, 2e4, 1e3);
        EXPECT_NEAR(estimate.decompressed_bytes, static_cast<double>(content.size()),
                    0.05 * static_cast<double>(content.size()));
    }
}

}  // namespace
}  // namespace protalbert

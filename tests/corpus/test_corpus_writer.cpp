// Making corpora: memory that hardly suffices, holdout, long documents, failures without leftovers. That the output
// does not depend on the number of ranks is tested with the program, in prepare.sh.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/corpus.hpp"
#include "data/corpus_writer.hpp"
#include "data/spill.hpp"
#include "io/hdf5.hpp"
#include "tests/foundation/mpi_main.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

class CorpusWriter : public testing::Test {
  protected:
    CorpusWriter() : world_(Communicator::world()), folder_(make_shared_folder("protalbert_corpus_writer")) {
        settings_.output = folder_ / "corpus.h5";
        settings_.vocabulary = default_vocabulary();
        settings_.progress = false;
    }
    ~CorpusWriter() override { remove_shared_folder(folder_); }

    std::string write(const std::string& name, const std::string& content) {
        if (world_.root()) std::ofstream(folder_ / name, std::ios::binary) << content;
        world_.barrier();
        return (folder_ / name).string();
    }
    /// The message of the Error that every rank throws alike.
    template <class Expected>
    std::string failure() {
        std::string text = "no error";
        try {
            write_corpus(settings_, world_);
        } catch (const Expected& error) {
            text = error.what();
        }
        EXPECT_EQ(world_.broadcast(text, 0), text);
        world_.barrier();
        return text;
    }
    /// Names in the folder but for inputs.
    std::set<std::string> outputs() {
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(folder_))
            if (entry.path().extension() != ".in") names.insert(entry.path().filename().string());
        world_.barrier();
        return names;
    }
    std::vector<std::string> sequences(const fs::path& path) {
        const Corpus corpus(path.string(), world_);
        Corpus::Piece piece;
        corpus.read(0, corpus.sequences(), piece);
        std::vector<std::string> result;
        for (std::uint64_t i = 0; i < corpus.sequences(); ++i) {
            result.emplace_back();
            for (std::uint64_t r = piece.offsets[i]; r < piece.offsets[i + 1]; ++r)
                result.back() += corpus.vocabulary().pieces[piece.tokens[r]];
        }
        return result;
    }
    std::vector<std::uint64_t> table(const char* name) {
        const Hdf5File file = Hdf5File::open_alone(settings_.output.string());
        std::vector<std::uint64_t> values(file.shape(name).at(0));
        file.read_independent(name, values.data(), {0, values.size()});
        world_.barrier();
        return values;
    }

    Communicator world_;
    fs::path folder_;
    CorpusSettings settings_;
};

std::string protein(std::uint64_t number, std::uint64_t longest) {
    RandomStream random(3, Purpose::bench, 0, number);
    std::string text(1 + random.below(longest), ' ');
    for (char& letter : text) letter = "ACDEFGHIKLMNPQRSTVWYX"[random.below(21)];
    return text;
}

std::string fasta(std::uint64_t proteins, std::uint64_t longest = 600) {
    std::string content;
    for (std::uint64_t i = 0; i < proteins; ++i) content += fmt::format(">p{}\n{}\n", i, protein(i, longest));
    return content;
}

TEST_F(CorpusWriter, DoesNotDependOnMemory) {
    settings_.inputs = {write("a.in", fasta(5000)), write("b.in", fasta(300, 40000))};
    settings_.keep_ids = true;
    const CorpusSummary plenty = write_corpus(settings_, world_);
    const std::vector<std::string> expected = sequences(settings_.output);
    // Groups of 16 KiB: many buckets are larger and divided, single proteins exceed a group.
    settings_.memory = 1 << 16;
    const CorpusSummary scarce = write_corpus(settings_, world_);
    EXPECT_EQ(scarce.files[0].hash, plenty.files[0].hash);
    EXPECT_EQ(sequences(settings_.output), expected);
    // Groups of 2 MiB: all buckets of a rank at once.
    settings_.memory = 1 << 23;
    EXPECT_EQ(write_corpus(settings_, world_).files[0].hash, plenty.files[0].hash);
    EXPECT_EQ(sequences(settings_.output), expected);
    EXPECT_EQ(outputs(), std::set<std::string>{"corpus.h5"});

    std::multiset<std::string> sorted(expected.begin(), expected.end()), input;
    for (std::uint64_t i = 0; i < 5000; ++i) input.insert(protein(i, 600));
    for (std::uint64_t i = 0; i < 300; ++i) input.insert(protein(i, 40000));
    EXPECT_EQ(sorted, input);
}

TEST_F(CorpusWriter, SeedsGiveOtherOrders) {
    settings_.inputs = {write("a.in", fasta(1000))};
    const std::uint64_t hash = write_corpus(settings_, world_).files[0].hash;
    const std::vector<std::string> first = sequences(settings_.output);
    settings_.seed = 7;
    EXPECT_NE(write_corpus(settings_, world_).files[0].hash, hash);
    const std::vector<std::string> second = sequences(settings_.output);
    int same = 0;
    for (std::size_t i = 0; i < first.size(); ++i) same += first[i] == second[i];
    // Two random orders agree in one place on average; short proteins occur more than once.
    EXPECT_LE(same, 12);
}

TEST_F(CorpusWriter, HoldsOutWithoutDuplicates) {
    // Every protein three times.
    settings_.inputs = {write("a.in", fasta(3000)), write("b.in", fasta(3000)), write("c.in", fasta(3000))};
    settings_.holdout = 0.1;
    const CorpusSummary summary = write_corpus(settings_, world_);
    ASSERT_EQ(summary.files.size(), 2U);
    EXPECT_EQ(summary.files[1].file, folder_ / "corpus.validation.h5");
    const std::vector<std::string> training = sequences(summary.files[0].file);
    const std::vector<std::string> validation = sequences(summary.files[1].file);
    EXPECT_EQ(training.size() + validation.size(), 9000U);
    EXPECT_EQ(validation.size() % 3, 0U);
    // Binomial with n = 3000 proteins and p = 0.1: 300 with a deviation of 16; five of these, times three copies.
    EXPECT_NEAR(static_cast<double>(validation.size()), 900, 250);
    const std::set<std::string> trained(training.begin(), training.end());
    for (const std::string& sequence : validation) EXPECT_FALSE(trained.contains(sequence));
    EXPECT_EQ(outputs(), (std::set<std::string>{"corpus.h5", "corpus.validation.h5"}));
    // The same proteins whatever the seed.
    settings_.seed = 99;
    write_corpus(settings_, world_);
    const std::vector<std::string> again = sequences(summary.files[1].file);
    EXPECT_EQ(std::multiset<std::string>(again.begin(), again.end()),
              std::multiset<std::string>(validation.begin(), validation.end()));
}

TEST_F(CorpusWriter, CutsLongDocumentsOfText) {
    std::string content;
    for (int document = 0; document < 3; ++document) {
        for (int i = 0; i < 10; ++i) content += document == 1 ? "A C D E F G H I K L\n" : "M\n";
        content += "\n";
    }
    settings_.inputs = {write("t.in", content)};
    settings_.longest_document = 30;
    const CorpusSummary summary = write_corpus(settings_, world_);
    // The second document has 100 residues in tens: 30, 30, 30, 10.
    EXPECT_EQ(summary.cut_documents, 3U);
    EXPECT_EQ(summary.files[0].statistics.documents, 6U);
    const std::vector<std::uint64_t> documents = table("/documents");
    std::multiset<std::uint64_t> lengths;
    for (std::size_t i = 0; i + 1 < documents.size(); ++i) lengths.insert(documents[i + 1] - documents[i]);
    EXPECT_EQ(lengths, (std::multiset<std::uint64_t>{1, 3, 3, 3, 10, 10}));
}

TEST_F(CorpusWriter, CountsWhatItLeavesOut) {
    settings_.inputs = {write("a.in", ">a\nMKU\n>empty\n>stop\n*\n>bad\nM1\n>b\nZ*\n")};
    settings_.invalid = InvalidLetters::skip;
    const CorpusSummary summary = write_corpus(settings_, world_);
    EXPECT_EQ(summary.counts.skipped_records, 1U);
    EXPECT_EQ(summary.counts.empty_records, 2U);
    EXPECT_EQ(summary.counts.replaced_residues, 2U);
    EXPECT_EQ(summary.counts.stops, 2U);
    EXPECT_EQ(summary.files[0].statistics.sequences, 2U);
    EXPECT_EQ(summary.files[0].statistics.length_percentile(0.5), 1U);
    EXPECT_EQ(summary.files[0].statistics.length_percentile(0.51), 3U);
    EXPECT_EQ(summary.files[0].statistics.longest, 3U);
}

TEST_F(CorpusWriter, FailsWithoutLeftovers) {
    settings_.inputs = {write("good.in", fasta(100))};
    const std::uint64_t hash = write_corpus(settings_, world_).files[0].hash;
    settings_.inputs.push_back(write("bad.in", fasta(2000) + ">wrong\nMK7\n" + fasta(2000)));
    const std::string message = failure<InputError>();
    EXPECT_NE(message.find("bad.in:4002: record 'wrong' has '7'"), std::string::npos) << message;
    EXPECT_EQ(outputs(), std::set<std::string>{"corpus.h5"});
    EXPECT_EQ(Corpus(settings_.output.string(), world_).hash(), hash);

    settings_.inputs = {write("empty.in", ">a\n>b\n")};
    EXPECT_NE(failure<InputError>().find("no sequences are left"), std::string::npos);
    settings_.inputs = {write("one.in", ">a\nMK\n")};
    settings_.holdout = 1e-9;
    EXPECT_NE(failure<InputError>().find("validation.h5"), std::string::npos);
    settings_.holdout = 1;
    EXPECT_NE(failure<InputError>().find("holdout of 1"), std::string::npos);
    settings_.holdout = 0;
    settings_.output = settings_.inputs[0];
    EXPECT_NE(failure<InputError>().find("overwritten"), std::string::npos);
    settings_.output = folder_ / "missing" / "corpus.h5";
    EXPECT_NE(failure<InputError>().find("missing"), std::string::npos);
    settings_.output = folder_;
    EXPECT_NE(failure<InputError>().find("folder"), std::string::npos);
    EXPECT_EQ(outputs(), std::set<std::string>{"corpus.h5"});
}

TEST_F(CorpusWriter, RemovesWhatAnInterruptedRunLeft) {
    settings_.inputs = {write("good.in", fasta(100))};
    for (const int rank : {0, 3, 17}) write(fmt::format("corpus.h5.spill-{}", rank), "left");
    write("corpus.h5.spill-other", "not ours");
    write("corpus.h5.part", "left");
    write_corpus(settings_, world_);
    EXPECT_EQ(outputs(), (std::set<std::string>{"corpus.h5", "corpus.h5.spill-other"}));
}

TEST_F(CorpusWriter, KeepsOffAnotherRun) {
    settings_.inputs = {write("good.in", fasta(100))};
    for (const char* name : {"corpus.h5.spill-0", "corpus.h5.spill-3"}) {
        write("corpus.h5.spill-1", "left, or of a rank that has just ended");
        write(name, "being written");
        const int other = open((folder_ / name).c_str(), O_RDONLY);
        if (world_.root()) {
            ASSERT_EQ(flock(other, LOCK_EX | LOCK_NB), 0);
        }
        world_.barrier();
        EXPECT_NE(failure<InputError>().find("another protalbert_prepare"), std::string::npos);
        EXPECT_EQ(outputs(), (std::set<std::string>{name, "corpus.h5.spill-1"}));
        world_.barrier();
        close(other);
        if (world_.root()) fs::remove(folder_ / name);
        world_.barrier();
    }
}

TEST_F(CorpusWriter, RemovesNothingWhereLocksCannotTell) {
    settings_.inputs = {write("good.in", fasta(100))};
    if (world_.root()) fs::create_directory(folder_ / "corpus.h5.spill-3");  // which no run can lock
    write("corpus.h5.spill-0", "left");
    EXPECT_NE(failure<InputError>().find("cannot be told"), std::string::npos);
    EXPECT_EQ(outputs(), (std::set<std::string>{"corpus.h5.spill-0", "corpus.h5.spill-3"}));
}

TEST_F(CorpusWriter, TakesNoFileFromARunThatBeganAtTheSameMoment) {
    write("corpus.h5.spill-0", "being written");
    const int other = open((folder_ / "corpus.h5.spill-0").c_str(), O_RDONLY);
    if (world_.root()) {
        ASSERT_EQ(flock(other, LOCK_EX | LOCK_NB), 0);
    }
    world_.barrier();
    EXPECT_THROW(SpillWriter(settings_.output, 0, 1, 1024), InputError);
    EXPECT_GT(fs::file_size(folder_ / "corpus.h5.spill-0"), 0U);
    world_.barrier();
    close(other);
}

}  // namespace
}  // namespace protalbert

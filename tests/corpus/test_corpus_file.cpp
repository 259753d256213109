// Corpora opened for reading: pieces anywhere, and damaged files refused.

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/corpus.hpp"
#include "data/corpus_writer.hpp"
#include "io/hdf5.hpp"
#include "tests/foundation/mpi_main.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

class CorpusFile : public testing::Test {
  protected:
    CorpusFile() : world_(Communicator::world()), folder_(make_shared_folder("protalbert_corpus_file")) {
        path_ = (folder_ / "corpus.h5").string();
        const fs::path fasta = folder_ / "input.fasta";
        if (world_.root()) {
            std::ofstream stream(fasta);
            for (int i = 0; i < 300; ++i) {
                RandomStream random(5, Purpose::bench, 0, static_cast<std::uint64_t>(i));
                stream << ">protein" << i << "\n";
                for (std::uint64_t r = 1 + random.below(300); r > 0; --r)
                    stream << "ACDEFGHIKLMNPQRSTVWYX"[random.below(21)];
                stream << "\n";
            }
        }
        world_.barrier();
        CorpusSettings settings;
        settings.inputs = {fasta.string()};
        settings.output = path_;
        settings.vocabulary = default_vocabulary();
        settings.progress = false;
        summary_ = write_corpus(settings, world_);
    }
    ~CorpusFile() override { remove_shared_folder(folder_); }

    /// The message with which the corpus is refused, by every rank alike, after `change` to it.
    std::string refused(const std::function<void(Hdf5File&)>& change) {
        const std::string copy = (folder_ / "changed.h5").string();
        if (world_.root()) fs::copy_file(path_, copy, fs::copy_options::overwrite_existing);
        world_.barrier();
        {
            Hdf5File file = Hdf5File::open(copy, world_, true);
            change(file);
            file.close();
        }
        world_.barrier();
        return message(copy);
    }
    std::string message(const std::string& path) {
        std::string text = "accepted";
        try {
            const Corpus corpus(path, world_);
            Corpus::Piece piece;
            corpus.read(0, corpus.sequences(), piece);
        } catch (const InputError& error) {
            text = error.what();
        }
        EXPECT_EQ(world_.broadcast(text, 0), text);
        world_.barrier();
        return text;
    }
    Rows one_row(std::uint64_t row) const { return {row, world_.root() ? 1U : 0U}; }

    Communicator world_;
    fs::path folder_;
    std::string path_;
    CorpusSummary summary_;
};

#define EXPECT_REFUSED(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

TEST_F(CorpusFile, ReadsAnyPiece) {
    const Corpus corpus(path_, world_);
    ASSERT_EQ(corpus.sequences(), 300U);
    EXPECT_EQ(corpus.residues(), summary_.files[0].statistics.residues);
    EXPECT_EQ(corpus.hash(), summary_.files[0].hash);
    EXPECT_DOUBLE_EQ(corpus.composition_entropy(), summary_.files[0].statistics.entropy());
    // 21 letters drawn evenly: ln 21 but for the sample's fluctuation, (21 - 1) / (2 n) nats with n = 45,000 residues.
    EXPECT_NEAR(corpus.composition_entropy(), std::log(21.0), 1e-3);
    EXPECT_EQ(corpus.vocabulary().pieces, default_vocabulary().pieces);
    Corpus::Piece whole, piece;
    corpus.read(0, 300, whole);
    EXPECT_EQ(whole.offsets.size(), 301U);
    EXPECT_EQ(whole.tokens.size(), corpus.residues());
    for (std::uint64_t first = 0; first <= 300; first += 17)
        for (const std::uint64_t count : {0, 1, 5, 300}) {
            if (first + count > 300) continue;
            corpus.read(first, count, piece);
            ASSERT_EQ(piece.first, first);
            ASSERT_EQ(piece.offsets.size(), count + 1);
            for (std::uint64_t i = 0; i <= count; ++i)
                ASSERT_EQ(piece.offsets[i], whole.offsets[first + i] - whole.offsets[first]);
            ASSERT_EQ(piece.tokens,
                      std::vector<std::uint8_t>(
                          whole.tokens.begin() + static_cast<std::ptrdiff_t>(whole.offsets[first]),
                          whole.tokens.begin() + static_cast<std::ptrdiff_t>(whole.offsets[first + count])));
        }
}

TEST_F(CorpusFile, RefusesWhatIsNoCorpus) {
    EXPECT_REFUSED(message((folder_ / "missing.h5").string()), "missing.h5");
    EXPECT_REFUSED(message((folder_ / "input.fasta").string()), "not an HDF5 file");
    EXPECT_REFUSED(message(folder_.string()), "folder");
    EXPECT_REFUSED(
        refused([](Hdf5File& file) { file.set_attribute("/", "format", std::string("protalbert checkpoint")); }),
        "not a protalbert corpus");
    EXPECT_REFUSED(refused([](Hdf5File& file) { file.set_attribute("/", "version", std::int64_t{2}); }), "newer");
    for (const std::string name : {"/tokens", "/offsets", "/documents", "/vocabulary"})
        EXPECT_REFUSED(refused([&](Hdf5File& file) {
                           if (H5Ldelete(file.id(), name.c_str(), H5P_DEFAULT) < 0)
                               throw Error("cannot delete " + name);
                       }),
                       name);
}

TEST_F(CorpusFile, RefusesDamage) {
    const std::uint64_t large = 1'000'000'000;
    EXPECT_REFUSED(refused([&](Hdf5File& file) { file.write("/offsets", &large, one_row(100)); }), "/offsets decrease");
    EXPECT_REFUSED(refused([&](Hdf5File& file) { file.write("/offsets", &large, one_row(300)); }), "damaged");
    EXPECT_REFUSED(refused([&](Hdf5File& file) { file.write("/offsets", &large, one_row(0)); }), "damaged");
    EXPECT_REFUSED(refused([&](Hdf5File& file) { file.write("/documents", &large, one_row(300)); }), "damaged");
    const std::uint8_t token = 34;
    EXPECT_REFUSED(refused([&](Hdf5File& file) { file.write("/tokens", &token, one_row(77)); }), "token 34");
    const std::string copy = (folder_ / "changed.h5").string();
    if (world_.root()) {
        fs::copy_file(path_, copy, fs::copy_options::overwrite_existing);
        fs::resize_file(copy, fs::file_size(copy) / 2);
    }
    world_.barrier();
    EXPECT_NE(message(copy), "accepted");
}

}  // namespace
}  // namespace protalbert

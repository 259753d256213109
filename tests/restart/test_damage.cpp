// Random bytes flipped in corpora, checkpoints and embeddings, finished and not, a thousand times each: every file is
// refused with InputError, or what is read is right. A crash or a hang fails the test as such.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/log.hpp"
#include "data/corpus.hpp"
#include "data/corpus_writer.hpp"
#include "embed/output.hpp"
#include "embed/writer.hpp"
#include "io/checkpoint.hpp"
#include "io/hdf5.hpp"
#include "io/seal.hpp"
#include "probe/features.hpp"
#include "tests/foundation/mpi_main.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

constexpr int mutations = 1000;

void write_bytes(const fs::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

class Damage : public testing::Test {
  protected:
    Damage() : world_(Communicator::world()), folder_(make_shared_folder("restart_damage")) {
        set_log_rank(1, 2);  // thousands of lines about files that start anew
    }
    ~Damage() override { remove_shared_folder(folder_); }

    /// Flips bits, overwrites runs, moves pieces and cuts the end of `whole`; each time calls `read` on the result,
    /// which says whether what it has read is right. Prints what became of them.
    void mutate(const std::string& what, const std::string& whole, const fs::path& file,
                const std::function<bool()>& read) {
        std::mt19937_64 random(what.size() * 7919);
        const auto below = [&](std::uint64_t limit) { return random() % limit; };
        int refused = 0, right = 0, wrong = 0;
        for (int i = 0; i < mutations; ++i) {
            std::string bytes = whole;
            switch (i % 5) {
                case 0:  // one bit
                    bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
                    break;
                case 1:  // some bytes anywhere
                    for (std::uint64_t n = 1 + below(8); n > 0; --n)
                        bytes[below(bytes.size())] = static_cast<char>(random());
                    break;
                case 2: {  // a run, mostly of tables: at either end of the file
                    const std::uint64_t at = below(2)
                                                 ? below(std::min<std::uint64_t>(8192, bytes.size()))
                                                 : bytes.size() - 1 - below(std::min<std::uint64_t>(512, bytes.size()));
                    for (std::uint64_t k = at; k < std::min<std::uint64_t>(bytes.size(), at + 32); ++k)
                        bytes[k] = static_cast<char>(random());
                    break;
                }
                case 3: {  // a block from elsewhere in the file
                    const std::uint64_t length = std::min<std::uint64_t>(512, bytes.size() / 2);
                    const std::uint64_t from = below(bytes.size() - length), to = below(bytes.size() - length);
                    std::memmove(&bytes[to], &whole[from], length);
                    break;
                }
                default:  // cut, or zeros where a block never came to the disk
                    if (below(2))
                        bytes.resize(below(bytes.size()));
                    else
                        std::memset(&bytes[below(bytes.size() - 512)], 0, 512);
            }
            if (bytes == whole) bytes[below(bytes.size())] ^= 1;
            write_bytes(file, bytes);
            try {
                const bool good = read();
                ++(good ? right : wrong);
                EXPECT_TRUE(good) << what << ": mutation " << i << " went unnoticed";
            } catch (const InputError& error) {
                ++refused;
                EXPECT_NE(std::string(error.what()).find(folder_.string()), std::string::npos) << error.what();
            } catch (const std::exception& error) {
                ADD_FAILURE() << what << ": mutation " << i << " is no InputError: " << error.what();
            }
        }
        std::printf("%s: %d mutations, %d refused, %d right, %d wrong\n", what.c_str(), mutations, refused, right,
                    wrong);
        EXPECT_GT(refused, 0);
    }

    const Communicator world_;
    const fs::path folder_;
};

TEST_F(Damage, Corpus) {
    const fs::path fasta = folder_ / "input.fasta", file = folder_ / "corpus.h5";
    {
        std::ofstream stream(fasta);
        std::mt19937 random(5);
        for (int i = 0; i < 200; ++i) {
            stream << ">protein" << i << "\n";
            for (unsigned r = 1 + random() % 200; r > 0; --r) stream << "ACDEFGHIKLMNPQRSTVWYX"[random() % 21];
            stream << "\n";
        }
    }
    CorpusSettings settings;
    settings.inputs = {fasta.string()};
    settings.output = file;
    settings.vocabulary = default_vocabulary();
    settings.progress = false;
    settings.keep_ids = true;
    write_corpus(settings, world_);
    const std::string whole = read_text_file(file, "corpus");
    Corpus::Piece expected;
    std::vector<std::string> pieces;
    std::uint64_t hash = 0;
    {
        const Corpus corpus(file.string(), world_);
        corpus.read(0, corpus.sequences(), expected);
        pieces = corpus.vocabulary().pieces;
        hash = corpus.hash();
    }
    mutate("corpus", whole, file, [&] {
        const Corpus corpus(file.string(), world_);
        Corpus::Piece piece;
        corpus.read(0, corpus.sequences(), piece);
        return piece.offsets == expected.offsets && piece.tokens == expected.tokens &&
               corpus.vocabulary().pieces == pieces && corpus.hash() == hash;
    });
}

TEST_F(Damage, Checkpoint) {
    const fs::path file = folder_ / checkpoint_name(7);
    std::vector<float> values(3 * 4010);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    const auto arrays = [](std::vector<float>& memory) {
        const auto group = [&](std::size_t first) {
            return std::vector<NamedArray>{{"a.weight", {1000, 4}, &memory[first]}, {"b", {10}, &memory[first + 4000]}};
        };
        return CheckpointArrays{group(0), group(4010), group(8020)};
    };
    CheckpointHeader header;
    header.step = 7;
    header.samples = 77;
    header.deck = "[train]\nsteps = 100\n";
    header.config = R"({"hidden_size": 16})";
    header.corpus_hash = 12345;
    header.vocabulary = default_vocabulary().pieces;
    write_checkpoint(file, header, arrays(values), world_);
    mutate("checkpoint", read_text_file(file, "checkpoint"), file, [&] {
        const CheckpointHeader found = read_checkpoint_header(file, world_);
        std::vector<float> read(values.size());
        read_checkpoint(file, arrays(read), world_);
        return found.step == header.step && found.samples == header.samples && found.deck == header.deck &&
               found.config == header.config && found.vocabulary == header.vocabulary &&
               found.corpus_hash == header.corpus_hash && read == values;
    });
}

// Before seals, HDF5 1.10 crashed on some damage in its global heaps. Files of other programs have none.
TEST_F(Damage, FilesWithoutASealAreRead) {
    const std::string file = (folder_ / "other.h5").string();
    Hdf5File::create(file, world_).close();
    EXPECT_FALSE(check_seal(file));
    Hdf5File::open_alone(file);
    const std::uint64_t end = seal_file(file, {});
    EXPECT_EQ(end, fs::file_size(file));
    EXPECT_TRUE(check_seal(file));
    fs::resize_file(file, fs::file_size(file) - 1);
    EXPECT_THROW(check_seal(file), InputError);
}

/// An embedding of six proteins in three batches, flat or one dataset a protein.
struct Job {
    explicit Job(const fs::path& folder, Layout layout) : output((folder / "vectors.h5").string()) {
        choice.layout = layout;
        if (layout == Layout::per_protein) choice.mean = choice.cls = false;
        ProteinRun run;
        for (const std::uint32_t length : lengths) {
            run.lengths.push_back(length);
            run.id_lengths.push_back(2);
            run.ids += fmt::format("p{}", run.lengths.size());
            run.treatments.push_back(length > 0 ? Treatment::embedded : Treatment::empty);
            sizes.residues += length;
        }
        runs.push_back(run);
        sizes.proteins = lengths.size();
        sizes.hidden = 16;
        sizes.batches = 3;
        sizes.longest_id = 2;
    }
    OutputFile create(const Communicator& world) const {
        return create_output(output, choice, sizes, identity, {"checkpoint.h5", 1, "{}", "float32"}, runs, lengths,
                             world);
    }
    std::string output;
    VectorChoice choice;
    OutputSizes sizes;
    JobIdentity identity{1, 2, "options"};
    std::vector<std::uint32_t> lengths = {30, 0, 7, 100, 1, 60};
    std::vector<ProteinRun> runs;
};

/// The progress of an unfinished file may only lose batches to damage, and the places of vectors stay as they are.
TEST_F(Damage, UnfinishedEmbeddings) {
    for (const Layout layout : {Layout::flat, Layout::per_protein}) {
        const Job job(folder_, layout);
        const OutputFile made = job.create(world_);
        {
            const PositionedFile file(made.part_path, true);
            for (const std::uint64_t batch : {0, 2}) {
                const ProgressEntry entry = progress_entry(batch, 1 + batch);
                file.write(&entry, sizeof entry, made.progress + batch * sizeof entry);
            }
        }
        const std::string part = made.part_path;
        mutate(layout == Layout::flat ? "unfinished embeddings" : "unfinished embeddings per protein",
               read_text_file(part, "part"), part, [&] {
                   const OutputState state = find_output(job.output, job.identity, false, world_);
                   if (state == OutputState::fresh) throw InputError(part + " is started anew");
                   if (state == OutputState::finished) return false;
                   const OutputFile found = continue_output(job.output, job.sizes, world_);
                   const std::uint64_t done[] = {1, 0, 3};
                   bool right = found.progress == made.progress && found.proteins == made.proteins &&
                                found.residues == made.residues && found.mean == made.mean && found.cls == made.cls;
                   for (std::size_t b = 0; b < 3; ++b) right &= found.done[b] == 0 || found.done[b] == done[b];
                   return right;
               });
        fs::remove(part);
    }
}

TEST_F(Damage, FinishedEmbeddings) {
    const Job job(folder_, Layout::flat);
    const OutputFile made = job.create(world_);
    const std::uint64_t H = job.sizes.hidden;
    std::mt19937 random(3);
    std::vector<float> residues(job.sizes.residues * H), means(job.sizes.proteins * H);
    for (std::vector<float>* values : {&residues, &means})
        for (float& value : *values) value = static_cast<float>(random());
    LabelledProteins proteins;  // those that have vectors
    std::vector<std::uint64_t> numbers, firsts;
    {
        const PositionedFile file(made.part_path, true);
        file.write(residues.data(), residues.size() * sizeof(float), made.residues);
        std::uint64_t first = 0;
        for (std::uint64_t i = 0; i < job.lengths.size(); first += job.lengths[i++]) {
            if (job.lengths[i] == 0) continue;
            const std::uint64_t row = H * sizeof(float);
            file.write(&means[i * H], row, made.mean + i * row);
            file.write(&means[i * H], row, made.cls + i * row);
            const std::uint32_t of_mean = vector_checksum(i, &means[i * H], row);
            const VectorChecksums checksums{vector_checksum(i, &residues[first * H], job.lengths[i] * row), of_mean,
                                            of_mean};
            file.write(&checksums, sizeof checksums, made.checksums + i * sizeof checksums);
            proteins.ids.push_back(fmt::format("p{}", i + 1));
            proteins.lengths.push_back(job.lengths[i]);
            numbers.push_back(i);
            firsts.push_back(first);
        }
        for (const std::uint64_t batch : {0, 1, 2}) {
            const ProgressEntry entry = progress_entry(batch, 1);
            file.write(&entry, sizeof entry, made.progress + batch * sizeof entry);
        }
    }
    finish_output(job.output, made, job.choice, job.sizes, job.lengths, {}, world_);
    mutate("finished embeddings", read_text_file(job.output, "embeddings"), job.output, [&] {
        if (find_output(job.output, job.identity, false, world_) != OutputState::finished) return false;
        bool right = true;
        for (const Task task : {Task::secondary_structure, Task::localization}) {
            proteins.task = task;
            const Features features = embedding_features(job.output, proteins, world_);
            for (std::uint32_t i = 0; i < proteins.count(); ++i) {
                const bool of_residues = task == Task::secondary_structure;
                const float* const want = of_residues ? &residues[firsts[i] * H] : &means[numbers[i] * H];
                std::vector<float> found((of_residues ? proteins.lengths[i] : 1) * H);
                features.read(i, found.data());
                right &= std::equal(found.begin(), found.end(), want);
            }
        }
        return right;
    });
}

}  // namespace
}  // namespace protalbert

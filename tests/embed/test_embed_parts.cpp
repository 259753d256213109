// The parts of protalbert_embed by themselves, for any number of ranks: reading, planning, sharing out, writing.

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "base/positioned_file.hpp"
#include "base/random.hpp"
#include "embed/dataset_names.hpp"
#include "embed/not_finite.hpp"
#include "embed/output.hpp"
#include "embed/plan.hpp"
#include "embed/proteins.hpp"
#include "embed/rank_news.hpp"
#include "embed/share.hpp"
#include "embed/windows.hpp"
#include "embed/writer.hpp"
#include "foundation/mpi_main.hpp"
#include "io/hdf5.hpp"
#include "model/cost.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

ModelConfig small_config() {
    ModelConfig config;
    config.layers = 2;
    config.hidden = 8;
    config.heads = 2;
    config.intermediate = 16;
    config.embedding = 4;
    return config;
}

std::string random_protein(std::uint64_t number, std::uint64_t longest) {
    RandomStream random(3, Purpose::bench, 0, number);
    std::string protein(random.below(longest + 1), 'A');
    for (char& letter : protein) letter = "ACDEFGHIKLMNPQRSTVWYX"[random.below(21)];
    return protein;
}

TEST(Plan, LongestFirstWithinTheBudget) {
    const std::vector<std::uint32_t> lengths{5, 0, 98, 7, 300, 7, 0, 98};
    const EmbedPlan plan = plan_batches(lengths, 100);
    EXPECT_EQ(plan.order, (std::vector<std::uint32_t>{4, 2, 7, 3, 5, 0}));
    // 300 + 2 is beyond the budget and goes alone; 98 + 2 fills it; 9 + 9 + 7 go together.
    EXPECT_EQ(plan.batches, (std::vector<std::uint64_t>{0, 1, 2, 3, 6}));
    EXPECT_EQ(plan.most_tokens, 302);
    EXPECT_EQ(plan.most_sequences, 3);
}

TEST(Plan, NothingToDo) {
    EXPECT_EQ(plan_batches({}, 100).batch_count(), 0u);
    EXPECT_EQ(plan_batches({0, 0}, 100).batch_count(), 0u);
}

TEST(Plan, EveryProteinOnce) {
    std::vector<std::uint32_t> lengths;
    for (std::uint64_t i = 0; i < 1000; ++i)
        lengths.push_back(static_cast<std::uint32_t>(random_protein(i, 60).size()));
    const EmbedPlan plan = plan_batches(lengths, 256);
    std::set<std::uint32_t> seen;
    for (std::uint64_t b = 0; b < plan.batch_count(); ++b) {
        std::int64_t tokens = 0;
        for (const std::uint32_t protein : plan.batch(b)) {
            EXPECT_TRUE(seen.insert(protein).second);
            EXPECT_GT(lengths[protein], 0u);
            tokens += lengths[protein] + special_tokens;
        }
        EXPECT_LE(tokens, 256);
        // The next protein would not have fitted.
        if (b + 1 < plan.batch_count()) {
            EXPECT_GT(tokens + lengths[plan.batch(b + 1)[0]] + special_tokens, 256);
        }
    }
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(std::count_if(lengths.begin(), lengths.end(),
                                                                  [](std::uint32_t length) { return length > 0; })));
}

TEST(Names, AreDistinctAndIdsWhereTheyCan) {
    using Names = std::vector<std::string>;
    EXPECT_EQ(dataset_names({"a/b", "a_b", "a_b", "", "a_b_2", ".", "sp|P1|X"}),
              (Names{"a_b_3", "a_b", "a_b_4", "protein_4", "a_b_2", "_", "sp|P1|X"}));
    EXPECT_EQ(dataset_names({"a", "a", "a_2", "a_3"}), (Names{"a", "a_4", "a_2", "a_3"}));
    EXPECT_EQ(dataset_names({"", "protein_1", "", "protein_3_2", "protein_3"}),
              (Names{"protein_1_2", "protein_1", "protein_3_3", "protein_3_2", "protein_3"}));
    EXPECT_EQ(dataset_names({".", "_", "..", "./y", "._y", "/", "A", "a"}),
              (Names{"__2", "_", "..", "._y_2", "._y", "__3", "A", "a"}));
    EXPECT_EQ(dataset_names({std::string("a\0b", 3), std::string("a\0c", 3), "a", "a_b"}),
              (Names{"a_b_2", "a_c", "a", "a_b"}));
    EXPECT_EQ(dataset_names({"\xC3\xA9/", "\xC3\xA9_"}), (Names{"\xC3\xA9__2", "\xC3\xA9_"}));
    // So many equal ids take no quadratic time.
    const Names names = dataset_names(Names(300000, "same"));
    EXPECT_EQ(names.front(), "same");
    EXPECT_EQ(names.back(), "same_300000");
}

TEST(Windows, CoverAProteinEvenlyAndOverlapByHalf) {
    for (const std::uint64_t longest : {1, 2, 3, 5, 8, 40})
        for (std::uint64_t residues = 1; residues < 6 * longest + 3; ++residues) {
            const std::vector<Window> windows = cut_windows(residues, longest);
            ASSERT_EQ(windows.size(), count_windows(residues, longest));
            EXPECT_EQ(windows.front().first, 0u);
            EXPECT_EQ(windows.back().first + windows.back().length, residues);
            const std::uint64_t most_apart = (longest + 1) / 2;
            std::uint64_t least = ~std::uint64_t{0}, most = 0, computed = 0;
            for (std::size_t w = 0; w < windows.size(); ++w) {
                EXPECT_EQ(windows[w].length, std::min(longest, residues));
                computed += windows[w].length;
                if (w == 0) continue;
                const std::uint64_t apart = windows[w].first - windows[w - 1].first;
                EXPECT_GT(apart, 0u);
                EXPECT_LE(apart, most_apart);
                least = std::min(least, apart);
                most = std::max(most, apart);
            }
            EXPECT_LE(computed, 2 * residues);
            if (windows.size() > 1) {
                EXPECT_LE(most - least, 1u);
            }
            // One window less could not overlap by half.
            if (windows.size() > 2) {
                EXPECT_GT(residues - longest, (windows.size() - 2) * most_apart);
            }
        }
}

TEST(Windows, WeightsAddToOneWithoutAStep) {
    for (const std::uint64_t longest : {1, 2, 3, 5, 8, 40})
        for (std::uint64_t residues = 1; residues < 6 * longest + 3; ++residues) {
            const std::vector<Window> windows = cut_windows(residues, longest);
            std::vector<double> sums(residues, 0.0);
            for (std::size_t w = 0; w < windows.size(); ++w) {
                const std::vector<double> weights = window_weights(windows, w);
                ASSERT_EQ(weights.size(), windows[w].length);
                for (std::size_t i = 0; i < weights.size(); ++i) {
                    EXPECT_GT(weights[i], 0);
                    sums[windows[w].first + i] += weights[i];
                    // A ramp is a quarter of a window or longer; the windows beside it are on ramps, too.
                    if (i > 0) {
                        EXPECT_LT(std::abs(weights[i] - weights[i - 1]), 6.0 / static_cast<double>(longest));
                    }
                }
                if (w > 0) {
                    EXPECT_LE(weights.front(), 4.0 / static_cast<double>(longest));
                }
            }
            for (const double sum : sums) EXPECT_NEAR(sum, 1, 1e-15);
        }
    // Two windows of 4 over 6 residues: 2 residues overlap.
    const std::vector<Window> windows{{0, 4}, {2, 4}};
    EXPECT_EQ(window_weights(windows, 0), (std::vector<double>{1, 1, 2.0 / 3, 1.0 / 3}));
    EXPECT_EQ(window_weights(windows, 1), (std::vector<double>{1.0 / 3, 2.0 / 3, 1, 1}));
}

TEST(Plan, WindowsGoFirstAndByThemselves) {
    // Windows of 10, hence 12 tokens: 2 of 11 and of 15 residues, 3 of 20, 19 of 100; proteins of 10 and less fit.
    const std::vector<std::uint32_t> lengths{10, 100, 3, 20, 11, 15, 10};
    const EmbedPlan plan = plan_batches(lengths, 60, 10);
    EXPECT_EQ(plan.order, (std::vector<std::uint32_t>{1, 3, 5, 4, 0, 6, 2}));
    EXPECT_EQ(plan.batches, (std::vector<std::uint64_t>{0, 1, 3, 4, 7}));
    EXPECT_EQ(plan.windowed_batches, 3u);
    EXPECT_EQ(plan.windows_together, 5);
    EXPECT_EQ(plan.most_tokens, 60);
    EXPECT_EQ(plan.most_sequences, 5);
    const ModelConfig config = small_config();
    const std::vector<double> costs = batch_costs(plan, lengths, config);
    EXPECT_DOUBLE_EQ(costs[0], 19 * time_cost(config, 12));
    EXPECT_DOUBLE_EQ(costs[1], 5 * time_cost(config, 12));
    EXPECT_DOUBLE_EQ(costs[3], 2 * time_cost(config, 12) + time_cost(config, 5));
    // Less than a window at once is not possible.
    EXPECT_EQ(plan_batches(lengths, 1, 10).most_tokens, 12);
}

/// Two FASTA files and one of text; some proteins are empty, some ids double.
class Input : public testing::Test {
  protected:
    void SetUp() override {
        folder = make_shared_folder("protalbert_embed_parts");
        inputs = {folder / "a.fasta", folder / "b.txt", folder / "c.fasta"};
        std::vector<std::string> contents(3);
        int line = 0;
        for (std::uint64_t i = 0; i < 300; ++i) {
            const std::string protein = random_protein(i, 80);
            const std::string id = fmt::format("p{}", i % 290);
            if (i < 100 || i >= 200) {
                contents[i < 100 ? 0 : 2] += fmt::format(">{} something\n{}\n", id, protein);
                ids.push_back(id);
                proteins.push_back(protein);
            } else if (!protein.empty()) {
                for (const char letter : protein) (contents[1] += letter) += ' ';
                contents[1].back() = '\n';
                proteins.push_back(protein);
                ids.push_back(fmt::format("b.txt:{}", ++line));
            }
        }
        const Communicator world = Communicator::world();
        if (world.root())
            for (std::size_t f = 0; f < 3; ++f) std::ofstream(inputs[f]) << contents[f];
        world.barrier();
    }
    void TearDown() override { remove_shared_folder(folder); }

    ProteinInput read(TooLong too_long = TooLong::error, std::uint64_t longest = 80,
                      InvalidLetters invalid = InvalidLetters::error) const {
        return read_proteins(inputs, InputFormat::automatic, invalid, too_long, longest, default_vocabulary(),
                             Communicator::world());
    }

    fs::path folder;
    std::vector<std::string> inputs;
    std::vector<std::string> proteins, ids;
};

TEST_F(Input, IsNumberedInInputOrder) {
    const Communicator world = Communicator::world();
    const Vocabulary vocabulary = default_vocabulary();
    const ProteinInput input = read();
    ASSERT_EQ(input.proteins, proteins.size());
    // The ids p0 .. p9 come again at the end.
    EXPECT_EQ(input.duplicate_ids, 10u);
    std::uint64_t held = 0, residues = 0;
    for (const ProteinRun& run : input.runs) {
        std::size_t token = 0, letter = 0;
        for (std::uint64_t i = 0; i < run.count(); ++i) {
            const std::string& protein = proteins.at(run.first + i);
            ASSERT_EQ(run.lengths[i], protein.size());
            for (const char residue : protein)
                EXPECT_EQ(run.tokens.at(token++), vocabulary.residue_ids[static_cast<unsigned char>(residue)]);
            const std::string id = run.ids.substr(letter, run.id_lengths[i]);
            letter += run.id_lengths[i];
            EXPECT_EQ(id, ids[run.first + i]);
            EXPECT_EQ(run.treatments[i], protein.empty() ? Treatment::empty : Treatment::embedded);
        }
        held += run.count();
        residues += run.tokens.size();
    }
    world.sum(&held, 1);
    world.sum(&residues, 1);
    EXPECT_EQ(held, proteins.size());
    EXPECT_EQ(residues, input.residues);
    const std::vector<std::uint32_t> lengths = gather_lengths(input, world);
    for (std::size_t i = 0; i < proteins.size(); ++i) EXPECT_EQ(lengths[i], proteins[i].size());
    // The same for any number of ranks, or an interrupted job could not continue on another.
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < proteins.size(); ++i) {
        std::string tokens;
        for (const char residue : proteins[i])
            tokens += static_cast<char>(vocabulary.residue_ids[static_cast<unsigned char>(residue)]);
        const std::uint64_t treatment = proteins[i].empty() ? 1 : 0;
        hash += XXH3_64bits_withSeed(tokens.data(), tokens.size(),
                                     XXH3_64bits_withSeed(ids[i].data(), ids[i].size(), 4 * i + treatment));
    }
    EXPECT_EQ(input.hash, hash);
}

TEST_F(Input, HashSeesEveryChange) {
    const std::uint64_t before = read().hash;
    const Communicator world = Communicator::world();
    std::swap(inputs[0], inputs[2]);
    EXPECT_NE(read().hash, before) << "another order";
    std::swap(inputs[0], inputs[2]);
    if (world.root()) std::ofstream(inputs[2], std::ios::app) << ">last\nACD\n";
    world.barrier();
    EXPECT_NE(read().hash, before) << "another protein";
}

TEST_F(Input, LongProteinsAreRefusedByNameOrKeptWithoutVectors) {
    try {
        read(TooLong::error, 70);
        FAIL() << "no error";
    } catch (const InputError& error) {
        std::size_t first = 0;
        while (proteins[first].size() <= 70) ++first;
        EXPECT_NE(std::string(error.what()).find(ids[first] + " (" + std::to_string(proteins[first].size())),
                  std::string::npos)
            << error.what();
    }
    const ProteinInput input = read(TooLong::skip, 70);
    const auto expected =
        std::count_if(proteins.begin(), proteins.end(), [](const std::string& protein) { return protein.size() > 70; });
    EXPECT_EQ(input.treated[static_cast<int>(Treatment::too_long)], static_cast<std::uint64_t>(expected));
    const std::vector<std::uint32_t> lengths = gather_lengths(input, Communicator::world());
    for (std::size_t i = 0; i < proteins.size(); ++i)
        EXPECT_EQ(lengths[i], proteins[i].size() > 70 ? 0 : proteins[i].size());
}

TEST_F(Input, BadLettersEndAllRanksAlikeOrSkip) {
    const Communicator world = Communicator::world();
    if (world.root()) std::ofstream(inputs[2], std::ios::app) << ">bad\nACJD\n>good\nACD\n";
    world.barrier();
    EXPECT_THROW(read(), InputError);
    const ProteinInput skipped = read(TooLong::error, 80, InvalidLetters::skip);
    EXPECT_EQ(skipped.treated[static_cast<int>(Treatment::skipped)], 1u);
    EXPECT_EQ(skipped.proteins, proteins.size() + 2);
    EXPECT_EQ(skipped.unknown_letters, 0u);
    const ProteinInput unknown = read(TooLong::error, 80, InvalidLetters::unknown);
    EXPECT_EQ(unknown.unknown_letters, 1u);
    EXPECT_EQ(unknown.residues, skipped.residues + 4);
}

TEST_F(Input, EveryBatchReachesOneRankWhole) {
    const Communicator world = Communicator::world();
    const Vocabulary vocabulary = default_vocabulary();
    ProteinInput input = read();
    const std::vector<std::uint32_t> lengths = gather_lengths(input, world);
    const EmbedPlan plan = plan_batches(lengths, 128);
    std::vector<std::uint64_t> missing;
    for (std::uint64_t b = 0; b < plan.batch_count(); b += b % 5 == 0 ? 2 : 1) missing.push_back(b);
    const Work work =
        share_work(plan, lengths, missing, batch_costs(plan, lengths, small_config()), std::move(input.runs), world);
    std::vector<std::uint64_t> rows(proteins.size() + 1, 0);
    for (std::size_t i = 0; i < proteins.size(); ++i) rows[i + 1] = rows[i] + proteins[i].size();
    std::vector<std::uint64_t> mine;
    for (std::size_t b = 0; b < work.batches.size(); ++b) {
        mine.push_back(work.batches[b].number);
        const std::span<const std::uint32_t> planned = plan.batch(work.batches[b].number);
        ASSERT_EQ(work.batch(b).size(), planned.size());
        for (std::size_t i = 0; i < planned.size(); ++i) {
            const WorkItem& item = work.batch(b)[i];
            EXPECT_EQ(item.protein, planned[i]);
            EXPECT_EQ(item.first_row, rows[planned[i]]);
            const std::string& protein = proteins[planned[i]];
            ASSERT_EQ(item.length, protein.size());
            for (std::size_t r = 0; r < protein.size(); ++r)
                EXPECT_EQ(work.residues(item)[r], vocabulary.residue_ids[static_cast<unsigned char>(protein[r])]);
        }
    }
    std::vector<std::uint64_t> all = world.concatenate(mine);
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, missing);
}

TEST(Writer, CountsWhatIsNotFinite) {
    // 65504, infinity, minus infinity, NaN, 0.
    const std::uint16_t halves[] = {0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0};
    EXPECT_EQ(count_not_finite(reinterpret_cast<const std::byte*>(halves), 5, 2), 3u);
    using Limits = std::numeric_limits<float>;
    const float values[] = {Limits::max(),        -Limits::infinity(),      Limits::quiet_NaN(),
                            Limits::denorm_min(), -Limits::signaling_NaN(), Limits::infinity(),
                            -Limits::max()};
    EXPECT_EQ(count_not_finite(reinterpret_cast<const std::byte*>(values), 7, 4), 4u);
}

// What a job loses that is killed at any moment: a file's content is what its page cache holds, so reading it is as
// good as the kill.
TEST(Writer, AKillLosesOnlyTheBatchesInFlight) {
    if (Communicator::world().ranks() > 1) GTEST_SKIP() << "one writer is enough";
    const fs::path folder = fs::temp_directory_path() / fmt::format("protalbert_in_flight_{}", getpid());
    fs::create_directories(folder);
    OutputFile output;
    output.part_path = folder / "vectors.h5.part";
    constexpr std::uint64_t batches = 6, H = 4;
    std::ofstream(output.part_path, std::ios::binary)
        << std::string(batches * (sizeof(ProgressEntry) + H * 4 + sizeof(VectorChecksums)), '\0');
    output.mean = batches * sizeof(ProgressEntry);
    output.checksums = output.mean + batches * H * 4;
    VectorChoice choice;
    choice.residues = ResidueVectors::none;
    choice.cls = false;
    std::vector<WorkItem> items(batches);
    {
        VectorWriter writer(output, choice, H);
        const PositionedFile file(output.part_path, false);
        for (std::uint64_t b = 0; b < batches; ++b) {
            BatchVectors& vectors = writer.buffer();
            std::uint64_t done = 0;
            for (std::uint64_t i = 0; i < b; ++i) {
                ProgressEntry entry;
                file.read(&entry, sizeof entry, i * sizeof entry);
                done += entry.check == progress_entry(i, 1).check;
            }
            // Two that the writer holds, and one written that it is about to mark.
            EXPECT_LE(b - done, 3u) << "before batch " << b;
            items[b].protein = b;
            vectors.number = b;
            vectors.items = std::span(items).subspan(b, 1);
            vectors.mean.assign(H, static_cast<float>(b));
            // Longer than the writer waits between two visits to the disk, as every batch of a large model takes.
            std::this_thread::sleep_for(std::chrono::milliseconds(1050));
            writer.submit();
        }
        writer.finish();
    }
    fs::remove_all(folder);
}

TEST_F(Input, FileIsCompleteAfterAnInterruption) {
    const Communicator world = Communicator::world();
    const std::string path = folder / "vectors.h5";
    constexpr std::uint64_t H = 8;
    const VectorChoice choice;
    ProteinInput input = read();
    const std::vector<std::uint32_t> lengths = gather_lengths(input, world);
    const EmbedPlan plan = plan_batches(lengths, 128);
    const std::vector<double> costs = batch_costs(plan, lengths, small_config());
    const OutputSizes sizes{input.proteins, input.residues, H, plan.batch_count(), input.longest_id};
    const JobIdentity identity{input.hash, 1, "options"};
    const auto find = [&](const JobIdentity& job) { return find_output(path, job, false, world); };
    const auto write = [&](const OutputFile& file, std::vector<ProteinRun>&& runs, std::size_t most) {
        std::vector<std::uint64_t> missing;
        for (std::uint64_t b = 0; b < plan.batch_count(); ++b)
            if (file.done[b] == 0) missing.push_back(b);
        const Work work = share_work(plan, lengths, missing, costs, std::move(runs), world);
        VectorWriter writer(file, choice, H);
        for (std::size_t b = 0; b < std::min(most, work.batches.size()); ++b) {
            BatchVectors& vectors = writer.buffer();
            vectors.number = work.batches[b].number;
            vectors.items = work.batch(b);
            std::vector<float> rows;
            vectors.mean.clear();
            vectors.cls.clear();
            for (const WorkItem& item : vectors.items) {
                for (std::uint64_t i = 0; i < item.length * H; ++i)
                    rows.push_back(static_cast<float>(item.first_row * H + i));
                vectors.mean.insert(vectors.mean.end(), H, static_cast<float>(item.protein));
                vectors.cls.insert(vectors.cls.end(), H, -static_cast<float>(item.protein));
            }
            const auto* bytes = reinterpret_cast<const std::byte*>(rows.data());
            vectors.residues.assign(bytes, bytes + rows.size() * sizeof(float));
            writer.submit();
        }
        writer.finish();
        return missing.size();
    };

    ASSERT_EQ(find(identity), OutputState::fresh);
    std::vector<ProteinRun> runs = input.runs;
    const OutputFile created =
        create_output(path, choice, sizes, identity, {"checkpoint.h5", 7, "{}", "float32"}, input.runs, lengths, world);
    EXPECT_EQ(write(created, std::move(runs), 3), plan.batch_count());
    world.barrier();

    ASSERT_EQ(find(identity), OutputState::interrupted);
    EXPECT_THROW(find({input.hash, 2, "options"}), InputError);
    EXPECT_THROW(find({input.hash + 1, 1, "options"}), InputError);
    EXPECT_THROW(find({input.hash, 1, "others"}), InputError);
    EXPECT_EQ(find_output(path, {input.hash, 2, "options"}, true, world), OutputState::fresh);
    const OutputFile continued = continue_output(path, sizes, world);
    EXPECT_EQ(continued.residues, created.residues);
    // Each rank had written three batches.
    EXPECT_EQ(write(continued, std::move(input.runs), ~std::size_t{0}),
              plan.batch_count() - 3 * static_cast<std::uint64_t>(world.ranks()));
    const NotFinite not_finite = find_not_finite(continued, choice, sizes, plan, lengths, world);
    EXPECT_TRUE(not_finite.proteins.empty());
    finish_output(path, continued, choice, sizes, lengths, not_finite, world);
    EXPECT_EQ(find(identity), OutputState::finished);
    EXPECT_THROW(find({input.hash, 2, "options"}), InputError);
    EXPECT_FALSE(fs::exists(path + ".part"));

    const Hdf5File file = Hdf5File::open_alone(path);
    std::vector<float> residues(sizes.residues * H), mean(sizes.proteins * H), cls(mean);
    std::vector<std::uint64_t> offsets(sizes.proteins + 1);
    std::vector<std::uint32_t> checksums(3 * sizes.proteins);
    file.read("/checksums", checksums.data(), {0, sizes.proteins});
    file.read("/residues", residues.data(), {0, sizes.residues});
    file.read("/mean", mean.data(), {0, sizes.proteins});
    file.read("/cls", cls.data(), {0, sizes.proteins});
    file.read("/offsets", offsets.data(), {0, sizes.proteins + 1});
    for (std::size_t i = 0; i < residues.size(); ++i) ASSERT_EQ(residues[i], static_cast<float>(i));
    for (std::size_t i = 0; i < proteins.size(); ++i) {
        EXPECT_EQ(offsets[i + 1] - offsets[i], proteins[i].size());
        // By the formula in embed/output.hpp, from the bytes as any reader finds them.
        const auto sum = [&](const float* values, std::uint64_t n) {
            return static_cast<std::uint32_t>(XXH3_64bits_withSeed(values, n * sizeof(float), i));
        };
        EXPECT_EQ(checksums[3 * i], sum(residues.data() + offsets[i] * H, proteins[i].size() * H));
        EXPECT_EQ(checksums[3 * i + 1], sum(&mean[i * H], H));
        EXPECT_EQ(checksums[3 * i + 2], sum(&cls[i * H], H));
        for (std::uint64_t h = 0; h < H; ++h) {
            if (proteins[i].empty()) {
                EXPECT_TRUE(std::isnan(mean[i * H + h]));
                EXPECT_TRUE(std::isnan(cls[i * H + h]));
            } else {
                EXPECT_EQ(mean[i * H + h], static_cast<float>(i));
                EXPECT_EQ(cls[i * H + h], -static_cast<float>(i));
            }
        }
    }
}

TEST(News, ReachRankZeroAndAStopReachesAll) {
    const Communicator world = Communicator::world();
    RankNews news(world);
    const bool last = world.rank() == world.ranks() - 1;
    const int tells = 5 * (1 + world.rank());
    for (int i = 0; i < tells; ++i) news.tell(1, last && i == 2);
    // Once the last rank has stopped, the others hear of it.
    world.barrier();
    while (!news.stopping()) news.tell(0, false);
    news.finish([] {});
    std::uint64_t total = static_cast<std::uint64_t>(tells);
    world.sum(&total, 1);
    if (world.root()) {
        EXPECT_EQ(news.residues(), total);
    }
}

}  // namespace
}  // namespace protalbert

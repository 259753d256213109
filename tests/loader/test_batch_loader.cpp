// The loader under any number of ranks, against a serial account of every step computed in the test: what is in a batch
// depends on (seed, step) alone.

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "data/batch_loader.hpp"
#include "test_corpus.hpp"
#include "tests/foundation/mpi_main.hpp"

namespace protalbert {
namespace {

using loader_test::Damage;
using loader_test::Proteins;
using loader_test::random_proteins;
using loader_test::residue_count;

double quadratic_cost(std::int64_t length) {
    return static_cast<double>(length) * (100.0 + static_cast<double>(length));
}

/// A corpus on disk and in memory.
struct Setting {
    explicit Setting(std::uint64_t count, Damage damage = Damage::none) : proteins(random_proteins(count)) {
        loader_test::write_corpus(path, proteins, world, damage);
        corpus.emplace(path, world);
        settings.sample.max_length = 60;
        settings.batch_tokens = 500;
        // About 60 sequences a block, 5 blocks a window: a corpus of thousands has many windows.
        settings.blocks = {.residues_per_block = 4096, .blocks_per_window = 5};
    }
    ~Setting() { remove_shared_folder(folder); }
    EpochOrder order() const {
        return make_epoch_order(proteins.size(), residue_count(proteins), settings.sample.seed, settings.blocks);
    }
    BatchLoader loader() const { return {*corpus, settings, quadratic_cost, world}; }

    Communicator world = Communicator::world();
    std::filesystem::path folder = make_shared_folder("test_loader");
    std::string path = (folder / "corpus.h5").string();
    Proteins proteins;
    std::optional<Corpus> corpus;
    LoaderSettings settings;
};

/// The sample of one place of the global batch, alone, from `sequence` and its possible partner.
PackedBatch lone_sample(const Setting& setting, std::uint32_t epoch, std::uint64_t sequence, std::uint64_t partner) {
    static const Vocabulary vocabulary = default_vocabulary();
    const auto& protein = setting.proteins[sequence];
    const auto& other = setting.proteins[partner];
    const auto other_length = partner == sequence ? 0 : static_cast<std::uint32_t>(other.size());
    const auto plan = plan_sample(setting.settings.sample, epoch, sequence, static_cast<std::uint32_t>(protein.size()),
                                  partner, other_length);
    PackedBatch batch;
    append_sample(batch, plan, setting.settings.sample, vocabulary, protein,
                  plan.second_is_other ? std::span(other) : std::span<const std::uint8_t>(), 0);
    return batch;
}

/// A step in the order of the global batch, computed without windows, shares or messages.
std::vector<PackedBatch> serial_step(const Setting& setting, std::uint64_t step) {
    const EpochOrder order = setting.order();
    const auto global_batch = static_cast<std::uint64_t>(setting.settings.global_batch);
    std::vector<PackedBatch> samples;
    for (std::uint64_t at = step * global_batch; at < (step + 1) * global_batch; ++at) {
        const auto epoch = static_cast<std::uint32_t>(at / order.sequences);
        const std::uint64_t position = at % order.sequences;
        const Range window = window_range(order, window_of(order, position));
        const std::uint64_t following = window.first + (position - window.first + 1) % window.count;
        samples.push_back(
            lone_sample(setting, epoch, sequence_at(order, epoch, position), sequence_at(order, epoch, following)));
    }
    return samples;
}

/// Whether sequence `s` of a packed batch is the lone sample.
bool same_sample(const PackedBatch& packed, std::int64_t s, const PackedBatch& lone) {
    const std::int64_t begin = packed.cu_seqlens[s], end = packed.cu_seqlens[s + 1];
    auto same = [&](const auto& all, const auto& alone) {
        return std::equal(all.begin() + begin, all.begin() + end, alone.begin(), alone.end());
    };
    const auto first = std::lower_bound(packed.masked_positions.begin(), packed.masked_positions.end(), begin);
    const auto last = std::lower_bound(packed.masked_positions.begin(), packed.masked_positions.end(), end);
    const auto labels = packed.masked_labels.begin() + (first - packed.masked_positions.begin());
    return same(packed.tokens, lone.tokens) && same(packed.segments, lone.segments) &&
           same(packed.positions, lone.positions) &&
           std::equal(first, last, lone.masked_positions.begin(), lone.masked_positions.end(),
                      [&](std::int64_t at, std::int64_t alone) { return at == alone + begin; }) &&
           std::equal(labels, labels + (last - first), lone.masked_labels.begin(), lone.masked_labels.end()) &&
           packed.sentence_labels[s] == lone.sentence_labels[0] && packed.samples[s] == lone.samples[0];
}

/// Compares the shares of all ranks with the serial account. Collective, and free of early returns, so that a failure
/// on one rank leaves none waiting.
void expect_step(const Setting& setting, const StepBatch& batch, const std::vector<PackedBatch>& expected) {
    std::vector<std::int64_t> visits(expected.size(), 0);
    std::int64_t wrong = 0;
    for (const PackedBatch& packed : batch.micro_batches) {
        EXPECT_GT(packed.sequence_count(), 0);
        EXPECT_TRUE(packed.token_count() <= setting.settings.batch_tokens || packed.sequence_count() == 1);
        EXPECT_EQ(packed.cu_seqlens.front(), 0);
        EXPECT_EQ(packed.cu_seqlens.back(), packed.token_count());
        EXPECT_EQ(packed.places.size(), packed.samples.size());
        EXPECT_EQ(packed.masked_labels.size(), packed.masked_positions.size());
        for (std::int64_t s = 0; s < packed.sequence_count(); ++s) {
            const std::uint32_t place = packed.places[s];
            if (place < expected.size() && same_sample(packed, s, expected[place]))
                ++visits[place];
            else
                ++wrong;
        }
    }
    EXPECT_EQ(wrong, 0) << "samples differ from the serial account";
    setting.world.sum(visits.data(), static_cast<int>(visits.size()));
    EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), static_cast<std::ptrdiff_t>(expected.size()))
        << "places that are not computed exactly once";

    std::int64_t tokens = 0, masked = 0, sentences = 0;
    for (const PackedBatch& sample : expected) {
        tokens += sample.token_count();
        masked += sample.masked_count();
        sentences += sample.sentence_labels[0] >= 0;
    }
    EXPECT_EQ(batch.global_sequences, static_cast<std::int64_t>(expected.size()));
    EXPECT_EQ(batch.global_tokens, tokens);
    EXPECT_EQ(batch.global_masked, masked);
    EXPECT_EQ(batch.global_sentences, sentences);
}

void expect_steps(const Setting& setting, const std::vector<std::uint64_t>& steps) {
    BatchLoader loader = setting.loader();
    for (const std::uint64_t step : steps) {
        SCOPED_TRACE(step);
        const StepBatch& batch = loader.get(step);
        EXPECT_EQ(batch.step, step);
        expect_step(setting, batch, serial_step(setting, step));
    }
}

TEST(BatchLoader, EveryObjectiveAcrossWindowsAndEpochs) {
    Setting setting(2000);
    EXPECT_GE(setting.order().windows(), 5u);
    setting.settings.global_batch = 301;  // the seventh step begins the second epoch
    for (const Objective objective : {Objective::sop, Objective::nsp, Objective::none}) {
        SCOPED_TRACE(objective_name(objective));
        setting.settings.sample.objective = objective;
        expect_steps(setting, {0, 1, 2, 3, 4, 5, 6, 7, 8});
    }
}

TEST(BatchLoader, AnyStepMayFollow) {
    Setting setting(2000);
    setting.settings.global_batch = 100;
    setting.settings.sample.objective = Objective::nsp;
    expect_steps(setting, {57, 58, 3, 3, 4, 1000000, 0});
}

TEST(BatchLoader, MeetsAPrimeBatchExactly) {
    Setting setting(12000);
    setting.settings.global_batch = 10753;
    setting.settings.batch_tokens = 8192;
    expect_steps(setting, {0, 1});
    BatchLoader loader = setting.loader();
    // Thousands of samples a rank, the smallest of 4 tokens: the shares are equal to a few parts in a million.
    EXPECT_LT(loader.get(0).imbalance, 1e-4);
}

TEST(BatchLoader, AnEpochVisitsEverySequenceOnce) {
    Setting setting(3000);
    setting.settings.global_batch = 250;
    BatchLoader loader = setting.loader();
    for (const std::uint64_t epoch : {0, 1}) {
        std::vector<std::int64_t> visits(3000, 0);
        for (std::uint64_t step = 12 * epoch; step < 12 * (epoch + 1); ++step)
            for (const PackedBatch& packed : loader.get(step).micro_batches)
                for (const std::uint64_t sequence : packed.samples) ++visits[sequence];
        setting.world.sum(visits.data(), static_cast<int>(visits.size()));
        EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), 3000);
    }
}

TEST(BatchLoader, BatchLargerThanTheCorpus) {
    for (const std::uint64_t count : {1, 2, 3, 40, 700}) {
        SCOPED_TRACE(count);
        Setting setting(count);
        setting.settings.global_batch = 1500;
        setting.settings.sample.objective = Objective::nsp;
        expect_steps(setting, {0, 1, 2});
    }
}

TEST(BatchLoader, FewerSamplesThanRanks) {
    Setting setting(900);
    setting.settings.global_batch = 1;
    expect_steps(setting, {0, 1, 2, 3, 898, 899, 900});
    BatchLoader loader = setting.loader();
    std::int64_t shares = loader.get(0).micro_batches.size();
    setting.world.sum(&shares, 1);
    EXPECT_EQ(shares, 1);
}

TEST(BatchLoader, SamplesLongerThanAMicroBatch) {
    Setting setting(1000);
    setting.settings.sample.max_length = 1600;
    setting.settings.sample.short_fraction = 0;
    setting.settings.global_batch = 1000;
    expect_steps(setting, {0});
}

TEST(BatchLoader, EndsCleanlyWhateverWasAskedFor) {
    Setting setting(500);
    setting.settings.global_batch = 50;
    for (int i = 0; i < 20; ++i) {
        BatchLoader unused = setting.loader();
        BatchLoader used_once = setting.loader();
        used_once.get(i);
    }
}

TEST(BatchLoader, SettingsOutOfRangeAreRefused) {
    Setting setting(10);
    auto refused = [&](auto change) {
        LoaderSettings settings = setting.settings;
        settings.global_batch = 5;
        change(settings);
        EXPECT_THROW(BatchLoader(*setting.corpus, settings, quadratic_cost, setting.world), InputError);
    };
    refused([](LoaderSettings& settings) { settings.global_batch = 0; });
    refused([](LoaderSettings& settings) { settings.batch_tokens = 0; });
    refused([](LoaderSettings& settings) { settings.sample.max_length = 4; });
}

TEST(BatchLoader, ADamagedCorpusFailsOnAllRanks) {
    // One rank alone sees it: in the index that it reads first, or in a block of a window that several ranks read.
    const auto expect_refusal = [](Damage damage, bool at_start) {
        Setting setting(500, damage);
        setting.settings.global_batch = 500;
        bool started = false;
        try {
            BatchLoader loader = setting.loader();
            started = true;
            loader.get(0);
            ADD_FAILURE() << "the damage went unnoticed";
        } catch (const Error& error) {
            EXPECT_EQ(started, !at_start);
            EXPECT_EQ(error.exit_code(), exit_bad_input);
            EXPECT_NE(std::string(error.what()).find(setting.path), std::string::npos) << error.what();
        }
    };
    expect_refusal(Damage::offset, true);
    expect_refusal(Damage::token, false);
}

TEST(BatchLoader, ValidationVisitsTheStoredOrder) {
    Setting setting(1000);
    setting.settings.global_batch = 300;
    for (const Objective objective : {Objective::sop, Objective::nsp, Objective::none}) {
        setting.settings.sample.objective = objective;
        const auto batches =
            BatchLoader::validation_batches(*setting.corpus, 800, setting.settings, quadratic_cost, setting.world);
        EXPECT_EQ(batches.size(), 3u);
        for (std::size_t b = 0; b < batches.size(); ++b) {
            const std::uint64_t first = 300 * b, count = std::min<std::uint64_t>(300, 800 - first);
            std::vector<PackedBatch> expected;
            for (std::uint64_t i = 0; i < count; ++i)
                expected.push_back(lone_sample(setting, 0, first + i, first + (i + 1) % count));
            expect_step(setting, batches[b], expected);
        }
    }
    EXPECT_EQ(
        BatchLoader::validation_batches(*setting.corpus, 5000, setting.settings, quadratic_cost, setting.world).size(),
        4u);
}

}  // namespace
}  // namespace protalbert

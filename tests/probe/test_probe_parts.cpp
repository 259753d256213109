// Parts of the probe: scores against numbers worked out by hand, pieces of proteins, head files.

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.hpp"
#include "embed/embed.hpp"
#include "foundation/mpi_main.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "probe/head_file.hpp"
#include "probe/pieces.hpp"
#include "probe/scores.hpp"

namespace protalbert {
namespace {

/// Three proteins of 4, 2 and 1 residues; the last one is not scored.
LabelledProteins some_proteins() {
    LabelledProteins proteins;
    proteins.kinds = {label_kind(Task::secondary_structure, "three_state")};
    proteins.ids = {"a", "b", "c"};
    proteins.splits = {Split::test, Split::test, Split::train};
    proteins.lengths = {4, 2, 1};
    proteins.rows = {0, 4, 6, 7};
    proteins.labels = {{0, 0, 1, -1, 2, 2, 1}};
    return proteins;
}

TEST(Scores, AccuracyConfusionRecall) {
    const Score score = score_predictions(some_proteins(), 0, {0, 1}, {0, 1, 1, 0, 2, 0}, 1);
    EXPECT_EQ(score.proteins, 2U);
    EXPECT_EQ(score.rows, 5U);
    EXPECT_DOUBLE_EQ(score.accuracy, 3.0 / 5);
    EXPECT_EQ(score.confusion, (std::vector<std::vector<std::uint64_t>>{{1, 1, 0}, {0, 1, 0}, {1, 0, 1}}));
    EXPECT_EQ(score.recall, (std::vector<double>{0.5, 1, 0.5}));
    EXPECT_TRUE(std::isnan(score.matthews));
    // A sample of two proteins is a twice, b twice, or both: accuracies 2/3, 1/2 and 3/5 with chances 1/4, 1/4, 1/2.
    const double mean = (2.0 / 3 + 1.0 / 2) / 4 + 3.0 / 5 / 2;
    const double variance =
        ((2.0 / 3 - mean) * (2.0 / 3 - mean) + (0.5 - mean) * (0.5 - mean)) / 4 + (0.6 - mean) * (0.6 - mean) / 2;
    // 1000 samples know a standard deviation to a few percent.
    EXPECT_NEAR(score.accuracy_error, std::sqrt(variance), 0.1 * std::sqrt(variance));
    EXPECT_EQ(difference_error(score, score), 0);
}

TEST(Scores, MajorityIsOfTheTrainingLabels) {
    EXPECT_EQ(majority_classes(some_proteins(), 0, {0, 1}), std::vector<std::uint8_t>(6, 1));
}

TEST(Scores, Matthews) {
    // Numbers of a textbook's example: TP 90, FN 10, FP 5, TN 45.
    EXPECT_NEAR(matthews_correlation({{45, 5}, {10, 90}}), (90.0 * 45 - 5.0 * 10) / std::sqrt(95.0 * 100 * 50 * 55),
                1e-12);
    EXPECT_DOUBLE_EQ(matthews_correlation({{3, 0}, {0, 4}}), 1);
    EXPECT_DOUBLE_EQ(matthews_correlation({{0, 3}, {4, 0}}), -1);
    EXPECT_TRUE(std::isnan(matthews_correlation({{3, 0}, {4, 0}})));
}

/// Where there is a GPU, or an emulated one, it is the device that nobody asked for too.
TEST(Batches, AreOfTheDeviceThatIsUsed) {
    const auto tokens = [](const std::string& device) {
        return default_batch_tokens(ModelConfig(), *make_backend(device, Precision::float32, 1));
    };
    EXPECT_LE(tokens("cpu"), 4096);
    EXPECT_EQ(tokens("auto"), cuda_devices().count > 0 ? 32768 : tokens("cpu"));
}

TEST(Pieces, KeepEveryResidueOnceFarFromTheEnds) {
    for (const std::uint64_t length : {0U, 1U, 9U, 10U, 11U, 14U, 15U, 16U, 99U, 1000U}) {
        for (const std::uint64_t size : {0U, 1U, 2U, 9U, 10U}) {
            SCOPED_TRACE(testing::Message() << length << " residues in pieces of " << size);
            const std::vector<Piece> pieces = cut_protein(length, size);
            std::uint64_t kept = 0;
            for (const Piece& piece : pieces) {
                EXPECT_EQ(piece.kept, kept);
                kept += piece.kept_count;
                EXPECT_EQ(piece.length, size == 0 ? length : std::min(length, size));
                EXPECT_LE(piece.first, piece.kept);
                EXPECT_LE(piece.kept + piece.kept_count, piece.first + piece.length);
                EXPECT_LE(piece.first + piece.length, length);
                // A quarter of a piece is on either side, but at the protein's ends.
                if (piece.kept > 0) {
                    EXPECT_GE(piece.kept - piece.first, size / 4);
                }
                if (piece.kept + piece.kept_count < length) {
                    EXPECT_GE(piece.first + piece.length - piece.kept - piece.kept_count, size / 4);
                }
            }
            EXPECT_EQ(kept, length);
        }
    }
}

TEST(HeadFile, ReloadsBitForBit) {
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_head");
    const std::string path = (folder / "head.h5").string();
    for (const Task task : {Task::secondary_structure, Task::localization}) {
        const std::span<const LabelKind> kinds = label_kinds(task);
        HeadFile head;
        head.config = head_config(task, 19, {kinds.begin(), kinds.end()});
        head.values = initial_head(make_head_layout(head.config), 3);
        head.values[0] = -0.0F;
        head.encoder = "{}";
        head.checkpoint_hash = ~0ULL;
        head.piece_length = 62;
        head.training = "{\"a\": 1}";
        write_head(path, head, world);
        const HeadFile read = read_head(path, world);
        ASSERT_EQ(read.values.size(), head.values.size());
        EXPECT_EQ(std::memcmp(read.values.data(), head.values.data(), head.values.size() * sizeof(float)), 0);
        EXPECT_EQ(read.config.task, task);
        EXPECT_EQ(read.config.features, 19);
        EXPECT_EQ(read.config.window, head.config.window);
        EXPECT_EQ(read.config.kinds.size(), kinds.size());
        EXPECT_EQ(read.checkpoint_hash, head.checkpoint_hash);
        EXPECT_EQ(read.piece_length, 62);
        EXPECT_EQ(read.training, head.training);
        EXPECT_NO_THROW(check_features(read, path, 19, 0, "there", world));
        EXPECT_THROW(check_features(read, path, 20, 0, "there", world), InputError);
    }
    remove_shared_folder(folder);
}

TEST(HeadFile, RefusesValuesThatAreNotFinite) {
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = make_shared_folder("protalbert_head");
    const std::string path = (folder / "head.h5").string();
    HeadFile head;
    head.config = head_config(Task::localization, 5, {label_kind(Task::localization, "membrane")});
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        head.values = initial_head(make_head_layout(head.config), 3);
        head.values[0] = value;
        write_head(path, head, world);
        EXPECT_THROW(read_head(path, world), InputError);
    }
    remove_shared_folder(folder);
}

}  // namespace
}  // namespace protalbert

// A run stopped and continued ends with the same bits as one that was never stopped; what a run starts from; what
// happens to steps that are not finite.

#include <cmath>
#include <limits>

#include "../foundation/mpi_main.hpp"
#include "base/error.hpp"
#include "io/checkpoint.hpp"
#include "training_run.hpp"

namespace protalbert {
namespace {

using namespace train_test;

struct Snapshot {
    std::vector<float> parameters, m, v;
    bool operator==(const Snapshot&) const = default;
};

Snapshot snapshot(const TrainState& state) {
    return {get_parameters(state.model), download_array(state.m, state.model), download_array(state.v, state.model)};
}

class Restart : public testing::Test {
  protected:
    Restart() : world_(Communicator::world()), folder_(make_shared_folder("train_restart")) {
        corpus_ = (folder_ / "corpus.h5").string();
        loader_test::write_corpus(corpus_, loader_test::random_proteins(40), world_);  // epochs of three steps
    }
    ~Restart() override { remove_shared_folder(folder_); }

    TinyRun make_run(const TrainSettings& settings) { return TinyRun(settings, tiny_config(), corpus_, world_); }
    bool exists(const std::filesystem::path& path) {
        world_.barrier();
        return std::filesystem::exists(path);
    }

    const Communicator world_;
    const std::filesystem::path folder_;
    std::string corpus_;
};

TEST_F(Restart, ContinuesWithTheSameBits) {
    TrainSettings settings = tiny_settings(folder_ / "whole");
    TinyRun whole = make_run(settings);
    EXPECT_EQ(whole.begin().kind, StartKind::fresh);
    EXPECT_EQ(whole.train(), exit_done);

    // A time limit that has passed stops the run after each single step.
    settings.directory = folder_ / "pieces";
    settings.metrics = settings.directory / "metrics.jsonl";
    settings.time_limit = 1e-9;
    for (std::uint64_t step = 0; step < 8; ++step) {
        TinyRun piece = make_run(settings);
        EXPECT_EQ(piece.begin().kind, step == 0 ? StartKind::fresh : StartKind::resumed);
        EXPECT_EQ(piece.state.step, step);
        EXPECT_EQ(piece.train(), step < 7 ? exit_stopped : exit_done);
        EXPECT_EQ(piece.state.samples, 13 * (step + 1));
        if (step == 7) {
            EXPECT_TRUE(snapshot(piece.state) == snapshot(whole.state));
        }
    }
}

TEST_F(Restart, PassesOverDamagedCheckpoints) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.checkpoint_every = 3;
    TinyRun whole = make_run(settings);
    whole.begin();
    ASSERT_EQ(whole.train(), exit_done);
    if (world_.root()) std::filesystem::resize_file(settings.directory / "step_00000008.h5", 5000);
    world_.barrier();

    TinyRun again = make_run(settings);
    const Start start = again.begin();
    EXPECT_EQ(start.checkpoint.filename(), "step_00000006.h5");
    EXPECT_TRUE(exists(settings.directory / "set_aside_1" / "step_00000008.h5"));
    ASSERT_EQ(again.train(), exit_done);
    EXPECT_TRUE(snapshot(again.state) == snapshot(whole.state));
}

TEST_F(Restart, AnEarlierCheckpointCanBeNamed) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.checkpoint_every = 2;
    settings.keep = 2;
    TinyRun whole = make_run(settings);
    whole.begin();
    ASSERT_EQ(whole.train(), exit_done);
    EXPECT_FALSE(exists(settings.directory / "step_00000004.h5"));
    TinyRun again = make_run(settings);
    again.begin({.resume = (settings.directory / "step_00000006.h5").string(), .init = {}});
    EXPECT_EQ(again.state.step, 6U);
    ASSERT_EQ(again.train(), exit_done);
    EXPECT_TRUE(snapshot(again.state) == snapshot(whole.state));
}

TEST_F(Restart, InitTakesWeightsAlone) {
    TrainSettings settings = tiny_settings(folder_ / "first");
    TinyRun first = make_run(settings);
    first.begin();
    ASSERT_EQ(first.train(), exit_done);

    settings.directory = folder_ / "second";
    const StartOptions options = {.resume = "auto", .init = (folder_ / "first").string()};
    TinyRun second = make_run(settings);
    EXPECT_EQ(second.begin(options).kind, StartKind::initialised);
    EXPECT_EQ(second.state.step, 0U);
    const Snapshot start = snapshot(second.state);
    EXPECT_TRUE(start.parameters == snapshot(first.state).parameters);
    EXPECT_TRUE(start.m == std::vector<float>(start.m.size(), 0.0F));
    EXPECT_TRUE(start.v == start.m);
    settings.schedule.steps = 3;
    ASSERT_EQ(second.train(), exit_done);

    TinyRun third = make_run(settings);
    EXPECT_EQ(third.begin(options).kind, StartKind::resumed);  // its own checkpoints win
    EXPECT_TRUE(snapshot(third.state) == snapshot(second.state));
}

TEST_F(Restart, RefusesAnotherModel) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    TinyRun first = make_run(settings);
    first.begin();
    ASSERT_EQ(first.train(), exit_done);
    ModelConfig config = tiny_config();
    config.hidden = 32;
    TinyRun other(settings, config, corpus_, world_);
    try {
        restore_state(other.state, {}, settings, other.corpus, world_);
        ADD_FAILURE() << "a checkpoint of another size was taken";
    } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("hidden"), std::string::npos) << error.what();
    }
    settings.directory = folder_ / "other";
    EXPECT_THROW(restore_state(other.state, {.resume = "auto", .init = (folder_ / "run").string()}, settings,
                               other.corpus, world_),
                 InputError);
}

TEST_F(Restart, StepsThatAreNotFiniteChangeNothing) {
    TrainSettings settings = tiny_settings(folder_ / "run");
    settings.schedule.steps = 100;
    settings.checkpoint_every = 2;
    TinyRun run = make_run(settings);
    run.begin();
    // A weight of the head that every rank uses: losses and gradients are not finite from the first step.
    std::vector<float> parameters = get_parameters(run.state.model);
    parameters[static_cast<std::size_t>(run.state.model.layout.masked.weight)] = std::numeric_limits<float>::infinity();
    set_parameters(run.state.model, parameters);
    run.state.step = 4;
    run.state.samples = 4 * 13;
    const Snapshot before = snapshot(run.state);
    EXPECT_EQ(run.train(), exit_failure);
    EXPECT_TRUE(snapshot(run.state) == before);
    EXPECT_EQ(run.state.step, 14U);
    const auto files = list_checkpoints(settings.directory);
    ASSERT_EQ(files.size(), 1U);
    const CheckpointHeader header = read_checkpoint_header(files.front(), world_);
    EXPECT_EQ(header.step, 4U);  // the state before them
    EXPECT_EQ(header.samples, 4U * 13U);
}

}  // namespace
}  // namespace protalbert

// What transformers cannot check: the ways of sharing, a model without projection, packing, micro-batches, and the
// order in which gradients become final.

#include <fmt/format.h>

#include "model_helpers.hpp"

namespace protalbert::testing {

namespace {

// Two float32 computations that differ in the order of their sums (or in nothing else) differ by some 1e-6 of a
// gradient's largest element; see test_model_golden.cpp for the measured size. A wrong term shows at 1e-2 or more.
constexpr double rounding = 2e-5;

const std::vector<std::int64_t> lengths{11, 3, 20, 1, 8};

/// Name under which `config` stores what block `block` uses of `name`, a tensor of a model that shares nothing.
std::string stored_name(const std::string& name, const ModelConfig& config) {
    const std::string prefix = "albert.encoder.albert_layer_groups.";
    if (!name.starts_with(prefix)) return name;
    const std::size_t end = name.find('.', prefix.size());
    const std::int64_t iteration = std::stoll(name.substr(prefix.size(), end - prefix.size()));
    const bool attention = name.find(".attention.") != std::string::npos;
    const bool shared =
        config.sharing == Sharing::all || config.sharing == (attention ? Sharing::attention : Sharing::ffn);
    const std::int64_t group = shared ? group_of_iteration(config, iteration) : iteration;
    return prefix + std::to_string(group) + name.substr(end);
}

class SharingModes : public ::testing::TestWithParam<ModelConfig> {};

// A shared parameter's gradient is the sum of the gradients it would have if every block had its own copy.
TEST_P(SharingModes, GradientsAreSumsOverUnsharedCopies) {
    const ModelConfig config = GetParam();
    ModelConfig unshared_config = config;
    unshared_config.sharing = Sharing::none;
    unshared_config.groups = 1;
    const Model model = random_model(config);
    Model unshared = make_model(unshared_config, cpu());
    const std::vector<float> values = get_parameters(model);
    std::vector<float> copies(static_cast<std::size_t>(unshared.layout.size), 0.0F);
    for (const Parameter& parameter : unshared.layout.parameters) {
        const Parameter* source = model.layout.find(stored_name(parameter.name, config));
        ASSERT_NE(source, nullptr) << parameter.name;
        ASSERT_EQ(source->shape, parameter.shape);
        std::copy_n(values.begin() + source->offset, source->size, copies.begin() + parameter.offset);
    }
    set_parameters(unshared, copies);

    const PackedBatch batch = random_batch(config, lengths);
    const Outcome ours = Runner(model).train({batch}, 0.05, 0.2);
    const Outcome theirs = Runner(unshared).train({batch}, 0.05, 0.2);
    EXPECT_NEAR(ours.masked.loss, theirs.masked.loss, 1e-6 * theirs.masked.loss);
    EXPECT_NEAR(ours.sentence.loss, theirs.sentence.loss, 1e-6 * theirs.sentence.loss);

    std::vector<float> sums(ours.gradients.size(), 0.0F);
    std::vector<int> users(model.layout.parameters.size(), 0);
    for (const Parameter& parameter : unshared.layout.parameters) {
        const Parameter* target = model.layout.find(stored_name(parameter.name, config));
        ++users[static_cast<std::size_t>(target - model.layout.parameters.data())];
        for (std::int64_t i = 0; i < parameter.size; ++i) {
            sums[static_cast<std::size_t>(target->offset + i)] +=
                theirs.gradients[static_cast<std::size_t>(parameter.offset + i)];
        }
    }
    for (std::size_t p = 0; p < users.size(); ++p) EXPECT_GE(users[p], 1) << model.layout.parameters[p].name;
    expect_same_gradients(model.layout, ours.gradients, sums, rounding);
}

ModelConfig with(Sharing sharing, std::int64_t layers, std::int64_t groups, std::int64_t inner) {
    ModelConfig config = small_config();
    config.sharing = sharing;
    config.layers = layers;
    config.groups = groups;
    config.inner = inner;
    return config;
}

std::string case_name(const ::testing::TestParamInfo<ModelConfig>& test) {
    return fmt::format("{}_{}layers_{}groups_{}inner", sharing_name(test.param.sharing), test.param.layers,
                       test.param.groups, test.param.inner);
}

// With inner layers the blocks of a part alternate with another's: the stash of queries, keys and values then needs its
// spare slots.
INSTANTIATE_TEST_SUITE_P(Cases, SharingModes,
                         ::testing::Values(with(Sharing::all, 3, 1, 1), with(Sharing::all, 4, 2, 1),
                                           with(Sharing::all, 3, 1, 2), with(Sharing::all, 3, 2, 3),
                                           with(Sharing::attention, 3, 1, 1), with(Sharing::attention, 4, 2, 2),
                                           with(Sharing::ffn, 3, 1, 1), with(Sharing::ffn, 4, 2, 2),
                                           with(Sharing::none, 2, 1, 2)),
                         [](const auto& test) {
                             return std::string(sharing_name(test.param.sharing)) + std::to_string(test.param.layers) +
                                    "layers" + std::to_string(test.param.groups) + "groups" +
                                    std::to_string(test.param.inner) + "inner";
                         });

// E = H without projection is the model whose projection is the identity.
TEST(NoProjection, EqualsIdentityProjection) {
    ModelConfig config = small_config();
    config.embedding = config.hidden;
    config.projection = false;
    ModelConfig projected_config = config;
    projected_config.projection = true;
    const Model model = random_model(config);
    EXPECT_EQ(model.layout.find("albert.encoder.embedding_hidden_mapping_in.weight"), nullptr);

    Model projected = make_model(projected_config, cpu());
    const std::vector<float> values = get_parameters(model);
    std::vector<float> copies(static_cast<std::size_t>(projected.layout.size), 0.0F);
    for (const Parameter& parameter : model.layout.parameters) {
        const Parameter* target = projected.layout.find(parameter.name);
        std::copy_n(values.begin() + parameter.offset, parameter.size, copies.begin() + target->offset);
    }
    for (std::int64_t h = 0; h < config.hidden; ++h) {
        copies[static_cast<std::size_t>(projected.layout.projection.weight + h * config.hidden + h)] = 1;
    }
    set_parameters(projected, copies);

    const PackedBatch batch = random_batch(config, lengths);
    const Outcome ours = Runner(model).train({batch}, 0.05, 0.2);
    const Outcome theirs = Runner(projected).train({batch}, 0.05, 0.2);
    EXPECT_NEAR(ours.masked.loss, theirs.masked.loss, 1e-6 * theirs.masked.loss);
    std::vector<float> expected(ours.gradients.size(), 0.0F);
    for (const Parameter& parameter : model.layout.parameters) {
        const Parameter* source = projected.layout.find(parameter.name);
        std::copy_n(theirs.gradients.begin() + source->offset, parameter.size, expected.begin() + parameter.offset);
    }
    expect_same_gradients(model.layout, ours.gradients, expected, rounding);
}

// Finite differences of the total loss along each tensor's gradient, whose slope is the gradient's norm: a check that
// owes nothing to another model.
TEST(FiniteDifferences, SlopeAlongEveryTensor) {
    for (const Sharing sharing : {Sharing::all, Sharing::attention, Sharing::ffn, Sharing::none}) {
        ModelConfig config = small_config();
        config.sharing = sharing;
        config.layers = 2;
        config.embedding = sharing == Sharing::ffn ? config.hidden : config.embedding;
        config.projection = sharing != Sharing::ffn;
        Model model = random_model(config);
        const std::vector<float> values = get_parameters(model);
        const PackedBatch batch = random_batch(config, lengths);
        const double masked_scale = 1 / static_cast<double>(batch.masked_count());
        const double sentence_scale = 1 / static_cast<double>(batch.sequence_count());
        Runner runner(model);
        const Outcome outcome = runner.train({batch}, masked_scale, sentence_scale);
        for (const Parameter& parameter : model.layout.parameters) {
            // Its gradient is zero but for rounding.
            if (parameter.name.find("key.bias") != std::string::npos) continue;
            const float* const gradient = outcome.gradients.data() + parameter.offset;
            double norm = 0;
            for (std::int64_t i = 0; i < parameter.size; ++i) norm += static_cast<double>(gradient[i]) * gradient[i];
            norm = std::sqrt(norm);
            ASSERT_GT(norm, 0) << parameter.name;
            const auto loss_at = [&](double step) {
                std::vector<float> moved = values;
                for (std::int64_t i = 0; i < parameter.size; ++i) {
                    moved[static_cast<std::size_t>(parameter.offset + i)] +=
                        static_cast<float>(step * gradient[i] / norm);
                }
                set_parameters(model, moved);
                return runner.evaluate_losses(batch).total(masked_scale, sentence_scale);
            };
            // The loss, about 5, is good to some 1e-7. A step that changes it by up to 1e-3, and moves no tensor (norm
            // 1 and more) by over 0.02, leaves 1e-4 of rounding, and by Richardson's rule an error of fourth order.
            const double step = std::min(0.02, 1e-3 / norm);
            const auto slope = [&](double h) { return (loss_at(h) - loss_at(-h)) / (2 * h); };
            const double extrapolated = (4 * slope(step) - slope(2 * step)) / 3;
            if (getenv("SHOW")) printf("%g %s\n", extrapolated / norm - 1, parameter.name.c_str());
            EXPECT_NEAR(extrapolated / norm, 1, 0.01) << sharing_name(sharing) << " " << parameter.name;
        }
        set_parameters(model, values);
    }
}

// No sequence sees another: a batch is its sequences one by one, and micro-batches add up.
TEST(Packing, BatchIsItsSequences) {
    ModelConfig config = small_config();
    config.groups = 2;
    const Model model = random_model(config);
    const PackedBatch batch = random_batch(config, lengths);
    std::vector<PackedBatch> singles;
    for (std::size_t s = 0; s < lengths.size(); ++s) singles.push_back(one_sequence(batch, s));
    Runner runner(model);
    const Outcome together = runner.train({batch}, 0.05, 0.2);
    const Outcome apart = runner.train(singles, 0.05, 0.2);
    EXPECT_NEAR(together.masked.loss, apart.masked.loss, 1e-6 * apart.masked.loss);
    EXPECT_NEAR(together.sentence.loss, apart.sentence.loss, 1e-6 * apart.sentence.loss);
    EXPECT_EQ(together.masked.correct, apart.masked.correct);
    EXPECT_EQ(together.sentence.correct, apart.sentence.correct);
    expect_same_gradients(model.layout, together.gradients, apart.gradients, rounding);
}

TEST(Training, RepeatsBitForBit) {
    const Model model = random_model(small_config());
    const PackedBatch batch = random_batch(model.config, lengths);
    Runner runner(model);
    const Outcome first = runner.train({batch}, 0.05, 0.2);
    runner.train({random_batch(model.config, {30, 30, 2}, 7)}, 0.05, 0.2);
    const Outcome again = runner.train({batch}, 0.05, 0.2);
    EXPECT_EQ(first.masked.loss, again.masked.loss);
    EXPECT_EQ(first.gradients, again.gradients);
}

TEST(Training, EvaluationHasTheSameLosses) {
    const Model model = random_model(small_config());
    const PackedBatch batch = random_batch(model.config, lengths);
    Runner runner(model);
    const Outcome trained = runner.train({batch}, 0.05, 0.2);
    const Outcome evaluated = runner.evaluate_losses(batch);
    EXPECT_EQ(trained.masked.loss, evaluated.masked.loss);
    EXPECT_EQ(trained.masked.correct, evaluated.masked.correct);
    EXPECT_EQ(trained.sentence.loss, evaluated.sentence.loss);
    EXPECT_EQ(trained.sentence.correct, evaluated.sentence.correct);
}

// Without a sentence task nothing of its head is touched; without labels, without masked tokens nothing breaks.
TEST(Training, TasksMayBeAbsent) {
    const Model model = random_model(small_config());
    PackedBatch batch = random_batch(model.config, lengths);
    Runner runner(model);
    const Outcome both = runner.train({batch}, 0.05, 0.2);
    const Outcome masked_alone = runner.train({batch}, 0.05, 0);
    EXPECT_EQ(masked_alone.sentence.loss, 0);
    EXPECT_EQ(masked_alone.masked.loss, both.masked.loss);
    for (std::int64_t i = model.layout.pooler.weight; i < model.layout.masked_bias; ++i) {
        ASSERT_EQ(masked_alone.gradients[static_cast<std::size_t>(i)], 0);
    }
    batch.sentence_labels.assign(lengths.size(), -1);
    const Outcome no_labels = runner.train({batch}, 0.05, 0.2);
    EXPECT_EQ(no_labels.sentence.loss, 0);
    EXPECT_EQ(no_labels.gradients, masked_alone.gradients);
    batch.sentence_labels.clear();
    EXPECT_EQ(runner.train({batch}, 0.05, 0.2).gradients, masked_alone.gradients);

    batch = random_batch(model.config, lengths);
    batch.masked_positions.clear();
    batch.masked_labels.clear();
    const Outcome sentence_alone = runner.train({batch}, 0.05, 0.2);
    EXPECT_EQ(sentence_alone.masked.loss, 0);
    EXPECT_EQ(sentence_alone.sentence.loss, both.sentence.loss);
    for (std::size_t i = 0; i < both.gradients.size(); ++i) {
        EXPECT_NEAR(sentence_alone.gradients[i] + masked_alone.gradients[i], both.gradients[i],
                    rounding * largest(both.gradients.data(), model.layout.size));
    }
}

/// Ranges announced for one step, and the gradients as they were then.
struct Announcement {
    std::int64_t offset, size;
    std::vector<float> values;
};

class Announcing : public ::testing::TestWithParam<ModelConfig> {};

TEST_P(Announcing, EveryElementOnceAndFinal) {
    const Model model = random_model(GetParam());
    const PackedBatch batch = random_batch(model.config, lengths);
    Runner runner(model);
    std::vector<Announcement> heard;
    const auto listen = [&](std::int64_t offset, std::int64_t size) {
        const float* const begin = runner.gradients() + offset;
        heard.push_back({offset, size, std::vector<float>(begin, begin + size)});
    };
    const Outcome outcome = runner.train({batch, batch}, 0.05, 0.2, listen);
    std::vector<int> times(static_cast<std::size_t>(model.layout.size), 0);
    for (const Announcement& range : heard) {
        ASSERT_GE(range.offset, 0);
        ASSERT_LE(range.offset + range.size, model.layout.size);
        for (std::int64_t i = 0; i < range.size; ++i) {
            ++times[static_cast<std::size_t>(range.offset + i)];
            ASSERT_EQ(range.values[static_cast<std::size_t>(i)],
                      outcome.gradients[static_cast<std::size_t>(range.offset + i)])
                << "announced before it was final";
        }
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), model.layout.size);

    // A rank with nothing to compute announces the same, whether it is given an empty batch or none.
    std::vector<std::pair<std::int64_t, std::int64_t>> order;
    std::vector<std::pair<std::int64_t, std::int64_t>> idle_order;
    std::vector<std::pair<std::int64_t, std::int64_t>> empty_order;
    for (const Announcement& range : heard) order.emplace_back(range.offset, range.size);
    announce_gradients(model, [&](auto offset, auto size) { idle_order.emplace_back(offset, size); });
    PackedBatch empty;
    empty.clear();
    runner.train({empty}, 0.05, 0.2, [&](auto offset, auto size) { empty_order.emplace_back(offset, size); });
    EXPECT_EQ(order, idle_order);
    EXPECT_EQ(order, empty_order);
}

INSTANTIATE_TEST_SUITE_P(Cases, Announcing,
                         ::testing::Values(with(Sharing::all, 3, 1, 1), with(Sharing::attention, 4, 2, 2),
                                           with(Sharing::ffn, 3, 1, 1), with(Sharing::none, 3, 1, 2)),
                         case_name);

TEST(Training, RefusesWhatDoesNotFit) {
    const Model model = random_model(small_config());
    const PackedBatch batch = random_batch(model.config, lengths);
    EXPECT_THROW(Runner(model, 42).train({batch}, 0.05, 0.2), Error);
    EXPECT_THROW(Runner(model, 100, 4).train({batch}, 0.05, 0.2), Error);
    EXPECT_THROW(Runner(model, 100, 12, batch.masked_count() - 1).train({batch}, 0.05, 0.2), Error);
    EXPECT_NO_THROW(Runner(model, 43, 5, batch.masked_count()).train({batch}, 0.05, 0.2));

    PackedBatch strange = batch;
    strange.tokens[5] = static_cast<std::int32_t>(model.config.vocabulary);
    EXPECT_THROW(Runner(model).train({strange}, 0.05, 0.2), Error);
    EXPECT_THROW(Runner(model).train({random_batch(model.config, {model.config.positions + 1})}, 0.05, 0.2), Error);
}

TEST(StashOrder, SpareSlotsOnlyWhereNeeded) {
    // One part; parts in runs; every part once: one spare slot at the end.
    EXPECT_EQ(order_stashes({0, 0, 0}, 1).spare_slots, 1);
    EXPECT_EQ(order_stashes({0, 0, 1, 1}, 2).spare_slots, 1);
    EXPECT_EQ(order_stashes({0, 1, 2, 3}, 4).spare_slots, 1);
    // Alternating: part 1's first block is not done when part 0's last one is.
    const StashOrder order = order_stashes({0, 1, 0, 1, 0, 1}, 2);
    EXPECT_EQ(order.spare_slots, 2);
    EXPECT_EQ(order.slot, (std::vector<std::int64_t>{0, 3, 1, 4, 2, 5}));
    EXPECT_EQ(order.first, (std::vector<std::int64_t>{0, 3}));
    EXPECT_EQ(order.spare, (std::vector<std::int64_t>{0, 1}));
    EXPECT_EQ(order.blocks, (std::vector<std::int64_t>{3, 3}));
}

}  // namespace

}  // namespace protalbert::testing

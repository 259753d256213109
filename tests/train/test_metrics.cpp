// metrics.jsonl: its keys, and what is cut off when a run goes on from an earlier step.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "train/metrics.hpp"

namespace protalbert {
namespace {

class Metrics : public testing::Test {
  protected:
    Metrics() : file_(std::filesystem::temp_directory_path() / ("metrics_" + std::to_string(::getpid()) + ".jsonl")) {
        std::filesystem::remove(file_);
    }
    ~Metrics() override { std::filesystem::remove(file_); }

    std::vector<nlohmann::json> lines() const {
        std::ifstream input(file_);
        std::vector<nlohmann::json> objects;
        for (std::string line; std::getline(input, line);) objects.push_back(nlohmann::json::parse(line));
        return objects;
    }

    const std::filesystem::path file_;
};

StepMetrics example(std::uint64_t step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.samples = 13 * (step + 1);
    metrics.tokens = 400;
    metrics.losses = {
        .masked = 2.5, .masked_accuracy = 0.25, .sentence = 0.5, .sentence_accuracy = 0.75, .has_sentence = true};
    metrics.gradient_norm = 3;
    metrics.learning_rate = 0.125;
    metrics.seconds = 0.5;
    metrics.flops = 1e6;
    return metrics;
}

TEST_F(Metrics, Keys) {
    MetricsFile(file_, 0).write(example(4));
    ASSERT_EQ(lines().size(), 1U);
    const nlohmann::json line = lines().front();
    const std::vector<std::pair<const char*, double>> expected = {{"step", 4},
                                                                  {"samples", 65},
                                                                  {"tokens", 400},
                                                                  {"loss", 3.0},
                                                                  {"mlm_loss", 2.5},
                                                                  {"sop_loss", 0.5},
                                                                  {"mlm_accuracy", .25},
                                                                  {"sop_accuracy", .75},
                                                                  {"gradient_norm", 3},
                                                                  {"learning_rate", .125},
                                                                  {"seconds", 0.5},
                                                                  {"tokens_per_second", 800},
                                                                  {"model_flops_per_second", 2e6}};
    for (const auto& [key, value] : expected) {
        ASSERT_TRUE(line.contains(key)) << key;
        EXPECT_EQ(line[key].get<double>(), value) << key;
    }
}

TEST_F(Metrics, WhatIsNotANumberIsNull) {
    StepMetrics metrics = example(0);
    metrics.losses.has_sentence = false;
    metrics.losses.masked = std::nan("");
    metrics.gradient_norm = HUGE_VAL;
    MetricsFile(file_, 0).write(metrics);
    for (const char* key : {"loss", "mlm_loss", "sop_loss", "sop_accuracy", "gradient_norm"})
        EXPECT_TRUE(lines().front()[key].is_null()) << key;
}

TEST_F(Metrics, LinesToComeAgainAreCutOff) {
    {
        MetricsFile metrics(file_, 0);
        for (std::uint64_t step = 0; step < 6; ++step) metrics.write(example(step));
        metrics.write_validation(5, example(5).losses);
    }
    std::ofstream(file_, std::ios::app) << R"({"step":2,"half)";  // what a crash leaves
    MetricsFile metrics(file_, 4);
    EXPECT_EQ(lines().size(), 4U);
    metrics.write(example(4));
    metrics.write_validation(4, example(4).losses);
    const auto kept = lines();
    ASSERT_EQ(kept.size(), 6U);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(kept[i]["step"], i);
    EXPECT_EQ(kept[5]["validation_mlm_loss"], 2.5);
    EXPECT_EQ(kept[5]["step"], 4U);
}

}  // namespace
}  // namespace protalbert

#pragma once
// What the benchmarks of training and embedding have in common: proteins, sizes of a model, memory and medians.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "data/vocabulary.hpp"
#include "model/model_config.hpp"

namespace protalbert {

/// Proteins of a FASTA (or text) file with at most `longest` residues, the first `count` of them in the file's order;
/// or, without a file, random ones whose lengths have UniRef100's mean (log-normal, median 280, mean about 350).
/// With `cut`, longer ones are cut instead of left out. Every rank has all.
std::vector<std::vector<std::uint8_t>> bench_proteins(const std::string& file, std::uint64_t count,
                                                      std::uint64_t longest, bool cut, const Vocabulary& vocabulary);

/// --preset and every size that overrides it.
struct ModelSizes {
    std::string preset = "prot_albert";
    std::int64_t layers = 0, hidden = 0, intermediate = 0, heads = 0, embedding = 0, positions = 0;  ///< 0: preset's
    std::string activation;  ///< gelu or gelu_tanh
};
void add_model_options(CLI::App& command, ModelSizes& sizes);
/// A hidden size alone gives heads of 64 features and an intermediate size of four times it.
ModelConfig bench_model(const ModelSizes& sizes, const Vocabulary& vocabulary);
/// "12 iterations, hidden 4096, ..."
std::string describe(const ModelConfig& config);

double median(std::vector<double> values);
/// The largest memory that this process has had, bytes.
double peak_memory();

}  // namespace protalbert

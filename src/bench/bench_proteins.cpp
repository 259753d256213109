#include "bench/bench_proteins.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/sequence_reader.hpp"

namespace protalbert {
namespace {

struct EnoughProteins {};

// Of a log-normal distribution: median 280 and mean 350, near UniRef100's.
constexpr double median_length = 280, spread_of_lengths = 0.67;
constexpr std::uint64_t random_seed = 1;

std::vector<std::vector<std::uint8_t>> random_proteins(std::uint64_t count, std::uint64_t longest, bool cut,
                                                       const Vocabulary& vocabulary) {
    std::vector<std::uint8_t> residues;
    for (const char letter : std::string("ACDEFGHIKLMNPQRSTVWY"))
        residues.push_back(static_cast<std::uint8_t>(vocabulary.residue_ids[static_cast<unsigned char>(letter)]));
    std::vector<std::vector<std::uint8_t>> proteins;
    for (std::uint64_t i = 0; proteins.size() < count; ++i) {
        RandomStream random(random_seed, Purpose::bench, 0, i);
        auto length =
            static_cast<std::uint64_t>(std::max(1.0, median_length * std::exp(spread_of_lengths * random.normal())));
        if (length > longest && !cut) continue;
        length = std::min(length, longest);
        std::vector<std::uint8_t>& protein = proteins.emplace_back();
        for (std::uint64_t r = 0; r < length; ++r) protein.push_back(residues[random.below(residues.size())]);
    }
    return proteins;
}

}  // namespace

std::vector<std::vector<std::uint8_t>> bench_proteins(const std::string& file, std::uint64_t count,
                                                      std::uint64_t longest, bool cut, const Vocabulary& vocabulary) {
    if (file.empty()) return random_proteins(count, longest, cut, vocabulary);
    std::vector<std::vector<std::uint8_t>> proteins;
    const std::vector<InputPart> parts = plan_input({file}, InputFormat::automatic, 1).front();
    InputCounts counts;
    try {
        for (const InputPart& part : parts)
            read_sequences(part, vocabulary, InvalidLetters::unknown, counts, [&](const SequenceRecord& record) {
                const std::size_t length = std::min<std::size_t>(record.tokens.size(), longest);
                if (length == 0 || (length < record.tokens.size() && !cut)) return;
                proteins.emplace_back(record.tokens.begin(),
                                      record.tokens.begin() + static_cast<std::ptrdiff_t>(length));
                if (proteins.size() == count) throw EnoughProteins{};
            });
    } catch (const EnoughProteins&) {
    }
    if (proteins.empty())
        throw InputError(fmt::format("{} has no protein of at most {} residues; raise --longest", file, longest));
    return proteins;
}

void add_model_options(CLI::App& command, ModelSizes& sizes) {
    command.add_option("--preset", sizes.preset, "sizes to start from")->capture_default_str();
    command.add_option("--layers", sizes.layers, "iterations")->check(CLI::PositiveNumber);
    command
        .add_option("--hidden", sizes.hidden,
                    "hidden size; alone it gives heads of 64 and 4 times as many inner features")
        ->check(CLI::PositiveNumber);
    command.add_option("--intermediate", sizes.intermediate, "feed-forward size")->check(CLI::PositiveNumber);
    command.add_option("--heads", sizes.heads, "attention heads")->check(CLI::PositiveNumber);
    command.add_option("--embedding", sizes.embedding, "embedding size")->check(CLI::PositiveNumber);
    command.add_option("--positions", sizes.positions, "rows of the position table")->check(CLI::PositiveNumber);
    command.add_option("--activation", sizes.activation, "gelu (erf) or gelu_tanh")
        ->check(CLI::IsMember({"gelu", "gelu_tanh"}));
}

ModelConfig bench_model(const ModelSizes& sizes, const Vocabulary& vocabulary) {
    constexpr std::int64_t head_size = 64;  // of every preset
    ModelConfig config = preset(sizes.preset);
    config.vocabulary = vocabulary.size();
    if (sizes.layers > 0) config.layers = sizes.layers;
    if (sizes.hidden > 0) {
        config.hidden = sizes.hidden;
        config.heads = std::max<std::int64_t>(1, sizes.hidden / head_size);
        config.intermediate = 4 * sizes.hidden;
    }
    if (sizes.intermediate > 0) config.intermediate = sizes.intermediate;
    if (sizes.heads > 0) config.heads = sizes.heads;
    if (sizes.embedding > 0) config.embedding = sizes.embedding;
    if (sizes.positions > 0) config.positions = sizes.positions;
    if (!sizes.activation.empty()) config.activation = sizes.activation == "gelu" ? Gelu::erf : Gelu::tanh;
    check_model_config(config, [](const std::string& key) { return "--" + key; });
    return config;
}

std::string describe(const ModelConfig& config) {
    return fmt::format("{} iterations, hidden {}, intermediate {}, {} heads, embedding {}", config.layers,
                       config.hidden, config.intermediate, config.heads, config.embedding);
}

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

double peak_memory() {
    struct rusage usage {};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) * 1024;  // Linux counts KiB
}

}  // namespace protalbert

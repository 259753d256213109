#include "probe/evaluation.hpp"

#include <algorithm>
#include <numeric>

#include "comm/program.hpp"
#include "probe/head_batch.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// Rows computed together: a few hundred are enough for a product's full rate, thousands cost memory alone.
constexpr std::int64_t batch_rows = 4096;

/// Predicts some proteins; adds to sums [K] on the device and appends the classes of each to classes [K].
void predict_share(const Head& head, const Features& features, const LabelledProteins& proteins,
                   const std::vector<std::uint32_t>& numbers, LossSums* sums,
                   std::vector<std::vector<std::uint8_t>>& classes) {
    std::vector<std::int64_t> lengths;
    for (const std::uint32_t number : numbers) lengths.push_back(row_count(proteins, {number}));
    HeadBatchMemory memory;
    HeadWorkspace workspace;
    std::int64_t capacity = 0;
    // Consecutive proteins up to the budget, so that the classes come in order.
    for (std::size_t first = 0, last = 0; first < numbers.size(); first = last) {
        std::int64_t rows = 0;
        while (last < numbers.size() && (last == first || rows + lengths[last] <= batch_rows)) rows += lengths[last++];
        if (rows == 0) continue;
        if (rows > capacity) {
            capacity = std::max(rows, batch_rows);
            workspace = make_head_workspace(head, capacity, false);
        }
        const std::vector<std::uint32_t> some(numbers.begin() + static_cast<std::ptrdiff_t>(first),
                                              numbers.begin() + static_cast<std::ptrdiff_t>(last));
        const HeadBatch batch = load_batch(memory, some, proteins, features, *head.backend, default_stream);
        head_forward(head, batch, workspace, {}, default_stream);
        std::vector<std::vector<float>> logits;
        for (std::size_t k = 0; k < classes.size(); ++k) {
            std::vector<float>& values =
                logits.emplace_back(static_cast<std::size_t>(rows * head.layout.outputs[k].out));
            head.backend->download(values.data(), workspace.logits[k].data, values.size() * sizeof(float),
                                   default_stream);
        }
        head.backend->synchronize(default_stream);
        for (std::size_t k = 0; k < classes.size(); ++k) {
            const std::vector<std::uint8_t> found = most_probable(logits[k], head.layout.outputs[k].out);
            classes[k].insert(classes[k].end(), found.begin(), found.end());
        }
        head_losses(head, batch, workspace, sums, std::vector<double>(classes.size(), 0.0), default_stream);
    }
}

}  // namespace

double Evaluation::loss() const { return std::accumulate(losses.begin(), losses.end(), 0.0); }

std::vector<std::uint8_t> most_probable(const std::vector<float>& logits, std::int64_t C) {
    std::vector<std::uint8_t> classes;
    for (auto row = logits.begin(); row != logits.end(); row += C)
        classes.push_back(static_cast<std::uint8_t>(std::max_element(row, row + C) - row));
    return classes;
}

Evaluation evaluate_head(const Head& head, const Features& features, const LabelledProteins& proteins,
                         const std::vector<std::uint32_t>& numbers, const Communicator& communicator) {
    const std::size_t K = proteins.kinds.size();
    const auto places = places_of_ranks(proteins, numbers, communicator.ranks());
    std::vector<std::uint32_t> mine;
    for (const std::uint32_t place : places[static_cast<std::size_t>(communicator.rank())])
        mine.push_back(numbers[place]);

    DeviceMemory sums(*head.backend, K * sizeof(LossSums));
    head.backend->set_zero(sums.data(), sums.bytes(), default_stream);
    std::vector<std::vector<std::uint8_t>> own(K);
    all_or_none(communicator, [&] { predict_share(head, features, proteins, mine, sums.as<LossSums>(), own); });
    std::vector<LossSums> totals(K);
    head.backend->download(totals.data(), sums.data(), sums.bytes(), default_stream);
    head.backend->synchronize(default_stream);

    Evaluation evaluation;
    std::vector<double> losses;
    std::vector<std::uint64_t> correct;
    for (const LossSums& total : totals) {
        losses.push_back(total.loss);
        correct.push_back(static_cast<std::uint64_t>(total.correct));
    }
    communicator.sum(losses.data(), static_cast<int>(K));
    communicator.sum(correct.data(), static_cast<int>(K));
    std::vector<std::uint64_t> firsts{0};  // row of each protein among the numbered ones
    for (const std::uint32_t number : numbers)
        firsts.push_back(firsts.back() + static_cast<std::uint64_t>(row_count(proteins, {number})));
    for (std::size_t k = 0; k < K; ++k) {
        const std::uint64_t labelled = labelled_rows(proteins, k, numbers);
        const double count = labelled > 0 ? static_cast<double>(labelled) : 1;
        evaluation.losses.push_back(losses[k] / count);
        evaluation.accuracies.push_back(static_cast<double>(correct[k]) / count);

        // Every rank knows which rows each rank's bytes are of.
        std::vector<std::byte> bytes(own[k].size());
        std::transform(own[k].begin(), own[k].end(), bytes.begin(), [](std::uint8_t c) { return std::byte{c}; });
        const std::vector<std::byte> all = communicator.concatenate(bytes);
        std::vector<std::uint8_t>& classes = evaluation.classes.emplace_back(firsts.back());
        std::size_t at = 0;
        for (const std::vector<std::uint32_t>& of_rank : places)
            for (const std::uint32_t place : of_rank)
                for (std::uint64_t row = firsts[place]; row < firsts[place + 1]; ++row)
                    classes[row] = std::to_integer<std::uint8_t>(all[at++]);
    }
    return evaluation;
}

}  // namespace protalbert

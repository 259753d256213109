#include "embed/window_vectors.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "embed/windows.hpp"
#include "io/stored_tensor.hpp"

namespace protalbert {
namespace {

/// A window on its way through the model.
struct Passage {
    std::size_t item;
    std::size_t window;
};

/// The sums over the windows of a batch's proteins, in the order of the windows: that of the additions, hence the bits,
/// does not depend on which windows go together.
class Blend {
  public:
    Blend(std::span<const WorkItem> items, std::uint64_t longest, std::size_t hidden, bool cls, BatchVectors& vectors)
        : items_(items), hidden_(hidden), vectors_(vectors) {
        std::uint64_t rows = 0;
        for (const WorkItem& item : items) {
            windows_.push_back(cut_windows(item.length, longest));
            first_rows_.push_back(rows);
            rows += item.length;
            for (std::size_t w = 0; w < windows_.back().size(); ++w) passages_.push_back({first_rows_.size() - 1, w});
        }
        vectors.residues.assign(rows * hidden * sizeof(float), std::byte{0});
        if (cls) cls_sums_.assign(items.size() * hidden, 0.0);
    }

    const std::vector<Passage>& passages() const { return passages_; }
    const Window& window(const Passage& passage) const { return windows_[passage.item][passage.window]; }
    /// [residues, H]
    float* rows(std::size_t item) const {
        return reinterpret_cast<float*>(vectors_.residues.data()) + first_rows_[item] * hidden_;
    }

    /// residues [length, H] and cls [H] (null where it is not wanted) of a window.
    void add(const Passage& passage, const float* residues, const float* cls) {
        const std::vector<Window>& windows = windows_[passage.item];
        const std::vector<double> weights = window_weights(windows, passage.window);
        float* sum = rows(passage.item) + windows[passage.window].first * hidden_;
        for (const double weight : weights)
            for (std::size_t h = 0; h < hidden_; ++h, ++sum, ++residues)
                *sum = static_cast<float>(*sum + weight * static_cast<double>(*residues));
        for (std::size_t h = 0; h < hidden_ && cls != nullptr; ++h)
            cls_sums_[passage.item * hidden_ + h] += static_cast<double>(cls[h]);
    }

    /// Of a protein, [H].
    void take_mean(std::size_t item, float* mean) const {
        std::vector<double> sums(hidden_, 0.0);
        const float* row = rows(item);
        for (std::uint64_t r = 0; r < items_[item].length; ++r)
            for (double& sum : sums) sum += static_cast<double>(*row++);
        for (std::size_t h = 0; h < hidden_; ++h)
            mean[h] = static_cast<float>(sums[h] / static_cast<double>(items_[item].length));
    }
    void take_cls(std::size_t item, float* cls) const {
        for (std::size_t h = 0; h < hidden_; ++h)
            cls[h] = static_cast<float>(cls_sums_[item * hidden_ + h] / static_cast<double>(windows_[item].size()));
    }

  private:
    std::span<const WorkItem> items_;
    std::size_t hidden_;
    BatchVectors& vectors_;
    std::vector<std::vector<Window>> windows_;  ///< of each item
    std::vector<std::uint64_t> first_rows_;     ///< of each item
    std::vector<Passage> passages_;
    std::vector<double> cls_sums_;  ///< [items, H]
};

/// float32 to float16 in place: what is written lies before what is still to be read.
void round_to_halves(std::vector<std::byte>& values) {
    const std::size_t n = values.size() / sizeof(float);
    for (std::size_t i = 0; i < n; ++i) {
        float value;
        std::memcpy(&value, values.data() + i * sizeof value, sizeof value);
        const std::uint16_t half = to_float16(value);
        std::memcpy(values.data() + i * sizeof half, &half, sizeof half);
    }
    values.resize(n * sizeof(std::uint16_t));
}

}  // namespace

VectorChoice embedder_choice(const EmbedPlan& plan, const VectorChoice& choice) {
    VectorChoice most = choice;
    if (plan.windowed_batches > 0) most.residues = ResidueVectors::float32;
    return most;
}

void embed_windows(Embedder& embedder, const EmbedPlan& plan, const Work& work, const VectorChoice& choice,
                   const Vocabulary& vocabulary, BatchVectors& vectors) {
    const auto hidden = static_cast<std::size_t>(embedder.model->config.hidden);
    VectorChoice of_windows = choice;
    of_windows.residues = ResidueVectors::float32;
    of_windows.mean = false;
    Blend blend(vectors.items, plan.longest, hidden, choice.cls, vectors);
    const std::vector<Passage>& passages = blend.passages();
    const auto together = static_cast<std::size_t>(plan.windows_together);

    PackedBatch batch;
    BatchVectors passed;
    std::size_t started = 0, finished = 0;
    const auto finish_some = [&] {
        finish_batch(embedder, passed);
        const auto* residues = reinterpret_cast<const float*>(passed.residues.data());
        const std::size_t end = std::min(finished + together, passages.size());
        for (std::size_t place = 0; finished < end; ++finished, ++place) {
            blend.add(passages[finished], residues, choice.cls ? &passed.cls[place * hidden] : nullptr);
            residues += blend.window(passages[finished]).length * hidden;
        }
    };
    while (started < passages.size()) {
        batch.clear();
        for (const std::size_t end = std::min(started + together, passages.size()); started < end; ++started) {
            const WorkItem& item = vectors.items[passages[started].item];
            const Window& window = blend.window(passages[started]);
            append_protein(batch, work.residues(item).subspan(window.first, window.length), item.protein, vocabulary);
        }
        start_batch(embedder, batch, of_windows);
        if (embedder.started - embedder.finished == embedder.outputs.size()) finish_some();
    }
    while (finished < passages.size()) finish_some();

    if (choice.mean) vectors.mean.resize(std::max(vectors.mean.size(), vectors.items.size() * hidden));
    if (choice.cls) vectors.cls.resize(std::max(vectors.cls.size(), vectors.items.size() * hidden));
    for (std::size_t s = 0; s < vectors.items.size(); ++s) {
        if (choice.mean) blend.take_mean(s, &vectors.mean[s * hidden]);
        if (choice.cls) blend.take_cls(s, &vectors.cls[s * hidden]);
    }
    if (choice.residues == ResidueVectors::float16) round_to_halves(vectors.residues);
}

}  // namespace protalbert

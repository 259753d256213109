#include "probe/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "base/finite.hpp"
#include "base/log.hpp"
#include "base/progress.hpp"
#include "base/random.hpp"
#include "comm/gradient_reduction.hpp"
#include "comm/program.hpp"
#include "probe/evaluation.hpp"
#include "probe/head_batch.hpp"

namespace protalbert {
namespace {

const Stream default_stream{};

/// The training proteins of an epoch in random order.
std::vector<std::uint32_t> epoch_order(const std::vector<std::uint32_t>& numbers, std::uint64_t seed,
                                       std::int64_t epoch) {
    std::vector<std::uint32_t> order;
    for (std::size_t i = 0; i < numbers.size(); ++i)
        order.push_back(numbers[permute(i, numbers.size(), seed, Purpose::head, static_cast<std::uint32_t>(epoch), 1)]);
    return order;
}

/// 1 / labelled rows of each kind, 0 without any.
std::vector<double> loss_scales(const LabelledProteins& proteins, const std::vector<std::uint32_t>& numbers) {
    std::vector<double> scales;
    for (std::size_t k = 0; k < proteins.kinds.size(); ++k) {
        const std::uint64_t count = labelled_rows(proteins, k, numbers);
        scales.push_back(count > 0 ? 1 / static_cast<double>(count) : 0);
    }
    return scales;
}

/// The proteins of a batch that this rank computes.
std::vector<std::uint32_t> own_share(const LabelledProteins& proteins, const std::vector<std::uint32_t>& batch,
                                     const Communicator& communicator) {
    std::vector<std::uint32_t> share;
    const auto places = places_of_ranks(proteins, batch, communicator.ranks());
    for (const std::uint32_t place : places[static_cast<std::size_t>(communicator.rank())])
        share.push_back(batch[place]);
    return share;
}

/// Everything that training changes, with its buffers.
class HeadTrainer {
  public:
    HeadTrainer(Head& head, const LabelledProteins& proteins, const Features& features, const ProbeSettings& settings,
                const Communicator& communicator)
        : head_(head),
          proteins_(proteins),
          features_(features),
          settings_(settings),
          communicator_(communicator),
          reduction_(communicator),
          variables_(head.layout.variables()),
          moments_(*head.backend, 2 * bytes()),
          gradients_(*head.backend, bytes()),
          sums_(*head.backend, head.config.kinds.size() * sizeof(LossSums)),
          host_(static_cast<std::size_t>(head.layout.size)) {
        head.backend->set_zero(moments_.data(), moments_.bytes(), default_stream);
    }

    /// One step of Adam on a batch; the sum over kinds of the batch's mean losses.
    double step(const std::vector<std::uint32_t>& batch) {
        const std::vector<double> scales = loss_scales(proteins_, batch);
        ++steps_;
        double loss = 0;
        all_or_none(communicator_, [&] { loss = compute(own_share(proteins_, batch, communicator_), scales); });
        reduction_.start(host_.data(), head_.layout.size);
        reduction_.finish();
        communicator_.sum(&loss, 1);
        Backend& backend = *head_.backend;
        backend.upload(gradients_.data(), host_.data(), bytes(), default_stream);
        backend.adamw(head_.parameters.as<float>(), nullptr, moments_.as<float>(),
                      moments_.as<float>() + head_.layout.size, gradients_.as<float>(), variables_,
                      adam_step(settings_.learning_rate, steps_), default_stream);
        backend.synchronize(default_stream);
        return loss;
    }

  private:
    std::size_t bytes() const { return static_cast<std::size_t>(head_.layout.size) * sizeof(float); }

    /// Gradients of this rank's proteins into host_; its part of the loss.
    double compute(const std::vector<std::uint32_t>& share, const std::vector<double>& scales) {
        std::fill(host_.begin(), host_.end(), 0.0F);
        const std::int64_t rows = row_count(proteins_, share);
        if (rows == 0) return 0;
        Backend& backend = *head_.backend;
        if (rows > capacity_) {
            capacity_ = rows;
            workspace_ = make_head_workspace(head_, capacity_, true);
        }
        const HeadBatch batch = load_batch(memory_, share, proteins_, features_, backend, default_stream);
        backend.set_zero(sums_.data(), sums_.bytes(), default_stream);
        backend.set_zero(gradients_.data(), gradients_.bytes(), default_stream);
        const Dropout dropout{settings_.seed, static_cast<std::uint32_t>(steps_), head_.config.dropout};
        head_forward(head_, batch, workspace_, dropout, default_stream);
        head_losses(head_, batch, workspace_, sums_.as<LossSums>(), scales, default_stream);
        head_backward(head_, batch, workspace_, gradients_.as<float>(), default_stream);
        std::vector<LossSums> sums(scales.size());
        backend.download(sums.data(), sums_.data(), sums_.bytes(), default_stream);
        backend.download(host_.data(), gradients_.data(), bytes(), default_stream);
        backend.synchronize(default_stream);
        double loss = 0;
        for (std::size_t k = 0; k < sums.size(); ++k) loss += sums[k].loss * scales[k];
        return loss;
    }

    Head& head_;
    const LabelledProteins& proteins_;
    const Features& features_;
    const ProbeSettings& settings_;
    const Communicator& communicator_;
    GradientReduction reduction_;
    std::vector<Variable> variables_;
    DeviceMemory moments_;     // m and v, [layout.size] each
    DeviceMemory gradients_;   // [layout.size]
    DeviceMemory sums_;        // LossSums [K]
    std::vector<float> host_;  // [layout.size] gradients on their way between ranks
    HeadBatchMemory memory_;
    HeadWorkspace workspace_;
    std::int64_t capacity_ = 0;  // rows of the workspace
    std::int64_t steps_ = 0;
};

std::string accuracy_text(const std::vector<LabelKind>& kinds, const std::vector<double>& accuracies) {
    std::string text;
    for (std::size_t k = 0; k < kinds.size(); ++k)
        text += fmt::format("  {} {} {:.2f} %", kinds[k].name, kinds[k].score, 100 * accuracies[k]);
    return text;
}

}  // namespace

OptimizerStep adam_step(double learning_rate, std::int64_t step) {
    OptimizerStep adam;
    const auto t = static_cast<double>(step);
    const double correction = std::sqrt(1 - std::pow(adam.beta2, t));
    adam.learning_rate = learning_rate * correction / (1 - std::pow(adam.beta1, t));
    adam.epsilon = 1e-8 * correction;  // PyTorch's default
    adam.weight_decay = 0;
    adam.clip = 0;
    return adam;
}

TrainedHead train_head(const std::string& name, const HeadConfig& config, const Features& features,
                       const LabelledProteins& proteins, const ProbeSettings& settings, Backend& backend,
                       const Communicator& communicator) {
    const std::vector<std::uint32_t> train = proteins.members(Split::train);
    const std::vector<std::uint32_t> validation = proteins.members(Split::validation);
    const std::vector<double> there = loss_scales(proteins, train);
    if (std::all_of(there.begin(), there.end(), [](double scale) { return scale == 0; }))
        throw InputError(
            fmt::format("{} has no labels to train on: no protein of SET=train, or all are masked", proteins.file));

    const HeadLayout layout = make_head_layout(config);
    Head head = make_head(config, initial_head(layout, settings.seed), backend);
    HeadTrainer trainer(head, proteins, features, settings, communicator);
    const auto batch_size = static_cast<std::size_t>(settings.batch);
    const std::size_t batches = (train.size() + batch_size - 1) / batch_size;
    TrainedHead best;
    best.validation_loss = std::numeric_limits<double>::infinity();
    for (std::int64_t epoch = 1; epoch <= settings.epochs; ++epoch) {
        const std::vector<std::uint32_t> order = epoch_order(train, settings.seed, epoch);
        Progress progress(fmt::format("{}, epoch {}", name, epoch), train.size(), "proteins", communicator.root());
        double loss = 0;
        for (std::size_t first = 0; first < order.size(); first += batch_size) {
            const std::size_t last = std::min(first + batch_size, order.size());
            loss += trainer.step({order.begin() + static_cast<std::ptrdiff_t>(first),
                                  order.begin() + static_cast<std::ptrdiff_t>(last)});
            progress.update(last);
        }
        loss /= static_cast<double>(batches);
        if (!std::isfinite(loss))
            throw Error(
                fmt::format("the loss of {} is not finite in epoch {}; are there infinities in the features, or "
                            "is --learning-rate {} too high?",
                            name, epoch, settings.learning_rate));
        best.epochs = epoch;
        if (validation.empty()) {
            log_information(fmt::format("{}, epoch {}: loss {:.4f}", name, epoch, loss));
            best.best_epoch = epoch;
            best.validation_loss = 0;
            if (epoch == settings.epochs) best.values = head_values(head);
            continue;
        }
        const Evaluation evaluation = evaluate_head(head, features, proteins, validation, communicator);
        log_information(fmt::format("{}, epoch {}: loss {:.4f}  validation {:.4f}{}", name, epoch, loss,
                                    evaluation.loss(), accuracy_text(proteins.kinds, evaluation.accuracies)));
        if (evaluation.loss() < best.validation_loss) {
            best.validation_loss = evaluation.loss();
            best.best_epoch = epoch;
            best.values = head_values(head);
        } else if (epoch - best.best_epoch >= settings.patience) {
            break;
        }
    }
    if (best.values.empty())
        throw Error(
            fmt::format("{}: no epoch had a finite validation loss; are there infinities in the features?", name));
    if (!all_finite(best.values.data(), best.values.size()))
        throw Error(fmt::format("the parameters of {} are not finite after epoch {}; is --learning-rate {} too high?",
                                name, best.best_epoch, settings.learning_rate));
    return best;
}

}  // namespace protalbert

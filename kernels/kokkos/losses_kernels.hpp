// Softmax cross-entropy of one row (included by losses.cpp for each instruction set).

/// logits [C], 0 <= label < C. dlogits [C] = (softmax - one-hot) scale unless null. NaN in any logit makes the loss
/// NaN.
static RowLoss cross_entropy_row(float* dlogits, const float* logits, std::int64_t label, double scale,
                                 std::int64_t C) {
    // Columns behind the last: so low that their share of the softmax is 0.
    const Floats nothing = all(-std::numeric_limits<float>::max());
    const auto load_logits = [&](std::int64_t c) {
        const std::int64_t left = C - c;
        if (left >= lanes) return load(logits + c);
        return lane_numbers() < all_ints(static_cast<std::int32_t>(left)) ? load_part(logits + c, left) : nothing;
    };
    Floats tops = nothing;
    for (std::int64_t c = 0; c < C; c += lanes) tops = larger(load_logits(c), tops);
    const float top = largest_of(tops);
    Floats sums{};
    for (std::int64_t c = 0; c < C; c += lanes) sums += exp(load_logits(c) - top);
    const double sum = sum_of(sums);
    const double distance = static_cast<double>(logits[label]) - top;

    RowLoss row{std::log(sum) - distance, logits[label] == top};
    for (std::int64_t c = 0; c < label && row.correct; ++c) row.correct = logits[c] < top;
    if (dlogits == nullptr) return row;
    const auto factor = static_cast<float>(scale / sum);
    for (std::int64_t c = 0; c < C; c += lanes) {
        const Floats gradient = exp(load_logits(c) - top) * factor;
        if (C - c >= lanes) {
            store(dlogits + c, gradient);
        } else {
            store_part(dlogits + c, gradient, C - c);
        }
    }
    // In double precision: close to a certain label the difference would cancel.
    dlogits[label] = static_cast<float>((std::exp(distance) / sum - 1) * scale);
    return row;
}

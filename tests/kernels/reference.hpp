#pragma once
// Every operation of kernels/backend.hpp in double precision, as plainly as it can be written. Row-major vectors; the
// names and shapes are those of backend.hpp.

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/backend.hpp"

namespace protalbert::reference {

using Vector = std::vector<double>;
using Index = std::int64_t;

inline std::size_t at(Index row, Index columns, Index column) {
    return static_cast<std::size_t>(row * columns + column);
}
inline Vector zeros(Index n) { return Vector(static_cast<std::size_t>(n), 0.0); }

// Activations

inline double gelu(Gelu form, double x) {
    if (form == Gelu::erf) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

inline double gelu_derivative(Gelu form, double x) {
    if (form == Gelu::erf) {
        return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
    }
    const double c = std::sqrt(2 / std::numbers::pi);
    const double t = std::tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

// Dense layers

/// [T, N] = x [T, K] weight [N, K]^T + bias [N] (may be empty).
inline Vector linear(const Vector& x, const Vector& weight, const Vector& bias, Index T, Index N, Index K) {
    Vector out = zeros(T * N);
    for (Index t = 0; t < T; ++t) {
        for (Index n = 0; n < N; ++n) {
            double sum = bias.empty() ? 0 : bias[at(0, 0, n)];
            for (Index k = 0; k < K; ++k) sum += x[at(t, K, k)] * weight[at(n, K, k)];
            out[at(t, N, n)] = sum;
        }
    }
    return out;
}

/// dx [T, K] = dy [T, N] weight [N, K].
inline Vector linear_backward_data(const Vector& dy, const Vector& weight, Index T, Index N, Index K) {
    Vector dx = zeros(T * K);
    for (Index t = 0; t < T; ++t) {
        for (Index n = 0; n < N; ++n) {
            for (Index k = 0; k < K; ++k) dx[at(t, K, k)] += dy[at(t, N, n)] * weight[at(n, K, k)];
        }
    }
    return dx;
}

/// dweight [N, K] = dy^T x.
inline Vector linear_backward_weight(const Vector& dy, const Vector& x, Index T, Index N, Index K) {
    Vector dweight = zeros(N * K);
    for (Index t = 0; t < T; ++t) {
        for (Index n = 0; n < N; ++n) {
            for (Index k = 0; k < K; ++k) dweight[at(n, K, k)] += dy[at(t, N, n)] * x[at(t, K, k)];
        }
    }
    return dweight;
}

inline Vector column_sums(const Vector& dy, Index T, Index N) {
    Vector sums = zeros(N);
    for (Index t = 0; t < T; ++t) {
        for (Index n = 0; n < N; ++n) sums[at(0, 0, n)] += dy[at(t, N, n)];
    }
    return sums;
}

// Attention

struct Attention {
    Vector out;        ///< [T, H]
    Vector logsumexp;  ///< [A, T]
};

/// Softmax of one row of scaled scores; returns their logsumexp.
inline double softmax(Vector& scores) {
    double largest = -std::numeric_limits<double>::infinity();
    for (double score : scores) largest = score > largest || std::isnan(score) ? score : largest;
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (double& score : scores) score /= sum;
    return largest + std::log(sum);
}

/// Probabilities of query i over the keys [begin, end) of head a; `logsumexp` may be null.
inline Vector probabilities(const Vector& qkv, Index i, Index begin, Index end, Index a, Index H, Index D,
                            double* logsumexp) {
    Vector p;
    for (Index j = begin; j < end; ++j) {
        double score = 0;
        for (Index d = 0; d < D; ++d) score += qkv[at(i, 3 * H, a * D + d)] * qkv[at(j, 3 * H, H + a * D + d)];
        p.push_back(score / std::sqrt(static_cast<double>(D)));
    }
    const double value = softmax(p);
    if (logsumexp != nullptr) *logsumexp = value;
    return p;
}

inline Attention attention_forward(const Vector& qkv, const std::vector<Index>& offsets, Index A, Index D) {
    const Index H = A * D;
    const Index T = offsets.back();
    Attention result{zeros(T * H), zeros(A * T)};
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        for (Index a = 0; a < A; ++a) {
            for (Index i = offsets[s]; i < offsets[s + 1]; ++i) {
                const Vector p =
                    probabilities(qkv, i, offsets[s], offsets[s + 1], a, H, D, &result.logsumexp[at(a, T, i)]);
                for (Index j = offsets[s]; j < offsets[s + 1]; ++j) {
                    for (Index d = 0; d < D; ++d) {
                        result.out[at(i, H, a * D + d)] +=
                            p[at(0, 0, j - offsets[s])] * qkv[at(j, 3 * H, 2 * H + a * D + d)];
                    }
                }
            }
        }
    }
    return result;
}

/// dqkv [T, 3H] from dout and out [T, H]: as backends do, it takes the row sums of p dp from out, which says more about
/// a rounded out than sums of its own would.
inline Vector attention_backward(const Vector& dout, const Vector& out, const Vector& qkv,
                                 const std::vector<Index>& offsets, Index A, Index D) {
    const Index H = A * D;
    const double scale = 1 / std::sqrt(static_cast<double>(D));
    Vector dqkv = zeros(offsets.back() * 3 * H);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        for (Index a = 0; a < A; ++a) {
            for (Index i = offsets[s]; i < offsets[s + 1]; ++i) {
                const Vector p = probabilities(qkv, i, offsets[s], offsets[s + 1], a, H, D, nullptr);
                Vector dp;
                double expected = 0;
                for (Index j = offsets[s]; j < offsets[s + 1]; ++j) {
                    double sum = 0;
                    for (Index d = 0; d < D; ++d) {
                        sum += dout[at(i, H, a * D + d)] * qkv[at(j, 3 * H, 2 * H + a * D + d)];
                    }
                    dp.push_back(sum);
                }
                for (Index d = 0; d < D; ++d) expected += dout[at(i, H, a * D + d)] * out[at(i, H, a * D + d)];
                for (Index j = offsets[s]; j < offsets[s + 1]; ++j) {
                    const double probability = p[at(0, 0, j - offsets[s])];
                    const double ds = probability * (dp[at(0, 0, j - offsets[s])] - expected) * scale;
                    for (Index d = 0; d < D; ++d) {
                        dqkv[at(i, 3 * H, a * D + d)] += ds * qkv[at(j, 3 * H, H + a * D + d)];
                        dqkv[at(j, 3 * H, H + a * D + d)] += ds * qkv[at(i, 3 * H, a * D + d)];
                        dqkv[at(j, 3 * H, 2 * H + a * D + d)] += probability * dout[at(i, H, a * D + d)];
                    }
                }
            }
        }
    }
    return dqkv;
}

// Layer norm

struct LayerNorm {
    Vector out, mean, rstd;  ///< [T, N], [T], [T]
};

inline LayerNorm layer_norm(const Vector& s, const Vector& gamma, const Vector& beta, double epsilon, Index T,
                            Index N) {
    LayerNorm result{zeros(T * N), zeros(T), zeros(T)};
    for (Index t = 0; t < T; ++t) {
        double mean = 0;
        for (Index n = 0; n < N; ++n) mean += s[at(t, N, n)] / static_cast<double>(N);
        double variance = 0;
        for (Index n = 0; n < N; ++n) variance += std::pow(s[at(t, N, n)] - mean, 2) / static_cast<double>(N);
        const double rstd = 1 / std::sqrt(variance + epsilon);
        for (Index n = 0; n < N; ++n) {
            result.out[at(t, N, n)] = (s[at(t, N, n)] - mean) * rstd * gamma[at(0, 0, n)] + beta[at(0, 0, n)];
        }
        result.mean[at(0, 0, t)] = mean;
        result.rstd[at(0, 0, t)] = rstd;
    }
    return result;
}

struct LayerNormGradients {
    Vector ds, dgamma, dbeta;  ///< [T, N], [N], [N]
};

inline LayerNormGradients layer_norm_backward(const Vector& dout, const Vector& s, const Vector& gamma, double epsilon,
                                              Index T, Index N) {
    const LayerNorm forward = layer_norm(s, gamma, zeros(N), epsilon, T, N);
    LayerNormGradients result{zeros(T * N), zeros(N), zeros(N)};
    for (Index t = 0; t < T; ++t) {
        const double mean = forward.mean[at(0, 0, t)];
        const double rstd = forward.rstd[at(0, 0, t)];
        double sum = 0;
        double product = 0;
        for (Index n = 0; n < N; ++n) {
            const double normal = (s[at(t, N, n)] - mean) * rstd;
            const double g = dout[at(t, N, n)] * gamma[at(0, 0, n)];
            sum += g / static_cast<double>(N);
            product += g * normal / static_cast<double>(N);
            result.dgamma[at(0, 0, n)] += dout[at(t, N, n)] * normal;
            result.dbeta[at(0, 0, n)] += dout[at(t, N, n)];
        }
        for (Index n = 0; n < N; ++n) {
            const double normal = (s[at(t, N, n)] - mean) * rstd;
            result.ds[at(t, N, n)] = (dout[at(t, N, n)] * gamma[at(0, 0, n)] - sum - normal * product) * rstd;
        }
    }
    return result;
}

// Embeddings

struct Ids {
    std::vector<std::int32_t> tokens, segments, positions;  ///< [T] each
};

/// Sum of the three tables' rows, [T, E].
inline Vector embedding_sum(const Ids& ids, const Vector& word, const Vector& position, const Vector& segment,
                            Index E) {
    Vector s;
    for (std::size_t t = 0; t < ids.tokens.size(); ++t) {
        for (Index e = 0; e < E; ++e) {
            s.push_back(word[at(ids.tokens[t], E, e)] + position[at(ids.positions[t], E, e)] +
                        segment[at(ids.segments[t], E, e)]);
        }
    }
    return s;
}

/// Adds row t of `rows` to row ids[t] of `table`.
inline void add_rows(Vector& table, const std::vector<std::int32_t>& ids, const Vector& rows, Index E) {
    for (std::size_t t = 0; t < ids.size(); ++t) {
        for (Index e = 0; e < E; ++e) table[at(ids[t], E, e)] += rows[at(static_cast<Index>(t), E, e)];
    }
}

// Losses

struct Classification {
    double loss = 0;
    std::int64_t correct = 0;
    Vector dlogits;  ///< [M, C]
};

inline Classification classify(const Vector& logits, const std::vector<std::int32_t>& labels, double scale, Index C) {
    Classification result;
    for (std::size_t m = 0; m < labels.size(); ++m) {
        Vector p(logits.begin() + static_cast<Index>(m) * C, logits.begin() + static_cast<Index>(m + 1) * C);
        if (labels[m] < 0) {
            result.dlogits.insert(result.dlogits.end(), p.size(), 0.0);
            continue;
        }
        const double score = p[static_cast<std::size_t>(labels[m])];
        std::size_t best = 0;
        for (std::size_t c = 0; c < p.size(); ++c) best = p[c] > p[best] ? c : best;
        result.correct += best == static_cast<std::size_t>(labels[m]);
        result.loss += softmax(p) - score;
        p[static_cast<std::size_t>(labels[m])] -= 1;
        for (double value : p) result.dlogits.push_back(value * scale);
    }
    return result;
}

// Optimisers, after google-research/albert lamb_optimizer.py and optimization.py, one variable at a time

struct OptimizerState {
    Vector w, m, v;
};

inline void optimize(OptimizerState& state, Vector g, const std::vector<Variable>& variables, const OptimizerStep& step,
                     double squared_norm, bool lamb) {
    const double norm = std::sqrt(squared_norm);
    if (step.clip > 0) {
        for (double& x : g) x *= std::fmin(1.0, step.clip / norm);
    }
    for (const Variable& variable : variables) {
        Vector u = zeros(variable.size);
        double w_norm = 0;
        double u_norm = 0;
        for (Index k = 0; k < variable.size; ++k) {
            const std::size_t i = at(0, 0, variable.offset + k);
            state.m[i] = step.beta1 * state.m[i] + (1 - step.beta1) * g[i];
            state.v[i] = step.beta2 * state.v[i] + (1 - step.beta2) * g[i] * g[i];
            double& update = u[at(0, 0, k)];
            update = state.m[i] / (std::sqrt(state.v[i]) + step.epsilon);
            if (variable.regularised) update += step.weight_decay * state.w[i];
            w_norm += state.w[i] * state.w[i];
            u_norm += update * update;
        }
        double ratio = 1;
        if (lamb && variable.regularised && w_norm > 0 && u_norm > 0) ratio = std::sqrt(w_norm) / std::sqrt(u_norm);
        for (Index k = 0; k < variable.size; ++k) {
            state.w[at(0, 0, variable.offset + k)] -= step.learning_rate * ratio * u[at(0, 0, k)];
        }
    }
}

// Heads of predictions

/// out [T, C] = bias [C] + sum over w of taps [t + w - W / 2, w, c] within the sequences of `offsets`.
inline Vector window_sum(const Vector& taps, const Vector& bias, const std::vector<Index>& offsets, Index W, Index C) {
    Vector out = zeros(offsets.back() * C);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        for (Index t = offsets[s]; t < offsets[s + 1]; ++t) {
            for (Index c = 0; c < C; ++c) {
                double sum = bias[at(0, 0, c)];
                for (Index w = 0; w < W; ++w) {
                    const Index from = t + w - W / 2;
                    if (from >= offsets[s] && from < offsets[s + 1]) sum += taps[at(from * W + w, C, c)];
                }
                out[at(t, C, c)] = sum;
            }
        }
    }
    return out;
}

/// Gradient [T, W, C] of window_sum's taps: every output hands its gradient to the taps that it added.
inline Vector window_sum_backward(const Vector& dout, const std::vector<Index>& offsets, Index W, Index C) {
    Vector dtaps = zeros(offsets.back() * W * C);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
        for (Index t = offsets[s]; t < offsets[s + 1]; ++t) {
            for (Index w = 0; w < W; ++w) {
                const Index from = t + w - W / 2;
                if (from < offsets[s] || from >= offsets[s + 1]) continue;
                for (Index c = 0; c < C; ++c) dtaps[at(from * W + w, C, c)] += dout[at(t, C, c)];
            }
        }
    }
    return dtaps;
}

}  // namespace protalbert::reference

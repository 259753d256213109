#pragma once
// Sums of gradients and losses that are the same, bit for bit, in any order and for any number of ranks.
//
// The choice. Each micro-batch is computed by one rank alone, so that its float32 gradient does not depend on the
// others; only the sum over micro-batches does, because floating-point sums round. Here each gradient is rounded once,
// to a multiple of 2^-44, and added as an int64: integers add exactly, in any order, and MPI's sum of int64 is exact
// as well. Binned or superaccumulator sums (Demmel and Nguyen, Parallel reproducible summation, 2015) would keep
// float32's whole range, for two to five words a number instead of one; a scale from the largest gradient needs all
// micro-batches' gradients at hand, or each of them computed twice. Neither is needed: gradients are means over the
// global batch, LAMB and AdamW divide them by sqrt(v) + 1e-6, and beside this 1e-6 = 2^-20 the quantum is a float32's
// own rounding (2^-24). An int64 then has room for sums up to 2^18. A step with larger gradients (agreed by all ranks
// from the largest of them, which no order changes) is computed again with fewer bits: rare, and decided by the step
// alone, so that neither a restart nor the number of ranks matters.
//
// The cost. A pass over the gradient after each micro-batch (20 bytes an element), 8 bytes an element of memory, twice
// the bytes between ranks, micro-batches that ranks share out whole (less even shares), and one message of 8 bytes.
//
// The ranks' CPUs, or GPUs, must be of one kind: the instruction set decides the order of sums within a micro-batch.
// The number of threads does not.

#include <cstdint>

#include "model/model.hpp"
#include "train/losses.hpp"

namespace protalbert {

struct ExactSums {
    DeviceMemory gradients;  ///< int64 [layout.size]: values x 2^bits
    DeviceMemory largest;    ///< float32 [1]: magnitude among all that was added
    int bits = 0;
};
ExactSums make_exact_sums(const Model& model);

/// The bits of a step's first attempt.
constexpr int usual_bits = 44;

/// Zeros, and what is added from now on has `bits` bits behind the point.
void start_sums(ExactSums& sums, int bits, Backend& backend, Stream stream);
/// Adds the gradients [offset, offset + size) of a micro-batch, which it sets to zero.
void add_gradients(ExactSums& sums, float* gradients, std::int64_t offset, std::int64_t size, Backend& backend,
                   Stream stream);

/// What is behind the point when sums of `terms` values of at most `largest` shall fit: usual_bits where that does.
int bits_for(double largest, std::int64_t terms);

/// A micro-batch's loss sums, rounded so that float64 adds them exactly: to multiples of 2^-28 nats, of which sums up
/// to 2^25 nats (ten times ProtAlbert's largest batch at the start) are exact.
LossTotals round_for_sums(const LossTotals& losses);

}  // namespace protalbert

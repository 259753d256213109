#pragma once
// Vectors that are infinite or no numbers, in a file of embeddings: found while they are written (a batch's progress
// has their count), their proteins once all batches are there, and told of in the finished file.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "embed/output.hpp"
#include "embed/plan.hpp"
#include "io/hdf5.hpp"

namespace protalbert {

/// Values among `n` of a file's vectors that are infinite or no numbers; element_bytes 2: float16, 4: float32.
std::uint64_t count_not_finite(const std::byte* values, std::uint64_t n, std::uint64_t element_bytes);

/// Reads the batches again of which the progress says that they have such a protein; every batch must be done.
/// Collective.
NotFinite find_not_finite(const OutputFile& file, const VectorChoice& choice, const OutputSizes& sizes,
                          const EmbedPlan& plan, const std::vector<std::uint32_t>& lengths,
                          const Communicator& communicator);

/// Gives the proteins /status 5, or that attribute in the per-protein layout, and the file what read_not_finite reads.
void mark_not_finite(Hdf5File& file, const OutputFile& output, Layout layout, const NotFinite& not_finite);

/// What a finished file says of vectors that are not finite.
struct NotFiniteReport {
    std::uint64_t proteins = 0;
    std::string first_ids;  ///< of a few, as a list
    bool float16_alone = false;
};
/// Collective.
NotFiniteReport read_not_finite(const std::string& path, const Communicator& communicator);

}  // namespace protalbert

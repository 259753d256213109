#pragma once
// Labelled proteins that have no vectors: too long for the encoder, say. They are left out of everything alike.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "probe/labels.hpp"

namespace protalbert {

/// A protein of the label files without vectors.
struct WithoutVectors {
    std::uint32_t protein = 0;  ///< number
    std::uint8_t status = 0;    ///< why: /status of the embeddings file
};

/// Whether the vectors of a protein with this /status and length can be used.
bool has_vectors(std::uint8_t status, std::uint64_t length);

/// Gives them Split::none and says how many they are, why, and what to do about long ones (`remedy`).
void leave_out(LabelledProteins& proteins, const std::vector<WithoutVectors>& missing, const std::string& remedy,
               const Communicator& communicator);

}  // namespace protalbert

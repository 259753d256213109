#pragma once
// What labels lack, said before anything long is computed from them.

#include <vector>

#include "comm/communicator.hpp"
#include "probe/labels.hpp"

namespace protalbert {

/// The kinds that have labels to train on; warns of the others, which a head would predict at random. Throws InputError
/// when none is left.
LabelledProteins with_training_labels(const LabelledProteins& proteins, const Communicator& communicator);

/// Warns of classes that have no label in these sets, a line a kind, with what '-' means where the file has it: coil is
/// often written so. A set without proteins is passed over. That a test set lacks one of the locations is information.
void warn_of_missing_classes(const LabelledProteins& proteins, const std::vector<Split>& sets,
                             const Communicator& communicator);

}  // namespace protalbert

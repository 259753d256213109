#pragma once
// The three actions of protalbert_probe: train a head, score one, predict with one.

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "data/sequence_reader.hpp"
#include "embed/proteins.hpp"
#include "kernels/backend.hpp"
#include "probe/labels.hpp"
#include "probe/training.hpp"

namespace protalbert {

/// Where vectors come from: an embeddings file, or a checkpoint and the residues.
struct VectorSource {
    std::string embeddings;
    std::string checkpoint;
    std::string proteins;  ///< FASTA; for localization the label file serves
    /// Of longer proteins (probe/pieces.hpp), 0: none is cut. evaluate takes the head's.
    std::int64_t piece_length = 0;
    std::int64_t batch_tokens = 0;
    Precision precision = Precision::float32;
};

struct ProbeOptions {
    Task task = Task::secondary_structure;
    LabelFiles labels;
    VectorSource vectors;
    double validation_share = 0.1;  ///< of the training proteins, where the files name none
    ProbeSettings settings;
    bool baselines = true;
    std::string set = "test";  ///< evaluate: train, validation or test
    std::string head;          ///< to write (train) or to read
    std::string report;        ///< JSON to write; empty: none
    std::string device = "auto";
};

/// Trains a head, writes it, and scores it on the test proteins beside its baselines: one-hot residues and the
/// untrained encoder under the same head and budget, and the majority class. Returns the exit code. Collective.
int train_probe(ProbeOptions options, const Communicator& communicator);
/// Scores a head on a set of labelled proteins. Collective.
int evaluate_probe(const ProbeOptions& options, const Communicator& communicator);

struct PredictOptions {
    Task task = Task::secondary_structure;  ///< which the head must be for
    std::string head;
    std::string checkpoint;
    std::vector<std::string> inputs;
    std::string output;  ///< prefix: OUTPUT.h5 and OUTPUT.KIND.fasta
    InputFormat format = InputFormat::automatic;
    InvalidLetters invalid = InvalidLetters::error;
    TooLong too_long = TooLong::error;
    std::int64_t batch_tokens = 0;
    Precision precision = Precision::float32;
    std::string device = "auto";
};

/// Predicts every protein of the inputs. Collective.
int predict_probe(const PredictOptions& options, const Communicator& communicator);

}  // namespace protalbert

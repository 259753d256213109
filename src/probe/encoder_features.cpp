#include "probe/encoder_features.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "comm/program.hpp"
#include "embed/embed.hpp"
#include "io/checkpoint.hpp"
#include "model/weight_source.hpp"
#include "probe/pieces.hpp"

namespace protalbert {
namespace {

/// All pieces of the labelled proteins as FASTA, in the proteins' order.
void write_pieces(const std::string& path, const VectorSource& source, const LabelledProteins& proteins,
                  const Communicator& communicator) {
    const Residues residues = read_residues(source.proteins, proteins, communicator);
    on_root(communicator, [&] {
        std::ofstream file(path);
        for (std::size_t i = 0; i < proteins.count(); ++i) {
            std::uint64_t number = 0;
            for (const Piece& piece :
                 cut_protein(proteins.lengths[i], static_cast<std::uint64_t>(source.piece_length))) {
                file << '>' << i << '.' << number++ << '\n';
                for (std::uint64_t r = 0; r < piece.length; ++r)
                    file << residue_letters[residues.ids[residues.firsts[i] + piece.first + r]];
                file << '\n';
            }
        }
        if (!file.flush()) throw Error(fmt::format("cannot write {}{}", path, space_hint(path)));
    });
}

/// The encoder must know as many positions as a piece has residues.
void require_pieces_fit(const VectorSource& source, const Communicator& communicator) {
    const std::int64_t longest = encoder_residues(source.checkpoint, communicator);
    if (source.piece_length > longest)
        throw InputError(
            fmt::format("pieces of {} residues (--piece-length, which a head remembers) do not fit {}, which takes {}; "
                        "train with --piece-length {} or less",
                        source.piece_length, source.checkpoint, longest, longest));
}

}  // namespace

std::int64_t encoder_residues(const std::string& checkpoint, const Communicator& communicator) {
    const WeightSource source = open_weights(checkpoint, communicator);
    const ModelConfig config = config_from_json(source.header.config, source.place);
    return std::max<std::int64_t>(0, config.positions - special_tokens);
}

Features encoder_features(const VectorSource& source, const std::string& scratch, const std::string& device,
                          const LabelledProteins& proteins, const Communicator& communicator) {
    if (!source.embeddings.empty()) return embedding_features(source.embeddings, proteins, communicator);
    const bool pieces = source.piece_length > 0;
    if (pieces) require_pieces_fit(source, communicator);
    const std::string piece_file = scratch + ".fasta";
    if (pieces) write_pieces(piece_file, source, proteins, communicator);
    EmbedOptions options;
    options.checkpoint = source.checkpoint;
    options.inputs = {pieces ? piece_file : source.proteins};
    options.output = scratch;
    options.format = InputFormat::fasta;
    options.batch_tokens = source.batch_tokens;
    options.precision = source.precision;
    options.device = device;
    // The file may have proteins without labels, and labels may be of proteins that this encoder cannot take.
    options.invalid = InvalidLetters::skip;
    options.too_long = TooLong::skip;
    options.overwrite = true;  // what an earlier call on other weights left
    // A residue's vector is behind a layer norm: half precision keeps three digits of every element at half the disk.
    const bool residues = pieces || proteins.task == Task::secondary_structure;
    options.vectors.residues = residues ? ResidueVectors::float16 : ResidueVectors::none;
    options.vectors.mean = !residues;
    options.vectors.cls = false;
    options.not_finite_fails = false;  // such proteins are left out
    const int code = embed_proteins(options, communicator);
    if (code != exit_done) throw Error("embedding the proteins was stopped; the same command continues", code);
    if (pieces) on_root(communicator, [&] { std::filesystem::remove(piece_file); });
    Features features =
        pieces ? piece_features(scratch, static_cast<std::uint64_t>(source.piece_length), proteins, communicator)
               : embedding_features(scratch, proteins, communicator);
    features.description = source.checkpoint;
    return features;
}

void write_untrained_checkpoint(const std::string& checkpoint, std::uint64_t seed, const std::string& file,
                                const Communicator& communicator) {
    const WeightSource source = open_weights(checkpoint, communicator);
    const ModelConfig config = config_from_json(source.header.config, source.place);
    const ParameterLayout layout = make_parameter_layout(config);
    std::vector<float> values = initial_parameters(layout, config, seed);
    CheckpointHeader header;
    header.config = source.header.config;
    header.vocabulary = source.header.vocabulary;
    CheckpointArrays arrays;
    for (const Parameter& parameter : layout.parameters)
        arrays.parameters.push_back({parameter.name, parameter.shape, values.data() + parameter.offset});
    write_checkpoint(file, header, arrays, communicator);
}

}  // namespace protalbert

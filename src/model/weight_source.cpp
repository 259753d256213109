#include "model/weight_source.hpp"

#include <sstream>

#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/program.hpp"
#include "model/model_place.hpp"

namespace protalbert {

namespace {

/// Rank 0 opens the folder; the others learn what its configuration and vocabulary are.
void open_folder(WeightSource& source, const std::string& vocabulary, const Communicator& communicator) {
    std::string lines;
    on_root(communicator, [&] {
        source.folder = open_hugging_face(source.place, vocabulary);
        source.header.config = to_json(source.folder->config);
        for (const std::string& piece : source.folder->vocabulary.pieces) lines += piece + '\n';
        for (const std::string& remark : remarks(*source.folder)) log_information(remark);
    });
    source.header.config = communicator.broadcast(source.header.config, 0);
    std::istringstream pieces(communicator.broadcast(lines, 0));
    for (std::string piece; std::getline(pieces, piece);) source.header.vocabulary.push_back(piece);
}

std::size_t index_of(const ParameterLayout& layout, const Parameter& parameter) {
    const Parameter* const found = layout.find(parameter.name);
    PROTALBERT_CHECK(found != nullptr && found->shape == parameter.shape, "parameters of the source's configuration");
    return static_cast<std::size_t>(found - layout.parameters.data());
}

}  // namespace

WeightSource open_weights(const std::string& path, const Communicator& communicator, const std::string& vocabulary) {
    WeightSource source;
    std::string place;
    on_root(communicator, [&] {
        place = locate_model(path);
        source.hugging_face = is_hugging_face_folder(place);
        if (!source.hugging_face) place = resolve_checkpoint(place).string();
    });
    source.place = communicator.broadcast(place, 0);
    communicator.broadcast(&source.hugging_face, sizeof source.hugging_face, 0);
    if (source.hugging_face)
        open_folder(source, vocabulary, communicator);
    else
        source.header = read_checkpoint_header(source.place, communicator);
    return source;
}

void read_weights(const WeightSource& source, const Parameter& parameter, float* values,
                  const Communicator& communicator) {
    if (!source.hugging_face) {
        read_checkpoint(source.place, {{{parameter.name, parameter.shape, values}}, {}, {}}, communicator);
        return;
    }
    on_root(communicator, [&] { read_parameter(*source.folder, index_of(source.folder->layout, parameter), values); });
    communicator.broadcast(values, static_cast<std::size_t>(parameter.size) * sizeof(float), 0);
}

void read_all_weights(const WeightSource& source, const ParameterLayout& layout, float* values,
                      const Communicator& communicator) {
    if (source.hugging_face) {
        for (const Parameter& parameter : layout.parameters)
            read_weights(source, parameter, values + parameter.offset, communicator);
        return;
    }
    CheckpointArrays arrays;
    for (const Parameter& parameter : layout.parameters)
        arrays.parameters.push_back({parameter.name, parameter.shape, values + parameter.offset});
    read_checkpoint(source.place, arrays, communicator);
}

}  // namespace protalbert

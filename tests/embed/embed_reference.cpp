// A small random checkpoint, and the vectors of proteins computed one at a time from it: what protalbert_embed's output
// is compared with.
//   embed_reference make CHECKPOINT SEED [POSITIONS [SCALE [HIDDEN INTERMEDIATE]]]
//   embed_reference encode CHECKPOINT PROTEINS OUTPUT
//   embed_reference checksums EMBEDDINGS

#include <fmt/format.h>
#include <xxhash.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/error.hpp"
#include "base/random.hpp"
#include "comm/program.hpp"
#include "embed/embedder.hpp"
#include "embed/plan.hpp"
#include "io/checkpoint.hpp"
#include "io/hdf5.hpp"

namespace {

using namespace protalbert;

/// Widths of a model.
struct Widths {
    std::int64_t hidden = 64, intermediate = 160;
};

ModelConfig small_model(std::int64_t positions, const Widths& widths, const Vocabulary& vocabulary) {
    ModelConfig config = preset("albert_base");
    config.layers = 3;
    config.hidden = widths.hidden;
    config.heads = 4;
    config.intermediate = widths.intermediate;
    config.embedding = 32;
    config.positions = positions;
    config.vocabulary = vocabulary.size();
    config.activation = Gelu::erf;
    // Larger weights than at the start of training, so that attention is far from uniform.
    config.initializer_range = 0.2;
    return config;
}

/// `scale`: of the last layer norm's gain, to leave float16's range.
void make(const std::string& file, std::uint64_t seed, std::int64_t positions, float scale, const Widths& widths,
          const Communicator& communicator) {
    const Vocabulary vocabulary = default_vocabulary();
    const ModelConfig config = small_model(positions, widths, vocabulary);
    const ParameterLayout layout = make_parameter_layout(config);
    std::vector<float> values = initial_parameters(layout, config, seed);
    // Biases that are not zero, or an error with them would not show.
    for (std::size_t p = 0; p < layout.parameters.size(); ++p) {
        const Parameter& parameter = layout.parameters[p];
        if (parameter.shape.size() > 1) continue;
        RandomStream random(seed, Purpose::bench, 1, p);
        for (std::int64_t i = 0; i < parameter.size; ++i)
            values[static_cast<std::size_t>(parameter.offset + i)] += static_cast<float>(0.1 * random.normal());
    }
    const NormOffsets norm = layout.feed_forward.front().norm;
    for (std::int64_t i = 0; i < config.hidden; ++i) values[static_cast<std::size_t>(norm.gamma + i)] *= scale;
    CheckpointHeader header;
    header.step = 7;
    header.config = to_json(config);
    header.vocabulary = vocabulary.pieces;
    CheckpointArrays arrays;
    for (const Parameter& parameter : layout.parameters)
        arrays.parameters.push_back({parameter.name, parameter.shape, values.data() + parameter.offset});
    write_checkpoint(file, header, arrays, communicator);
}

void encode_alone(const std::string& checkpoint, const std::string& proteins, const std::string& output,
                  const Communicator& communicator) {
    const WeightSource source = open_weights(checkpoint, communicator);
    const ModelConfig config = config_from_json(source.header.config, checkpoint);
    const Vocabulary vocabulary = make_vocabulary(source.header.vocabulary, checkpoint);
    const std::unique_ptr<Backend> backend = make_backend("cpu", Precision::float32, 1);
    Model model = make_model(config, *backend);
    load_parameters(model, source, communicator);

    const auto H = static_cast<std::size_t>(config.hidden);
    std::vector<float> residues, mean, cls;
    InputCounts counts;
    const std::vector<InputPart> parts = plan_input({proteins}, InputFormat::automatic, 1).front();
    for (const InputPart& part : parts)
        read_sequences(part, vocabulary, InvalidLetters::error, counts, [&](const SequenceRecord& record) {
            const std::size_t length = record.tokens.size();
            const auto not_a_number = std::numeric_limits<float>::quiet_NaN();
            if (length == 0 || length > static_cast<std::size_t>(config.positions - special_tokens)) {
                mean.resize(mean.size() + H, not_a_number);
                cls.resize(cls.size() + H, not_a_number);
                return;
            }
            PackedBatch batch;
            batch.clear();
            append_protein(batch, record.tokens, 0, vocabulary);
            DeviceBatch device;
            upload_batch(device, batch, *backend, {});
            InferenceWorkspace workspace = make_inference_workspace(model, batch.token_count());
            const Activations last = encode(model, device, workspace, {});
            std::vector<float> hidden((length + 2) * H);
            backend->download(hidden.data(), last.data, hidden.size() * sizeof(float), {});
            backend->synchronize({});
            cls.insert(cls.end(), hidden.begin(), hidden.begin() + static_cast<std::ptrdiff_t>(H));
            residues.insert(residues.end(), hidden.begin() + static_cast<std::ptrdiff_t>(H),
                            hidden.end() - static_cast<std::ptrdiff_t>(H));
            for (std::size_t h = 0; h < H; ++h) {
                double sum = 0;
                for (std::size_t i = 1; i <= length; ++i) sum += hidden[i * H + h];
                mean.push_back(static_cast<float>(sum / static_cast<double>(length)));
            }
        });
    Hdf5File file = Hdf5File::create(output, communicator);
    const auto store = [&](const char* name, const std::vector<float>& values) {
        file.create_dataset(name, Element::float32, {values.size() / H, H});
        file.write(name, values.data(), {0, values.size() / H});
    };
    store("/residues", residues);
    store("/mean", mean);
    store("/cls", cls);
    file.close();
}

/// Compares /checksums with the vectors of a flat file, by the formula in embed/output.hpp.
void check_checksums(const std::string& path) {
    const Hdf5File file = Hdf5File::open_alone(path);
    const std::uint64_t N = file.shape("/ids").at(0);
    std::vector<std::uint32_t> checksums(3 * N);
    std::vector<std::uint64_t> offsets(N + 1);
    file.read("/checksums", checksums.data(), {0, N});
    file.read("/offsets", offsets.data(), {0, N + 1});
    std::uint64_t compared = 0;
    const auto compare = [&](const std::string& name, std::uint64_t column, std::uint64_t protein, Rows rows) {
        if (!file.exists(name)) return;
        std::vector<std::byte> bytes(rows.count * file.shape(name).at(1) * element_size(file.element(name)));
        file.read(name, bytes.data(), rows);
        if (static_cast<std::uint32_t>(XXH3_64bits_withSeed(bytes.data(), bytes.size(), protein)) !=
            checksums[3 * protein + column])
            throw Error(fmt::format("the checksum of {} of protein {} is wrong", name, protein));
        ++compared;
    };
    for (std::uint64_t i = 0; i < N; ++i) {
        compare("/residues", 0, i, {offsets[i], offsets[i + 1] - offsets[i]});
        compare("/mean", 1, i, {i, 1});
        compare("/cls", 2, i, {i, 1});
    }
    if (compared == 0) throw Error("there is nothing to compare");
}

int run(int argc, char** argv, const Communicator& communicator) {
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "make" && argc >= 4)
        make(argv[2], std::strtoull(argv[3], nullptr, 10), argc > 4 ? std::atoll(argv[4]) : 512,
             argc > 5 ? static_cast<float>(std::atof(argv[5])) : 1.0F,
             argc > 7 ? Widths{std::atoll(argv[6]), std::atoll(argv[7])} : Widths{}, communicator);
    else if (what == "encode" && argc == 5)
        encode_alone(argv[2], argv[3], argv[4], communicator);
    else if (what == "checksums" && argc == 3)
        check_checksums(argv[2]);
    else
        throw InputError(
            "embed_reference make CHECKPOINT SEED [POSITIONS [SCALE [HIDDEN INTERMEDIATE]]] | encode CHECKPOINT "
            "PROTEINS OUTPUT | checksums EMBEDDINGS");
    return exit_done;
}

}  // namespace

int main(int argc, char** argv) {
    return protalbert::run_program(
        argc, argv, [&](const protalbert::Communicator& communicator) { return run(argc, argv, communicator); });
}

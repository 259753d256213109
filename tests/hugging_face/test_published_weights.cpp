// The published ProtAlbert, from the folder that PROTALBERT_PUBLISHED_WEIGHTS names: the values that ProtTrans'
// notebooks show (Embedding/PyTorch, ProtAlbert.ipynb in Basic and Advanced).

#include <cstdlib>

#include "data/sequence_reader.hpp"
#include "files.hpp"
#include "model_of_folder.hpp"

namespace protalbert::testing {

namespace {

struct Row {
    std::size_t row;  ///< in the packed batch
    std::vector<float> first, last;
};

TEST(PublishedWeights, NotebooksValues) {
    const char* const place = std::getenv("PROTALBERT_PUBLISHED_WEIGHTS");
    if (place == nullptr)
        GTEST_SKIP() << "PROTALBERT_PUBLISHED_WEIGHTS is not set; set it to a folder with the published config.json, "
                        "pytorch_model.bin and spiece.model (Rostlab/prot_albert) to compare with ProtTrans' notebooks";
    const HuggingFaceFolder folder = open_hugging_face(place);
    EXPECT_EQ(remarks(folder), std::vector<std::string>{});
    Model model = make_model(folder.config, cpu());
    // Parameter by parameter: no second copy of 900 MB.
    std::vector<float> values;
    for (std::size_t i = 0; i < folder.layout.parameters.size(); ++i) {
        const Parameter& parameter = folder.layout.parameters[i];
        values.resize(static_cast<std::size_t>(parameter.size));
        read_parameter(folder, i, values.data());
        cpu().upload(model.master(parameter.offset), values.data(), values.size() * sizeof(float), {});
    }
    cpu().synchronize({});

    const Folder input;
    const std::string file = input.write("p.fasta", ">a\nAETCZAO\n>b\nSKTZP\n").string();
    PackedBatch batch;
    batch.clear();
    InputCounts counts;
    const std::vector<InputPart> parts = plan_input({file}, InputFormat::automatic, 1).front();
    for (const InputPart& part : parts)
        read_sequences(part, folder.vocabulary, InvalidLetters::error, counts, [&](const SequenceRecord& record) {
            append_protein(batch, record.tokens, 0, folder.vocabulary);
        });
    const std::vector<float> hidden = hidden_of(model, batch);
    const auto H = static_cast<std::size_t>(folder.config.hidden);
    const float largest_value = *std::max_element(
        hidden.begin(), hidden.end(), [](float left, float right) { return std::abs(left) < std::abs(right); });
    const double tolerance = 2e-5 * std::abs(static_cast<double>(largest_value));  // as for every other model
    const std::vector<Row> expected{
        {1, {0.05041128F, 0.01670685F, -0.06041763F}, {0.03879401F, 0.0674293F, -0.02243809F}},
        {10, {-0.03166402F, 0.01354338F, -0.02900368F}, {-0.11964945F, -0.11535365F, 0.07926654F}},
        {0, {0.05823962F, 0.01667558F, -0.07323031F}, {}},
    };
    for (const Row& row : expected) {
        for (std::size_t i = 0; i < row.first.size(); ++i)
            EXPECT_NEAR(hidden[row.row * H + i], row.first[i], tolerance) << row.row << " " << i;
        for (std::size_t i = 0; i < row.last.size(); ++i)
            EXPECT_NEAR(hidden[(row.row + 1) * H - row.last.size() + i], row.last[i], tolerance) << row.row << " " << i;
    }
}

}  // namespace

}  // namespace protalbert::testing

// Hugging Face folders: every form of them against transformers' hidden states (make_folders.py), tokenisation against
// its slow tokenizer (make_tokens.py), what is said about bad ones, and folders that this program writes.

#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/sequence_reader.hpp"
#include "files.hpp"
#include "io/safetensors.hpp"
#include "model/hugging_face_export.hpp"
#include "model_of_folder.hpp"
#include "torch_files.hpp"

namespace protalbert::testing {

namespace {

namespace fs = std::filesystem;

const fs::path golden = GOLDEN_FOLDERS;

std::vector<float> read_named(const std::vector<StoredTensor>& tensors, const std::string& name) {
    for (const StoredTensor& tensor : tensors) {
        if (tensor.name == name) return read_values(tensor);
    }
    ADD_FAILURE() << name;
    return {};
}

void copy_golden(const std::string& name, const Folder& place) {
    fs::copy(golden / name, place.path(), fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

class GoldenFolder : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenFolder, ComputesWhatTransformersComputes) {
    const HuggingFaceFolder folder = open_hugging_face(golden / GetParam());
    const auto expected = list_safetensors(golden / GetParam() / "expected.safetensors");
    const std::vector<float> tokens = read_named(expected, "tokens");
    std::vector<std::vector<std::int32_t>> sequences;
    auto next = tokens.begin();
    for (const float length : read_named(expected, "lengths")) {
        sequences.emplace_back(next, next + static_cast<std::ptrdiff_t>(length));
        next += static_cast<std::ptrdiff_t>(length);
    }
    const std::vector<float> hidden = hidden_of(model_of(folder.config, parameters_of(folder)), batch_of(sequences));
    const double worst = deviation(hidden, read_named(expected, "hidden"));
    std::printf("%s: deviates by %.2g of the largest value\n", GetParam(), worst);
    // What the two sides are held to: float32 rounds by 6e-8 and up to eight blocks enlarge that. Measured: at
    // most 2.3e-7.
    EXPECT_LE(worst, 2e-5);
}

// Writing and reading again changes no bit of any tensor, and neither configuration nor vocabulary.
TEST_P(GoldenFolder, RoundTrip) {
    const Folder place;
    const HuggingFaceFolder first = open_hugging_face(golden / GetParam());
    const std::vector<float> values = parameters_of(first);
    write_hugging_face(place.path(), first.config, first.vocabulary, [&](const Parameter& parameter, float* into) {
        std::copy_n(values.begin() + parameter.offset, parameter.size, into);
    });
    EXPECT_TRUE(is_hugging_face_folder(place.path()));
    const HuggingFaceFolder second = open_hugging_face(place.path());
    EXPECT_EQ(differences(first.config, second.config), std::vector<std::string>{});
    EXPECT_EQ(first.vocabulary.pieces, second.vocabulary.pieces);
    EXPECT_EQ(remarks(second), std::vector<std::string>{});
    const std::vector<float> again = parameters_of(second);
    ASSERT_EQ(values.size(), again.size());
    EXPECT_EQ(std::memcmp(values.data(), again.data(), values.size() * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, GoldenFolder, ::testing::Values("zip", "legacy", "half", "shards", "equal_sizes"),
                         [](const auto& test) { return std::string(test.param); });

TEST(HuggingFace, SaysWhatIsAbsentAndUnused) {
    const HuggingFaceFolder folder = open_hugging_face(golden / "zip");
    EXPECT_EQ(folder.absent.size(), 9U) << list_names(folder.absent);
    EXPECT_EQ(folder.unused, std::vector<std::string>{"classifier.weight"});
    const std::vector<std::string> lines = remarks(folder);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_MESSAGE(lines[0], "albert.pooler.weight");
    EXPECT_MESSAGE(lines[0], "predictions.LayerNorm.bias");
    EXPECT_MESSAGE(lines[0], "sop_classifier.classifier.weight");
    EXPECT_MESSAGE(lines[1], "classifier.weight");
    // As at a fresh start.
    const std::vector<float> values = parameters_of(folder);
    const std::vector<float> fresh = initial_parameters(folder.layout, folder.config, 0);
    for (const std::string& name : folder.absent) {
        const Parameter& parameter = *folder.layout.find(name);
        EXPECT_TRUE(std::equal(values.begin() + parameter.offset, values.begin() + parameter.offset + parameter.size,
                               fresh.begin() + parameter.offset))
            << name;
    }
    // Tied decoders and the buffer of positions are nothing to remark on.
    EXPECT_EQ(remarks(open_hugging_face(golden / "legacy")), std::vector<std::string>{});
}

TEST(HuggingFace, DefaultsAreThoseOfTransformers) {
    const Folder place;
    copy_golden("zip", place);
    const auto json_config = [&](const std::string& json) {
        place.write("config.json", json);
        return message_of([&] { open_hugging_face(place.path()); });
    };
    // Of a configuration that says nothing the first tensor that does not fit tells the defaults.
    EXPECT_MESSAGE(json_config("{}"), "config.json makes it [30000, 128]");
    EXPECT_MESSAGE(json_config(R"({"vocab_size": 34, "embedding_size": 12})"), "config.json makes it [512, 12]");
    EXPECT_MESSAGE(json_config(R"({"vocab_size": 34, "embedding_size": 12, "max_position_embeddings": 24})"),
                   "config.json makes it [4096, 12]");
    // What transformers does not know does not matter: a projection is there even if somebody says not.
    std::string config = content_of(golden / "equal_sizes" / "config.json");
    copy_golden("equal_sizes", place);
    fs::remove(place.path("pytorch_model.bin"));
    config.insert(config.find('{') + 1, "\"projection\": false, \"sharing\": \"none\",");
    place.write("config.json", config);
    EXPECT_TRUE(open_hugging_face(place.path()).config.projection);
    EXPECT_EQ(open_hugging_face(place.path()).config.layer_norm_epsilon, 1e-12);
}

/// A copy of the folder `half` whose config.json has `from` replaced; the message about it.
std::string changed_config(const std::string& from, const std::string& to) {
    const Folder place;
    copy_golden("half", place);
    std::string config = content_of(golden / "half" / "config.json");
    EXPECT_NE(config.find(from), std::string::npos) << from;
    place.write("config.json", config.replace(config.find(from), from.size(), to));
    return message_of([&] { open_hugging_face(place.path()); });
}

TEST(HuggingFace, RefusesOtherArchitectures) {
    EXPECT_MESSAGE(changed_config("{", "{\"model_type\": \"bert\","), "model_type is \"bert\"");
    EXPECT_MESSAGE(changed_config("{", "{\"position_embedding_type\": \"relative_key\","), "position_embedding_type");
    EXPECT_MESSAGE(changed_config("{", "{\"tie_word_embeddings\": false,"), "tie_word_embeddings");
    EXPECT_MESSAGE(changed_config("\"gelu_new\"", "\"relu\""), "hidden_act");
    EXPECT_MESSAGE(changed_config("\"hidden_size\": 64", "\"hidden_size\": 65"), "shape");
    EXPECT_MESSAGE(changed_config("\"vocab_size\": 34", "\"vocab_size\": 33"),
                   "word_embeddings.weight has shape [34, 12]");
    EXPECT_MESSAGE(changed_config("\"num_hidden_groups\": 1", "\"num_hidden_groups\": 2"),
                   "layer_groups.1.albert_layers.0.attention.query.weight,");
    // Sixteen million layers, for which there is no room.
    EXPECT_MESSAGE(
        changed_config("\"num_hidden_layers\": 2,\n  \"num_hidden_groups\": 1,\n  \"inner_group_num\": 1",
                       "\"num_hidden_layers\": 4096, \"num_hidden_groups\": 4096, \"inner_group_num\": 4096"),
        "4096 groups of 4096");
    EXPECT_MESSAGE(changed_config("{", ""), "JSON");
    EXPECT_MESSAGE(changed_config("{", "{\"a\": " + std::string(2 << 20, ' ') + "1,"), "bytes");
}

/// The weights of `half` as float32 with one name replaced (an empty one: left out); the message about them.
std::string changed_weights(const std::string& from, const std::string& to) {
    const Folder place;
    copy_golden("half", place);
    std::vector<StoredTensor> tensors = list_safetensors(golden / "half" / "model.safetensors");
    std::vector<TensorShape> shapes;
    std::vector<std::vector<float>> values;
    for (const StoredTensor& tensor : tensors) {
        if (tensor.name == from && to.empty()) continue;
        shapes.push_back({tensor.name == from ? to : tensor.name, tensor.shape});
        values.push_back(read_values(tensor));
    }
    SafetensorsWriter writer(place.path("model.safetensors"), shapes);
    for (const auto& tensor : values) writer.write(tensor.data());
    writer.finish();
    return message_of([&] { open_hugging_face(place.path()); });
}

/// A copy of the folder `half` whose tensors have other names, as a function of theirs, and other values.
void copy_renamed(const Folder& place, const std::function<std::string(const std::string&)>& rename,
                  const std::function<void(const std::string&, std::vector<float>&)>& change = {}) {
    copy_golden("half", place);
    std::vector<TensorShape> shapes;
    std::vector<std::vector<float>> values;
    for (const StoredTensor& tensor : list_safetensors(golden / "half" / "model.safetensors")) {
        shapes.push_back({rename(tensor.name), tensor.shape});
        values.push_back(read_values(tensor));
        if (change) change(tensor.name, values.back());
    }
    SafetensorsWriter writer(place.path("model.safetensors"), shapes);
    for (const auto& tensor : values) writer.write(tensor.data());
    writer.finish();
}

std::string replaced(std::string name, const std::string& from, const std::string& to) {
    const std::size_t found = name.find(from);
    return found == std::string::npos ? name : name.replace(found, from.size(), to);
}

// However wrappers and older programs called them, the values are the same, and what was done is said.
TEST(HuggingFace, FindsTensorsUnderOtherNames) {
    const std::vector<float> expected = parameters_of(open_hugging_face(golden / "half"));
    const auto same = [&](const std::function<std::string(const std::string&)>& rename, const std::string& said,
                          std::size_t lines = 1) {
        const Folder place;
        copy_renamed(place, rename);
        const HuggingFaceFolder folder = open_hugging_face(place.path());
        EXPECT_TRUE(parameters_of(folder) == expected) << said;
        ASSERT_EQ(remarks(folder).size(), lines) << said << "\n" << list_names(remarks(folder));
        EXPECT_MESSAGE(remarks(folder)[0], said);
    };
    for (const char* prefix : {"_orig_mod.", "module.", "model.", "module._orig_mod.", "model.module.", "encoder.",
                               "bert.", "albert.model.", "x.y.z."})
        same([&](const std::string& name) { return prefix + name; },
             std::string("read without ") + (std::string(prefix) == "module._orig_mod." ? "_orig_mod and module"
                                             : std::string(prefix) == "model.module."
                                                 ? "module and model"
                                                 : std::string(prefix, std::strlen(prefix) - 1)));
    // Inside, as of a part that was wrapped alone; and of a wrapped AlbertModel within a larger model.
    same([](const std::string& name) { return replaced(name, "albert.", "albert._orig_mod."); }, "without _orig_mod");
    same([](const std::string& name) { return replaced(name, "layers.0.", "layers.0._checkpoint_wrapped_module."); },
         "without _checkpoint_wrapped_module");
    same([](const std::string& name) { return replaced(name, "albert.", "module."); }, "without module");
    // Layer norms of TensorFlow, those of the layers as well.
    same(
        [](const std::string& name) {
            if (name.find("LayerNorm") == std::string::npos && name.find("layer_norm") == std::string::npos)
                return name;
            return replaced(replaced(name, "orm.weight", "orm.gamma"), "orm.bias", "orm.beta");
        },
        "gamma and beta of layer norms");
    same([](const std::string& name) { return "module." + replaced(name, "LayerNorm.weight", "LayerNorm.gamma"); },
         "read without module", 2);
}

TEST(HuggingFace, LeavesWhatIsNotOfTheModel) {
    const Folder place;
    // A wrapper's own layer has no part in the prefix.
    copy_renamed(place, [](const std::string& name) {
        return name == "sop_classifier.classifier.bias"     ? "head.bias"
               : name == "sop_classifier.classifier.weight" ? "head.weight"
                                                            : "model." + name;
    });
    const HuggingFaceFolder folder = open_hugging_face(place.path());
    EXPECT_EQ(folder.unused, (std::vector<std::string>{"head.bias", "head.weight"}));
    EXPECT_EQ(folder.absent.size(), 2U) << list_names(folder.absent);

    const Folder two;
    copy_golden("half", two);
    const std::vector<StoredTensor> tensors = list_safetensors(golden / "half" / "model.safetensors");
    std::vector<TensorShape> shapes;
    for (const char* model : {"student.", "teacher."})
        for (const StoredTensor& tensor : tensors) shapes.push_back({model + tensor.name, tensor.shape});
    SafetensorsWriter writer(two.path("model.safetensors"), shapes);
    for (int copy = 0; copy < 2; ++copy)
        for (const StoredTensor& tensor : tensors) writer.write(read_values(tensor).data());
    writer.finish();
    const std::string message = message_of([&] { open_hugging_face(two.path()); });
    EXPECT_MESSAGE(message, "begin with student. and teacher.");
    EXPECT_MESSAGE(message, "model.student.save_pretrained");

    const Folder both;
    copy_renamed(both, [](const std::string& name) {
        return replaced(name, "predictions.LayerNorm.bias", "predictions.LayerNorm.module.weight");
    });
    EXPECT_MESSAGE(message_of([&] { open_hugging_face(both.path()); }),
                   "both predictions.LayerNorm.module.weight and predictions.LayerNorm.weight");
    const Folder adapter;
    copy_renamed(adapter, [](const std::string& name) {
        return "base_model.model." + replaced(name, "query.weight", "query.base_layer.weight");
    });
    EXPECT_MESSAGE(message_of([&] { open_hugging_face(adapter.path()); }), "merge_and_unload");
}

TEST(HuggingFace, RefusesWeightsThatAreNoNumbers) {
    for (const auto& [bad, spelt] : {std::pair(NAN, "nan"), std::pair(INFINITY, "inf"), std::pair(-INFINITY, "-inf")}) {
        for (const char* where : {"albert.embeddings.word_embeddings.weight", "sop_classifier.classifier.bias"}) {
            const Folder place;
            const float value = bad;
            copy_renamed(
                place, [](const std::string& name) { return name; },
                [&](const std::string& name, std::vector<float>& values) {
                    if (name == where) values[1] = value;
                });
            const std::string message = message_of([&] { parameters_of(open_hugging_face(place.path())); });
            EXPECT_MESSAGE(message, std::string("tensor ") + where + ": 1 of its ");
            EXPECT_MESSAGE(message, std::string("the first is ") + spelt);
            EXPECT_MESSAGE(message, "model.safetensors");
        }
    }
}

// Tables of 40 rows for 34 pieces.
TEST(HuggingFace, KeepsRowsOfAPaddedVocabulary) {
    const auto padded = [](const Folder& place, std::int64_t rows, std::size_t pieces = 34) {
        ModelConfig config = small_config();
        config.vocabulary = rows;
        const std::vector<float> values = random_parameters(make_parameter_layout(config), 5);
        write_hugging_face(place.path(), config, default_vocabulary(), [&](const Parameter& parameter, float* into) {
            std::copy_n(values.begin() + parameter.offset, parameter.size, into);
        });
        std::string text;
        for (std::size_t id = 0; id < pieces; ++id)
            text += (id < 34 ? default_vocabulary().pieces[id] : "extra" + std::to_string(id)) + "\n";
        place.write("vocab.txt", text);
        return values;
    };
    for (const std::int64_t rows : {40, 48, 64, 128}) {
        const Folder place, again;
        const std::vector<float> values = padded(place, rows);
        const HuggingFaceFolder folder = open_hugging_face(place.path());
        EXPECT_EQ(folder.config.vocabulary, rows);
        EXPECT_EQ(folder.vocabulary.size(), 34);
        EXPECT_EQ(folder.layout.find("albert.embeddings.word_embeddings.weight")->shape[0], rows);
        EXPECT_TRUE(parameters_of(folder) == values);
        ASSERT_EQ(remarks(folder).size(), 1U);
        EXPECT_MESSAGE(remarks(folder)[0], std::to_string(rows) + " rows for 34 pieces");
        // And out again.
        write_hugging_face(again.path(), folder.config, folder.vocabulary,
                           [&](const Parameter& parameter, float* into) {
                               std::copy_n(values.begin() + parameter.offset, parameter.size, into);
                           });
        EXPECT_EQ(content_of(again.path("model.safetensors")), content_of(place.path("model.safetensors")));
        EXPECT_EQ(content_of(again.path("vocab.txt")), content_of(place.path("vocab.txt")));
    }
    for (const std::int64_t rows : {35, 39, 41, 56, 30000}) {
        const Folder place;
        padded(place, rows);
        const std::string message = message_of([&] { open_hugging_face(place.path()); });
        EXPECT_MESSAGE(message, "has 34 pieces, but the model");
        EXPECT_MESSAGE(message, "--vocabulary FILE");
    }
    const Folder place;
    padded(place, 40, 41);
    EXPECT_MESSAGE(message_of([&] { open_hugging_face(place.path()); }), "they do not belong together");
}

TEST(HuggingFace, NamesMissingTensors) {
    const std::string key = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.key.weight";
    EXPECT_MESSAGE(changed_weights(key, ""), "lack " + key + ";");
    EXPECT_MESSAGE(changed_weights(key, key + "s"), "lack " + key + ";");
    // A head is there as a whole or not at all.
    EXPECT_MESSAGE(changed_weights("predictions.dense.bias", ""), "lack predictions.dense.bias;");
    EXPECT_MESSAGE(changed_weights("albert.pooler.bias", ""), "lack albert.pooler.bias;");
}

// All parameters of a model on the same elements: a small file that asks for much memory.
TEST(HuggingFace, RefusesSharedElements) {
    const Folder place;
    copy_golden("half", place);
    fs::remove(place.path("model.safetensors"));
    const ParameterLayout layout = make_parameter_layout(open_hugging_face(golden / "half").config);
    std::uint64_t most = 0;
    for (const Parameter& parameter : layout.parameters) most = std::max<std::uint64_t>(most, parameter.size);
    const std::string elements(most * sizeof(float), '\0');
    std::vector<std::pair<std::string, std::string>> tensors;
    for (const Parameter& parameter : layout.parameters) {
        const std::vector<std::int64_t> strides = row_major_strides(parameter.shape);
        tensors.emplace_back(
            parameter.name, tensor(storage("FloatStorage", "0", most), 0,
                                   {parameter.shape.begin(), parameter.shape.end()}, {strides.begin(), strides.end()}));
    }
    place.write("pytorch_model.bin", zip_layout(dict(tensors), elements));
    EXPECT_MESSAGE(message_of([&] { open_hugging_face(place.path()); }), "share their elements");
}

TEST(HuggingFace, RefusesBadFolders) {
    const auto refused = [](const std::string& name, const auto& change) {
        const Folder place;
        copy_golden(name, place);
        change(place);
        return message_of([&] { open_hugging_face(place.path()); });
    };
    EXPECT_MESSAGE(refused("half", [](const Folder& f) { fs::remove(f.path("model.safetensors")); }),
                   "neither model.safetensors nor pytorch_model.bin");
    const auto instead = [&](const std::string& name) {
        return refused("half", [&](const Folder& f) {
            fs::remove(f.path("expected.safetensors"));
            fs::rename(f.path("model.safetensors"), f.path(name));
        });
    };
    EXPECT_MESSAGE(instead("model.fp16.safetensors"), "ln -s model.fp16.safetensors ");
    EXPECT_MESSAGE(instead("consolidated.00.pth"), "/pytorch_model.bin");
    EXPECT_MESSAGE(instead("model.safetensors.index.fp16.json"), "/model.safetensors.index.json");
    EXPECT_MESSAGE(instead("model-00001-of-00001.safetensors"), "download model.safetensors.index.json, too");
    EXPECT_MESSAGE(instead("tf_model.h5"), "from_tf=True");
    EXPECT_MESSAGE(instead("flax_model.msgpack"), "from_flax=True");
    EXPECT_MESSAGE(instead("model.ckpt-best.index"), "convert_albert_original_tf_checkpoint_to_pytorch");
    EXPECT_MESSAGE(instead("model.onnx"), "ONNX");
    EXPECT_MESSAGE(instead("optimizer.pt"), "copy or download the weights");
    EXPECT_MESSAGE(refused("half",
                           [](const Folder& f) {
                               fs::remove(f.path("model.safetensors"));
                               fs::create_symlink("../../blobs/1234", f.path("model.safetensors"));
                           }),
                   "model.safetensors is a link to nothing: copy the folder with cp -rL");
    EXPECT_MESSAGE(refused("half", [](const Folder& f) { f.write("adapter_config.json", "{}"); }), "merge_and_unload");
    const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 238\n";
    for (const char* name : {"config.json", "model.safetensors", "vocab.txt"}) {
        const std::string message = refused("half", [&](const Folder& f) { f.write(name, pointer); });
        EXPECT_MESSAGE(message, name);
        EXPECT_MESSAGE(message, "git lfs pull");
    }
    EXPECT_MESSAGE(refused("half", [](const Folder& f) { fs::remove(f.path("vocab.txt")); }),
                   "neither spiece.model nor vocab.txt nor tokenizer.json; convert it with protalbert_convert "
                   "--vocabulary");
    EXPECT_MESSAGE(
        refused("half", [](const Folder& f) { f.write("vocab.txt", content_of(f.path("vocab.txt")) + "J\n"); }),
        "has 35 pieces, but the model");
    const char* const second = "model-00002-of-00002.safetensors";
    EXPECT_MESSAGE(refused("shards", [&](const Folder& f) { fs::remove(f.path(second)); }), second);
    EXPECT_MESSAGE(refused("shards",
                           [&](const Folder& f) {
                               fs::copy_file(f.path("model-00001-of-00002.safetensors"), f.path(second),
                                             fs::copy_options::overwrite_existing);
                           }),
                   "is both in");
    const auto index = [&](const std::string& text) {
        return refused("shards", [&](const Folder& f) { f.write("model.safetensors.index.json", text); });
    };
    EXPECT_MESSAGE(index("{}"), "no weight_map");
    EXPECT_MESSAGE(index(R"({"weight_map": {"a": "../../secret"}})"), "no file name");
    EXPECT_MESSAGE(index(R"({"weight_map": {"a": ".."}})"), "no file name");
    EXPECT_MESSAGE(index(R"({"weight_map": {"a": 1}})"), "no file name");
    EXPECT_MESSAGE(index(R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})"), "but it is not");
    EXPECT_FALSE(is_hugging_face_folder("/nowhere"));
    const Folder empty;
    EXPECT_FALSE(is_hugging_face_folder(empty.path()));
    empty.write("config.json", "{}");
    EXPECT_TRUE(is_hugging_face_folder(empty.path()));
    empty.write("step_00000001.h5", "");
    EXPECT_FALSE(is_hugging_face_folder(empty.path()));
}

TEST(HuggingFace, TokensAreThoseOfTheSlowTokenizer) {
    const Folder place;
    const Vocabulary vocabulary = open_hugging_face(golden / "zip").vocabulary;
    std::istringstream lines(content_of(golden / "tokens.txt"));
    int proteins = 0;
    std::string letters;
    for (std::string line; std::getline(lines, line); ++proteins) {
        const std::string protein = line.substr(0, line.find('\t'));
        letters += protein;
        std::vector<std::int32_t> expected;
        std::istringstream numbers(line.substr(protein.size()));
        for (std::int32_t id = 0; numbers >> id;) expected.push_back(id);
        PackedBatch batch;
        batch.clear();
        InputCounts counts;
        const std::string file = place.write("p.fasta", ">p\n" + protein + "\n").string();
        const std::vector<InputPart> parts = plan_input({file}, InputFormat::automatic, 1).front();
        for (const InputPart& part : parts)
            read_sequences(part, vocabulary, InvalidLetters::error, counts,
                           [&](const SequenceRecord& record) { append_protein(batch, record.tokens, 0, vocabulary); });
        EXPECT_EQ(batch.tokens, expected) << protein;
    }
    EXPECT_GT(proteins, 15);
    for (const char letter : std::string("UZBX")) EXPECT_NE(letters.find(letter), std::string::npos) << letter;
}

/// What a model of `config` with random weights computes, and what it does after export and import.
void expect_same_after_export(const ModelConfig& config, double tolerance) {
    const Folder place;
    const ParameterLayout layout = make_parameter_layout(config);
    const std::vector<float> values = random_parameters(layout, 5);
    write_hugging_face(place.path(), config, default_vocabulary(), [&](const Parameter& parameter, float* into) {
        std::copy_n(values.begin() + parameter.offset, parameter.size, into);
    });
    const HuggingFaceFolder folder = open_hugging_face(place.path());
    EXPECT_TRUE(folder.config.projection);
    EXPECT_EQ(remarks(folder), std::vector<std::string>{});
    const PackedBatch batch = random_batch(config, {9, 20, 1});
    const std::vector<float> before = hidden_of(model_of(config, values), batch);
    const std::vector<float> after = hidden_of(model_of(folder.config, parameters_of(folder)), batch);
    EXPECT_LE(deviation(after, before), tolerance);
    // Heads and pooler are not in the hidden state.
    for (const Parameter& parameter : layout.parameters) {
        const Parameter* const again = folder.layout.find(parameter.name);
        if (again == nullptr || parameter.name.find("layer_groups") != std::string::npos) continue;
        const std::vector<float> written = parameters_of(folder);
        EXPECT_TRUE(std::equal(values.begin() + parameter.offset, values.begin() + parameter.offset + parameter.size,
                               written.begin() + again->offset))
            << parameter.name;
    }
}

TEST(HuggingFace, GroupsAreRoundedAsInTransformers) {
    // Python: [int(i / (18 / 14)) for i in range(18)]; the exact quotient of iteration 9 is 7.
    const std::vector<std::int64_t> expected{0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11, 12, 13};
    ModelConfig config;
    config.layers = 18;
    config.groups = 14;
    for (std::int64_t i = 0; i < config.layers; ++i)
        EXPECT_EQ(group_of_iteration(config, i), expected[static_cast<std::size_t>(i)]) << i;
}

TEST(HuggingFaceExport, SharingOfEveryKind) {
    for (const Sharing sharing : {Sharing::all, Sharing::attention, Sharing::ffn, Sharing::none}) {
        ModelConfig config = small_config();
        config.layers = 4;
        config.inner = 2;
        config.sharing = sharing;
        config.groups = sharing == Sharing::none ? 1 : 2;
        SCOPED_TRACE(sharing_name(sharing));
        expect_same_after_export(config, 0);  // the same products of the same numbers
    }
}

TEST(HuggingFaceExport, IdentityForAModelWithoutProjection) {
    ModelConfig config = small_config();
    config.embedding = config.hidden;
    config.projection = false;
    // Products with one and sums with zeros are exact.
    expect_same_after_export(config, 0);
}

TEST(HuggingFaceExport, FilesOfATokenizer) {
    const Folder place;
    const Vocabulary vocabulary = default_vocabulary();
    const auto json = nlohmann::json::parse(tokenizer_json(vocabulary));
    for (std::int64_t id = 0; id < vocabulary.size(); ++id)
        EXPECT_EQ(json["model"]["vocab"][vocabulary.pieces[static_cast<std::size_t>(id)]], id);
    EXPECT_EQ(json["model"]["vocab"].size(), 34U);
    EXPECT_EQ(json["added_tokens"].size(), 5U);
    EXPECT_EQ(json["post_processor"]["special_tokens"]["[SEP]"]["ids"][0], vocabulary.sep);

    place.write("only.json", tokenizer_json(vocabulary));
    EXPECT_EQ(read_vocabulary(place.path("only.json").string()).pieces, vocabulary.pieces);
    fs::remove(place.path("only.json"));

    ModelConfig config = small_config();
    const std::vector<float> values = random_parameters(make_parameter_layout(config), 5);
    write_hugging_face(
        place.path(), config, vocabulary,
        [&](const Parameter& parameter, float* into) { std::copy_n(values.begin(), parameter.size, into); },
        content_of(golden / "zip" / "spiece.model"));
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(place.path())) names.insert(entry.path().filename().string());
    EXPECT_EQ(names, std::set<std::string>(exported_files().begin(), exported_files().end()));
    EXPECT_EQ(fs::file_size(place.path("model.safetensors")), exported_bytes(config));
    const auto settings = nlohmann::json::parse(content_of(place.path("config.json")));
    EXPECT_EQ(settings["hidden_act"], "gelu_new");
    EXPECT_EQ(settings["model_type"], "albert");
    EXPECT_EQ(settings["pad_token_id"], 0);
    EXPECT_FALSE(settings.contains("sharing"));
}

}  // namespace

}  // namespace protalbert::testing

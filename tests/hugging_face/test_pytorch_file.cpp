// Files of torch.save: both layouts, and everything that a hostile one may try.

#include <algorithm>

#include "base/random.hpp"
#include "files.hpp"
#include "io/pickle.hpp"
#include "io/pytorch_file.hpp"
#include "io/zip_archive.hpp"
#include "torch_files.hpp"

namespace protalbert::testing {

namespace {

const std::string four_floats =
    bytes_of(0x3F800000, 4) + bytes_of(0x40000000, 4) + bytes_of(0x40400000, 4) + bytes_of(0x40800000, 4);  // 1 2 3 4

std::string simple_tensor() { return tensor(storage("FloatStorage", "0", 4), 0, {2, 2}, {2, 1}); }

std::string refused(const std::string& content) {
    const Folder folder;
    const auto file = folder.write("pytorch_model.bin", content);
    const std::string message = message_of([&] { list_pytorch_file(file); });
    EXPECT_MESSAGE(message, "pytorch_model.bin");
    return message;
}

TEST(PyTorchFile, ReadsBothLayouts) {
    const Folder folder;
    const std::string one_key = proto + "]" + text("0") + "a.";
    const std::string pickle = dict({{"whole", simple_tensor()},
                                     {"turned", tensor(storage("FloatStorage", "0", 4), 0, {2, 2}, {1, 2})},
                                     {"part", tensor(storage("FloatStorage", "0", 4), 1, {3}, {1})}});
    for (const std::string& content :
         {zip_layout(pickle, four_floats), legacy_layout(pickle, one_key, bytes_of(4, 8) + four_floats)}) {
        const auto tensors = list_pytorch_file(folder.write("file", content)).tensors;
        ASSERT_EQ(tensors.size(), 3U);
        EXPECT_EQ(tensors[0].name, "part");
        EXPECT_EQ(read_values(tensors[0]), (std::vector<float>{2, 3, 4}));
        EXPECT_EQ(tensors[1].shape, (std::vector<std::int64_t>{2, 2}));
        EXPECT_EQ(read_values(tensors[1]), (std::vector<float>{1, 3, 2, 4}));
        EXPECT_EQ(read_values(tensors[2]), (std::vector<float>{1, 2, 3, 4}));
    }
}

TEST(PyTorchFile, CallsNothing) {
    // What "import pickle; pickle.loads" would execute.
    const std::string attack = proto + name("os", "system") + text("touch /tmp/attacked") + "\x85R.";
    EXPECT_MESSAGE(refused(zip_layout(attack, "")), "asks for os.system");
    EXPECT_MESSAGE(refused(attack), "os.system");
    EXPECT_MESSAGE(refused(legacy_layout(attack, "", "")), "os.system");
    for (const char* member : {"eval", "exec", "getattr", "__import__", "open"}) {
        EXPECT_MESSAGE(refused(zip_layout(dict({{"a", name("builtins", member)}}), "")), "asks for builtins");
    }
    EXPECT_MESSAGE(refused(zip_layout(dict({{"a", name("torch.storage", "_load_from_bytes")}}), "")), "asks for torch");
    // A known name that is called with something else, and a name made of a known one and more.
    EXPECT_MESSAGE(refused(zip_layout(proto + name("collections", "OrderedDict") + integer(1) + "\x85R.", "")),
                   "unexpected arguments");
    EXPECT_MESSAGE(refused(zip_layout(proto + name("torch", "FloatStorage") + ")R.", "")), "unexpected arguments");
    EXPECT_MESSAGE(refused(zip_layout(proto + name("torch", "FloatStorage.__init__") + ".", "")), "asks for torch");
    // Opcodes that make objects in other ways: INST, OBJ, NEWOBJ, EXT1, STACK_GLOBAL, PERSID.
    for (const char opcode : {'i', 'o', '\x81', '\x82', '\x93', 'P'})
        EXPECT_MESSAGE(refused(zip_layout(proto + "}" + opcode + "os\nsystem\n.", "")), "opcode 0x");
}

TEST(PyTorchFile, RefusesMalformedPickles) {
    const auto pickle = [](const std::string& body) { return refused(zip_layout(proto + body, four_floats)); };
    EXPECT_MESSAGE(pickle(""), "truncated");
    EXPECT_MESSAGE(pickle("."), "its stack");
    EXPECT_MESSAGE(pickle("t."), "mark");
    EXPECT_MESSAGE(pickle("(."), "its stack");
    EXPECT_MESSAGE(pickle("}u."), "mark");
    EXPECT_MESSAGE(pickle("}(" + text("a") + "u."), "without a value");
    EXPECT_MESSAGE(pickle("](" + text("a") + text("b") + "u."), "unexpected kind");
    EXPECT_MESSAGE(pickle("}(N" + text("b") + "u."), "key");
    EXPECT_MESSAGE(pickle("h\1."), "recalls");
    EXPECT_MESSAGE(pickle("q\1."), "remembers");
    EXPECT_MESSAGE(pickle("X\xFF\xFF\xFF\xFF."), "truncated");
    EXPECT_MESSAGE(pickle("cos"), "name does not end");
    EXPECT_MESSAGE(pickle("c" + std::string(100000, 'a')), "name does not end");
    EXPECT_MESSAGE(pickle("NQ."), "reference");
    EXPECT_MESSAGE(refused(zip_layout("\x80\5}.", "")), "protocol");
    EXPECT_MESSAGE(pickle("]."), "no dict of tensors");
    EXPECT_MESSAGE(pickle("N."), "no dict of tensors");
    EXPECT_MESSAGE(refused(zip_layout(dict({{"a", "N"}}), "")), "a is no tensor");
    EXPECT_MESSAGE(refused(zip_layout(dict({{"a", "}"}}), "")), "no model's tensors");
    EXPECT_MESSAGE(refused(zip_layout(proto + "}(K\1" + simple_tensor() + "u.", four_floats)), "no text");
    // Nested a million times, refused without recursion; a list that holds itself.
    EXPECT_MESSAGE(pickle("N" + std::string(2000000, '\x85') + "."), "a million opcodes");
    EXPECT_MESSAGE(pickle("N" + std::string(1000000, '\x85') + "."), "no dict");
    EXPECT_MESSAGE(pickle("]q\1h\1a."), "no dict");
    // A tuple of half a million, referred to half a million times.
    std::string many = "(";
    for (int i = 0; i < 300000; ++i) many += 'N';
    many += "tq\1";
    for (int i = 0; i < 300000; ++i) many += "h\1Q";
    EXPECT_MESSAGE(pickle(many + "."), "reference");
}

TEST(PyTorchFile, RefusesTensorsBeyondTheirElements) {
    const auto one = [](const std::string& value, const std::string& data = four_floats) {
        return refused(zip_layout(dict({{"t", value}}), data));
    };
    const std::string four = storage("FloatStorage", "0", 4);
    EXPECT_MESSAGE(one(tensor(four, 0, {5}, {1})), "tensor t of shape [5] reaches beyond its 4 elements");
    EXPECT_MESSAGE(one(tensor(four, 1, {2, 2}, {2, 1})), "beyond");
    EXPECT_MESSAGE(one(tensor(four, 0, {2, 2}, {3, 1})), "beyond");
    EXPECT_MESSAGE(one(tensor(four, 0, {0xFFFFFFFF, 2}, {2, 1})), "beyond");  // -1
    EXPECT_MESSAGE(one(tensor(four, 0, {2}, {0xFFFFFFFF})), "beyond");
    EXPECT_MESSAGE(one(tensor(four, 0xFFFFFFFF, {2}, {1})), "proper place");
    EXPECT_MESSAGE(one(tensor(four, 0, {2, 2}, {1})), "proper place");
    // Products of sizes and of strides beyond 64 bits.
    const std::uint64_t large = 0x7FFFFFFF;
    EXPECT_MESSAGE(one(tensor(four, 0, {large, large, large, large}, {1, 1, 1, 1})), "beyond");
    EXPECT_MESSAGE(one(tensor(four, 0, {large, large, large}, {0, 0, 0})), "t");
    // More elements in the pickle than in the archive.
    EXPECT_MESSAGE(one(tensor(storage("FloatStorage", "0", 5), 0, {5}, {1})), "tensor t has 16 bytes of elements");
    EXPECT_MESSAGE(one(tensor(storage("DoubleStorage", "0", 4), 0, {4}, {1})), "16 bytes");
    EXPECT_MESSAGE(one(tensor(storage("FloatStorage", "1", 4), 0, {4}, {1})), "missing");
    EXPECT_MESSAGE(one(tensor(storage("QInt8Storage", "0", 4), 0, {4}, {1})), "asks for torch.QInt8Storage");
    EXPECT_MESSAGE(one(tensor("N", 0, {4}, {1})), "without elements");
}

TEST(PyTorchFile, RefusesBadArchives) {
    const std::string pickle = dict({{"t", simple_tensor()}});
    const std::string good = zip_layout(pickle, four_floats);
    // A zip bomb: compressed, or of another size than it unpacks to.
    EXPECT_MESSAGE(refused(zip({{"archive/data.pkl", pickle, 8}, {"archive/data/0", four_floats}})), "is compressed");
    EXPECT_MESSAGE(refused(zip({{"archive/data.pkl", pickle}, {"archive/data/0", four_floats, 0, 3}})),
                   "is compressed");
    EXPECT_MESSAGE(refused(zip({{"archive/data.pkl", pickle, 0, 0, 1}})), "encrypted");
    EXPECT_MESSAGE(refused(zip({{"archive/data.pkl", pickle}, {"archive/data.pkl", pickle}})), "twice");
    EXPECT_MESSAGE(refused(zip({{"archive/other", pickle}})), "data.pkl");
    EXPECT_MESSAGE(
        refused(zip({{"archive/data.pkl", pickle}, {"archive/data/0", four_floats}, {"archive/byteorder", "big"}})),
        "big-endian");
    EXPECT_MESSAGE(refused(good.substr(0, good.size() - 1)), "directory");
    EXPECT_MESSAGE(refused(good + "more"), "directory");
    // Two entries at one place.
    std::string overlapping = good;
    const std::size_t second = overlapping.rfind("archive/data/0");
    overlapping.replace(second - 4, 4, bytes_of(0, 4));
    EXPECT_MESSAGE(refused(overlapping), "overlaps");
    // A directory of four gigabytes.
    std::string large = good;
    large.replace(large.size() - 10, 4, bytes_of(0xFFFFFF00, 4));
    EXPECT_MESSAGE(refused(large), "leaves the file");
    EXPECT_MESSAGE(refused("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull");
    EXPECT_MESSAGE(refused(""), "begins like no file");
    EXPECT_MESSAGE(refused("PK"), "directory");
    EXPECT_MESSAGE(refused("PK\3\4"), "directory");
}

TEST(PyTorchFile, RefusesBadOldFiles) {
    const std::string pickle = dict({{"t", simple_tensor()}});
    const std::string keys = proto + "]" + text("0") + "a.";
    EXPECT_MESSAGE(refused(legacy_layout(pickle, keys, bytes_of(5, 8) + four_floats)), "truncated");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, keys, bytes_of(~std::uint64_t{0}, 8) + four_floats)), "truncated");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, keys, bytes_of(3, 8) + four_floats)), "has 12 bytes");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, proto + "].", "")), "missing");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, proto + "}.", "")), "missing");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, proto + "]" + text("1") + "a.", "")), "no tensor uses");
    EXPECT_MESSAGE(refused(legacy_layout(pickle, keys, "")), "truncated");
    EXPECT_MESSAGE(refused(pickle), "mark");
    std::string other_end = legacy_layout(pickle, keys, bytes_of(4, 8) + four_floats);
    other_end[other_end.find("\x88u.")] = '\x89';
    EXPECT_MESSAGE(refused(other_end), "big-endian");
}

/// A dict within a pickle.
std::string inner(const std::vector<std::pair<std::string, std::string>>& items) {
    std::string pickle = "}(";
    for (const auto& [key, value] : items) pickle += text(key) + value;
    return pickle + "u";
}

// As training scripts save them: the model's dict under a key, beside others with tensors of their own.
TEST(PyTorchFile, FindsTheDictOfTheModel) {
    const Folder folder;
    const auto wanted = [](std::string_view name) { return name == "word"; };
    const std::string model = inner({{"word", simple_tensor()}});
    // Eight bytes in the file before the model's.
    const std::string moment = tensor(storage("LongStorage", "1", 1), 0, {1}, {1});
    const std::string optimizer =
        inner({{"state", std::string("}K\0", 3) + inner({{"step", moment}}) + "s"}, {"lr", "G12345678"}});
    const std::string keys = proto + "](" + text("1") + text("0") + "e.";
    const std::string data = bytes_of(1, 8) + bytes_of(7, 8) + bytes_of(4, 8) + four_floats;
    const auto check = [&](const std::string& pickle, const std::string& key) {
        const std::string zipped =
            zip({{"archive/data.pkl", pickle}, {"archive/data/0", four_floats}, {"archive/data/1", bytes_of(7, 8)}});
        for (const std::string& content : {zipped, legacy_layout(pickle, keys, data)}) {
            const PytorchTensors found = list_pytorch_file(folder.write("file", content), wanted);
            ASSERT_EQ(found.tensors.size(), 1U);
            EXPECT_EQ(found.key, key);
            EXPECT_EQ(found.tensors[0].name, "word");
            EXPECT_EQ(read_values(found.tensors[0]), (std::vector<float>{1, 2, 3, 4}));
        }
    };
    check(dict({{"state_dict", model}, {"optimizer", optimizer}, {"epoch", "K\3"}}), "state_dict");
    check(dict({{"optimizer", optimizer}, {"rng", inner({{"cpu", moment}})}, {"model", model}}), "model");
    check(dict({{"epoch", "K\3"}, {"checkpoint", inner({{"o", optimizer}, {"module", model}})}}), "checkpoint.module");
    check(dict({{"optimizer", optimizer},
                {"type", name("torch", "float16")},
                {"shapes", name("torch", "Size") + "(K\2K\3t\x85R"},
                {"module", model}}),
          "module");
    const auto refuse = [&](const std::string& pickle) {
        const auto file = folder.write("file", zip_layout(pickle, four_floats));
        return message_of([&] { list_pytorch_file(file, wanted); });
    };
    const std::string two = refuse(dict({{"model", model}, {"ema", inner({{"word", simple_tensor()}})}}));
    EXPECT_MESSAGE(two, "under the keys model and ema");
    EXPECT_MESSAGE(two, "[\"model\"]");
    EXPECT_MESSAGE(refuse(dict({{"weights", inner({{"other", simple_tensor()}})}, {"epoch", "K\3"}})),
                   "its keys are weights, epoch");
    // Dicts that hold themselves and one another end.
    EXPECT_MESSAGE(refuse(proto + "}q\1" + text("a") + "h\1s."), "its keys are a");
}

// Real files of both layouts, cut anywhere and changed anywhere.
TEST(PyTorchFile, SurvivesEveryDamage) {
    const Folder folder;
    for (const char* form : {"zip", "legacy"}) {
        const std::string good = content_of(std::string(GOLDEN_FOLDERS) + "/" + form + "/pytorch_model.bin");
        ASSERT_GT(good.size(), 30000U);
        const auto list = [&] { return list_pytorch_file(folder.path("damaged")).tensors; };
        folder.write("damaged", good);
        EXPECT_TRUE(survives(list)) << form;
        for (std::size_t length = 0; length < good.size(); length += length < 5000 ? 61 : 997) {
            folder.write("damaged", good.substr(0, length));
            EXPECT_FALSE(survives(list)) << form << " " << length;
        }
        // Mostly where the pickle and the directory are: the first and last bytes.
        RandomStream random(2, Purpose::bench, 1, 0);
        const std::size_t edge = 8000;
        for (int trial = 0; trial < 1500; ++trial) {
            std::string damaged = good;
            for (int i = 0; i < 1 + trial % 3; ++i) {
                const std::size_t place = random.below(edge);
                damaged[random.below(2) ? place : good.size() - 1 - place] = static_cast<char>(random.below(256));
            }
            folder.write("damaged", damaged);
            survives(list);
        }
    }
}

}  // namespace

}  // namespace protalbert::testing

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <numeric>

#include "base/error.hpp"
#include "io/hdf5.hpp"
#include "mpi_main.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

class Hdf5 : public testing::Test {
  protected:
    Hdf5() : world(Communicator::world()), folder(make_shared_folder("hdf5_test")) {}
    ~Hdf5() override { remove_shared_folder(folder); }

    /// Rows of this rank: rank r has a share of r + 1 parts, so the first ranks of few rows have none.
    Rows mine(std::uint64_t rows) const {
        const auto ranks = static_cast<std::uint64_t>(world.ranks()), rank = static_cast<std::uint64_t>(world.rank());
        const auto first = [&](std::uint64_t r) { return rows * r * (r + 1) / (ranks * (ranks + 1)); };
        return {first(rank), first(rank + 1) - first(rank)};
    }
    std::string message_of(const std::function<void()>& act) const {
        try {
            act();
        } catch (const InputError& error) {
            return error.what();
        }
        return "no InputError";
    }

    const Communicator world;
    const fs::path folder;
};

template <class Value>
void round_trip(Hdf5File& file, const std::string& name, Element element, const std::vector<std::uint64_t>& shape,
                Rows rows, bool independent) {
    SCOPED_TRACE(name);
    ASSERT_EQ(element_size(element), sizeof(Value));
    file.create_dataset(name, element, shape);
    const std::uint64_t row = std::accumulate(shape.begin() + 1, shape.end(), std::uint64_t{1}, std::multiplies<>());
    std::vector<Value> values(rows.count * row);
    std::iota(values.begin(), values.end(), static_cast<Value>(rows.first * row));
    if (independent)
        file.write_independent(name, values.data(), rows);
    else
        file.write(name, values.data(), rows);
}

template <class Value>
void expect_counted(const Hdf5File& file, const std::string& name, Element element,
                    const std::vector<std::uint64_t>& shape, Rows rows, bool independent) {
    SCOPED_TRACE(name);
    EXPECT_EQ(file.shape(name), shape);
    EXPECT_EQ(file.element(name), element);
    const std::uint64_t row = std::accumulate(shape.begin() + 1, shape.end(), std::uint64_t{1}, std::multiplies<>());
    std::vector<Value> values(rows.count * row), expected(rows.count * row);
    std::iota(expected.begin(), expected.end(), static_cast<Value>(rows.first * row));
    if (independent)
        file.read_independent(name, values.data(), rows);
    else
        file.read(name, values.data(), rows);
    EXPECT_EQ(values, expected);
}

TEST_F(Hdf5, RoundTripsEveryElement) {
    const std::string path = folder / "elements.h5";
    for (const bool independent : {false, true}) {
        Hdf5File file = Hdf5File::create(path, world);
        round_trip<std::uint8_t>(file, "/bytes", Element::uint8, {101}, mine(101), independent);
        round_trip<std::int32_t>(file, "/group/deep/int32", Element::int32, {7, 3}, mine(7), independent);
        round_trip<std::int64_t>(file, "/group/int64", Element::int64, {5, 2, 3}, mine(5), independent);
        round_trip<std::uint32_t>(file, "/uint32", Element::uint32, {1}, mine(1), independent);
        round_trip<std::uint64_t>(file, "/uint64", Element::uint64, {300000}, mine(300000), independent);
        round_trip<float>(file, "/float32", Element::float32, {1000, 513}, mine(1000), independent);
        round_trip<double>(file, "/float64", Element::float64, {12}, mine(12), independent);
        round_trip<float>(file, "/empty", Element::float32, {0, 4}, {0, 0}, independent);
        file.close();

        const Hdf5File again = Hdf5File::open(path, world);
        expect_counted<std::uint8_t>(again, "/bytes", Element::uint8, {101}, {0, 101}, independent);
        expect_counted<std::int32_t>(again, "/group/deep/int32", Element::int32, {7, 3}, {2, 4}, independent);
        expect_counted<std::int64_t>(again, "/group/int64", Element::int64, {5, 2, 3}, mine(5), independent);
        expect_counted<std::uint32_t>(again, "/uint32", Element::uint32, {1}, {0, 1}, independent);
        expect_counted<std::uint64_t>(again, "/uint64", Element::uint64, {300000}, mine(300000), independent);
        expect_counted<float>(again, "/float32", Element::float32, {1000, 513}, mine(1000), independent);
        expect_counted<double>(again, "/float64", Element::float64, {12}, {3, 5}, independent);
        expect_counted<float>(again, "/empty", Element::float32, {0, 4}, {0, 0}, independent);
        EXPECT_EQ(again.list("/"),
                  (std::vector<std::string>{"bytes", "empty", "float32", "float64", "group", "uint32", "uint64"}));
        EXPECT_EQ(again.list("/group"), (std::vector<std::string>{"deep", "int64"}));
        EXPECT_TRUE(again.exists("/group/deep/int32"));
        EXPECT_FALSE(again.exists("/group/shallow/int32"));
        const Hdf5File alone = Hdf5File::open_alone(path);
        expect_counted<float>(alone, "/float32", Element::float32, {1000, 513}, {999, 1}, true);
    }
}

TEST_F(Hdf5, DatasetsAreAlignedAndReadableBesideHdf5) {
    const std::string path = folder / "aligned.h5";
    Hdf5File file = Hdf5File::create(path, world);
    round_trip<std::uint64_t>(file, "/small", Element::uint64, {10}, mine(10), false);
    round_trip<std::uint64_t>(file, "/large", Element::uint64, {200000}, mine(200000), false);
    file.create_dataset("/empty", Element::uint8, {0});
    const std::uint64_t offset = file.file_offset("/large"), small = file.file_offset("/small");
    EXPECT_EQ(file.file_offset("/empty"), 0u);
    file.close();
    EXPECT_EQ(offset % (1 << 20), 0u);
    std::ifstream plain(path, std::ios::binary);
    std::uint64_t number = 0;
    plain.seekg(static_cast<std::streamoff>(offset + 8 * 199999));
    plain.read(reinterpret_cast<char*>(&number), sizeof number);
    EXPECT_EQ(number, 199999u);
    plain.seekg(static_cast<std::streamoff>(small + 8 * 9));
    plain.read(reinterpret_cast<char*>(&number), sizeof number);
    EXPECT_EQ(number, 9u);
}

TEST_F(Hdf5, StringsRoundTrip) {
    const std::string path = folder / "strings.h5";
    const std::vector<std::string> words = {"[PAD]", "", "\u2581A", "exactly ten", "ß", "z"};
    Hdf5File file = Hdf5File::create(path, world);
    file.create_strings("/words", words.size(), 11);
    const Rows rows = mine(words.size());
    file.write_strings("/words", {words.begin() + rows.first, words.begin() + rows.first + rows.count}, rows.first);
    file.create_strings("/none", 0, 0);
    file.write_strings("/none", {}, 0);
    EXPECT_THROW(file.write_strings("/words", {"longer than that"}, 0), Error);
    file.close();
    const Hdf5File again = Hdf5File::open(path, world);
    EXPECT_EQ(again.read_strings("/words"), words);
    EXPECT_EQ(again.read_strings("/words", {2, 1}), std::vector<std::string>{words[2]});
    EXPECT_TRUE(again.read_strings("/none").empty());
}

TEST_F(Hdf5, AttributesRoundTrip) {
    const std::string path = folder / "attributes.h5";
    const std::string long_text(300000, 'x');  // above HDF5's 64 KiB for an attribute inside a header
    Hdf5File file = Hdf5File::create(path, world);
    file.create_dataset("/group/data", Element::uint8, {1});
    write_format(file, "protalbert test", 3);
    file.set_attribute("/", "text", "first");
    file.set_attribute("/", "text", "replaced: \u2581");
    file.set_attribute("/", "empty", "");
    file.set_attribute("/", "long", long_text);
    file.set_attribute("/group", "integer", std::int64_t{-5});
    file.set_attribute("/group/data", "unsigned", ~std::uint64_t{0});
    file.set_attribute("/group/data", "number", 0.1);
    for (int i = 0; i < 30; ++i) file.set_attribute("/group/data", "many" + std::to_string(i), std::int64_t{i});
    file.close();
    Hdf5File again = Hdf5File::open(path, world, true);
    EXPECT_EQ(again.text_attribute("/", "text"), "replaced: \u2581");
    EXPECT_EQ(again.text_attribute("/", "empty"), "");
    EXPECT_EQ(again.text_attribute("/", "long"), long_text);
    EXPECT_EQ(again.integer_attribute("/group", "integer"), -5);
    EXPECT_EQ(again.unsigned_attribute("/group/data", "unsigned"), ~std::uint64_t{0});
    EXPECT_EQ(again.number_attribute("/group/data", "number"), 0.1);
    EXPECT_EQ(again.number_attribute("/group", "integer"), -5.0);
    EXPECT_EQ(again.integer_attribute("/group/data", "many29"), 29);
    EXPECT_TRUE(again.has_attribute("/group", "integer"));
    EXPECT_FALSE(again.has_attribute("/group", "absent"));
    EXPECT_FALSE(again.has_attribute("/absent", "absent"));
    again.set_attribute("/group", "integer", std::int64_t{6});
    again.close();

    const Hdf5File last = Hdf5File::open(path, world);
    EXPECT_EQ(last.integer_attribute("/group", "integer"), 6);
    EXPECT_NE(message_of([&] { last.text_attribute("/", "absent"); }).find("attribute absent is missing"),
              std::string::npos);
    EXPECT_NE(message_of([&] { last.text_attribute("/group", "integer"); }).find("is not a string"), std::string::npos);
    EXPECT_NE(message_of([&] { last.integer_attribute("/", "text"); }).find("whole number"), std::string::npos);
    EXPECT_NE(message_of([&] { last.integer_attribute("/group/data", "number"); }).find("whole number"),
              std::string::npos);
    EXPECT_NO_THROW(check_format(last, "protalbert test", 3));
    EXPECT_NE(message_of([&] { check_format(last, "protalbert corpus", 3); }).find("is a protalbert test, not"),
              std::string::npos);
    EXPECT_NE(message_of([&] { check_format(last, "protalbert test", 2); }).find("version 3"), std::string::npos);
}

TEST_F(Hdf5, RefusesWhatIsNotThere) {
    const std::string path = folder / "some.h5";
    const auto open = [&](const std::string& name) {
        return message_of([&] { Hdf5File::open(folder / name, world); });
    };
    EXPECT_NE(open("absent.h5").find("absent.h5: No such file"), std::string::npos) << open("absent.h5");
    EXPECT_NE(open("").find("is a folder"), std::string::npos);
    if (world.root()) std::ofstream(folder / "text.h5") << "MKVLAA\n";
    world.barrier();
    EXPECT_NE(open("text.h5").find("text.h5 is not an HDF5 file"), std::string::npos);

    EXPECT_THROW(Hdf5File::create(folder / "absent" / "some.h5", world), InputError);
    EXPECT_THROW(Hdf5File::create(folder, world), InputError);

    Hdf5File file = Hdf5File::create(path, world);
    file.create_dataset("/group/data", Element::uint8, {4});
    EXPECT_NE(message_of([&] { file.shape("/group/absent"); }).find("some.h5 has no /group/absent"), std::string::npos);
    EXPECT_NE(message_of([&] { file.shape("/group"); }).find("/group is not a dataset"), std::string::npos);
    EXPECT_NE(message_of([&] { file.list("/absent"); }).find("has no /absent"), std::string::npos);
    EXPECT_NE(message_of([&] { file.read_strings("/group/data"); }).find("strings"), std::string::npos);
    std::uint8_t bytes[8] = {};
    EXPECT_THROW(file.read("/group/data", bytes, {2, 3}), Error);
    EXPECT_THROW(file.read("/group/data", bytes, {~std::uint64_t{0}, 2}), Error);
    EXPECT_THROW(file.create_dataset("/group/data", Element::uint8, {4}), Error);
    file.close();
}

TEST_F(Hdf5, RefusesTruncatedFiles) {
    const fs::path path = folder / "whole.h5";
    Hdf5File file = Hdf5File::create(path, world);
    round_trip<std::uint64_t>(file, "/data", Element::uint64, {200000}, mine(200000), false);
    file.set_attribute("/", "text", std::string(5000, 'x'));
    file.close();
    const std::uintmax_t size = fs::file_size(path);
    for (const std::uintmax_t length :
         {size - 1, size / 2, std::uintmax_t{100}, std::uintmax_t{9}, std::uintmax_t{0}}) {
        const fs::path cut = folder / ("cut_" + std::to_string(length) + ".h5");
        if (world.root()) {
            fs::copy_file(path, cut);
            fs::resize_file(cut, length);
        }
        world.barrier();
        const std::string message = message_of([&] { Hdf5File::open(cut, world); });
        EXPECT_TRUE(message.find("is damaged or incomplete") != std::string::npos ||
                    message.find("is not an HDF5 file") != std::string::npos)
            << message;
        EXPECT_NE(message.find(cut.string()), std::string::npos) << message;
    }
}

TEST_F(Hdf5, MovesAndReplaces) {
    const std::string first_path = folder / "first.h5", second_path = folder / "second.h5";
    Hdf5File file = Hdf5File::create(first_path, world);
    file.create_dataset("/data", Element::uint8, {4});
    Hdf5File other = Hdf5File::create(second_path, world);
    file = std::move(other);
    EXPECT_EQ(file.path(), second_path);
    EXPECT_FALSE(file.exists("/data"));
    file.close();
    Hdf5File again = Hdf5File::open(first_path, world);
    EXPECT_EQ(again.shape("/data"), std::vector<std::uint64_t>{4});
}

// Written here, read by h5py: the point of the format.
TEST_F(Hdf5, H5pyReadsEverything) {
    if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) GTEST_SKIP() << "python3-h5py is not there";
    const std::string path = folder / "h5py.h5";
    Hdf5File file = Hdf5File::create(path, world);
    write_format(file, "protalbert test", 1);
    file.set_attribute("/", "long", std::string(100000, 'y'));
    file.set_attribute("/", "step", std::uint64_t{7});
    file.set_attribute("/", "entropy", 2.5);
    round_trip<float>(file, "/parameters/a.b.weight", Element::float32, {6, 5}, mine(6), false);
    file.create_dataset("/half", Element::float16, {4});
    const std::uint16_t halves[4] = {0x3C00, 0xC000, 0x7BFF, 0x0001};  // 1, -2, 65504, 2^-24
    const Rows rows = mine(4);
    file.write("/half", halves + rows.first, rows);
    EXPECT_EQ(file.element("/half"), Element::float16);
    file.create_strings("/ids", 2, 8);
    file.write_strings("/ids", world.root() ? std::vector<std::string>{"P12345", "ß"} : std::vector<std::string>{}, 0);
    file.close();
    world.barrier();
    if (!world.root()) return;
    const fs::path script = folder / "read.py";
    std::ofstream(script) << R"(
import sys, h5py, numpy as np
f = h5py.File(sys.argv[1], "r")
assert f.attrs["format"] == "protalbert test" and isinstance(f.attrs["format"], str), f.attrs["format"]
assert isinstance(f.attrs["program"], str) and f.attrs["program"].startswith("protalbert"), f.attrs["program"]
assert f.attrs["version"] == 1 and f.attrs["step"] == 7 and f.attrs["entropy"] == 2.5
assert f.attrs["long"] == "y" * 100000
weight = f["parameters/a.b.weight"]
assert weight.dtype == np.float32 and weight.chunks is None
assert (weight[:] == np.arange(30, dtype=np.float32).reshape(6, 5)).all()
assert f["half"].dtype == np.float16 and f["half"][:].tolist() == [1.0, -2.0, 65504.0, 2.0**-24], f["half"][:]
assert [s.decode() for s in f["ids"][:]] == ["P12345", "ß"] and f["ids"].asstr()[1] == "ß"
)";
    EXPECT_EQ(std::system(("/usr/bin/python3 " + script.string() + " " + path).c_str()), 0);
}

}  // namespace
}  // namespace protalbert

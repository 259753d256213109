// The safetensors format: what is written is read, conversions are exact, and damaged files are refused.

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/finite.hpp"
#include "base/random.hpp"
#include "files.hpp"
#include "io/safetensors.hpp"

namespace protalbert::testing {

namespace {

std::string safetensors(const std::string& header, const std::string& data) {
    return bytes_of(header.size(), 8) + header + data;
}

/// The message about a file with this header and so many bytes of data.
std::string refused(const Folder& folder, const std::string& header, std::size_t data_bytes) {
    const auto file = folder.write("bad.safetensors", safetensors(header, std::string(data_bytes, '\1')));
    const std::string message = message_of([&] { list_safetensors(file); });
    EXPECT_MESSAGE(message, "bad.safetensors");
    return message;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
    return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

TEST(Safetensors, WhatIsWrittenIsRead) {
    const Folder folder;
    const std::vector<TensorShape> shapes{
        {"b.weight", {2, 3}}, {"a", {4}}, {"empty", {0, 7}}, {"\"quoted\" é", {1, 1}}};
    // Every bit counts: zeros with a sign, the smallest number, infinities, a NaN with a message.
    const std::vector<std::vector<float>> values{{1.5F, -0.0F, std::numeric_limits<float>::denorm_min(), INFINITY,
                                                  -INFINITY, std::bit_cast<float>(std::uint32_t{0x7FC12345})},
                                                 {0.1F, 0.2F, 0.3F, 0.4F},
                                                 {},
                                                 {42}};
    SafetensorsWriter writer(folder.path("w.safetensors"), shapes);
    for (const auto& tensor : values) writer.write(tensor.data());
    writer.finish();
    EXPECT_EQ(std::filesystem::file_size(folder.path("w.safetensors")), safetensors_bytes(shapes));

    const std::vector<StoredTensor> tensors = list_safetensors(folder.path("w.safetensors"));
    ASSERT_EQ(tensors.size(), shapes.size());
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        EXPECT_EQ(tensors[i].name, shapes[i].name);
        EXPECT_EQ(tensors[i].shape, shapes[i].shape);
        EXPECT_EQ(tensors[i].element, "float32");
        // The format wants data aligned for the widest type.
        EXPECT_EQ(tensors[0].position % 8, 0U);
        const std::vector<float> read = read_values(tensors[i]);
        ASSERT_EQ(read.size(), values[i].size());
        const std::size_t bytes = read.size() * sizeof(float);
        EXPECT_TRUE(bytes == 0 || std::memcmp(read.data(), values[i].data(), bytes) == 0) << shapes[i].name;
    }
}

TEST(Safetensors, HalvesAreConvertedExactly) {
    const Folder folder;
    std::string data;
    for (std::uint32_t half = 0; half < 65536; ++half) data += bytes_of(half, 2);
    const std::string header = "{" + entry("f", "F16", "[256,256]", "[0,131072]") + "," +
                               entry("b", "BF16", "[65536]", "[131072,262144]") + "}";
    const auto tensors = list_safetensors(folder.write("halves", safetensors(header, data + data)));
    const std::vector<float> float16 = read_values(tensors.at(0));
    const std::vector<float> bfloat16 = read_values(tensors.at(1));
    // Sign, exponent and fraction by the definition of such numbers.
    const auto by_definition = [](std::uint32_t half, int fraction_bits) {
        const int exponent_bits = 15 - fraction_bits;
        const int bias = (1 << (exponent_bits - 1)) - 1;
        const double fraction = std::ldexp(half & ((1U << fraction_bits) - 1), -fraction_bits);
        const int exponent = static_cast<int>(half >> fraction_bits & ((1U << exponent_bits) - 1));
        double value = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
        if (exponent == (1 << exponent_bits) - 1) value = fraction == 0 ? INFINITY : NAN;
        return half >> 15 ? -value : value;
    };
    for (std::uint32_t half = 0; half < 65536; ++half) {
        for (const auto& [values, fraction_bits] : {std::pair(&float16, 10), std::pair(&bfloat16, 7)}) {
            const double expected = by_definition(half, fraction_bits);
            const double actual = (*values)[half];
            ASSERT_TRUE(std::isnan(expected) ? std::isnan(actual) : actual == expected) << half << " " << fraction_bits;
            ASSERT_TRUE(std::isnan(expected) || std::signbit(actual) == (half >> 15 == 1)) << half;
        }
    }
}

TEST(Safetensors, OrdersOfMatrices) {
    const Folder folder;
    // Wider than the reader's buffer of 4 MiB, so that a transposed matrix is read in several pieces.
    const std::int64_t rows = 1500;
    const std::int64_t columns = 1100;
    std::vector<float> stored(static_cast<std::size_t>(rows * columns));
    for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<float>(i);
    const std::string data(reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(float));
    StoredTensor tensor{"t", "float32", {columns, rows}, {1, columns}, folder.write("t", "four" + data), 4};
    std::vector<float> values = read_values(tensor);
    for (std::int64_t row = 0; row < columns; ++row)
        for (std::int64_t column = 0; column < rows; ++column)
            ASSERT_EQ(values[static_cast<std::size_t>(row * rows + column)],
                      static_cast<float>(column * columns + row));
    // Rows with something between them.
    tensor.shape = {3, 5};
    tensor.strides = {columns, 1};
    values = read_values(tensor);
    for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(values[i], static_cast<float>(i / 5 * columns + i % 5));
    // One row or one column has no order.
    tensor.shape = {1, 5};
    tensor.strides = {1, 1};
    EXPECT_EQ(read_values(tensor), (std::vector<float>{0, 1, 2, 3, 4}));
    // A repeated row is refused, as is any order of more dimensions.
    tensor.shape = {3, 5};
    tensor.strides = {0, 1};
    EXPECT_MESSAGE(message_of([&] { read_values(tensor); }), "contiguous");
    tensor.shape = {2, 3, 5};
    tensor.strides = {1, 2, 6};
    EXPECT_MESSAGE(message_of([&] { read_values(tensor); }), "contiguous");
    tensor.element = "int64";
    EXPECT_MESSAGE(message_of([&] { read_values(tensor); }),
                   "tensor t is stored as int64, which is not read; save the model in float32");
}

// Types that are not read, of less than a byte and of no known size among them: no damage, and named when they are
// wanted.
TEST(Safetensors, NamesTypesThatAreNotRead) {
    const Folder folder;
    for (const char* type : {"F8_E8M0", "F8_E4M3", "F8_E5M2FNUZ", "U8", "F4", "F6_E2M3", "I4", "F128"}) {
        const std::string shape = std::string(type) == "F4" || std::string(type) == "I4" ? "[16]" : "[8]";
        const std::string header =
            fmt::format("{{{},{}}}", entry("t", type, shape, "[0,8]"), entry("u", "F32", "[1]", "[8,12]"));
        const auto tensors = list_safetensors(folder.write("types", safetensors(header, std::string(12, '\0'))));
        EXPECT_EQ(read_values(tensors.at(1)), std::vector<float>{0}) << type;
        const std::string message = message_of([&] { require_readable_type(tensors.at(0)); });
        EXPECT_MESSAGE(message, "tensor t is stored as ");
        EXPECT_MESSAGE(message, std::string(type) == "U8" ? "uint8" : type);
        EXPECT_MESSAGE(message, "save the model in float32, float16 or bfloat16");
        EXPECT_EQ(message.find("damaged"), std::string::npos) << message;
    }
}

// In every order of elements, of every type, and behind the first piece that is read.
TEST(Safetensors, FindsWhatIsNotFinite) {
    const Folder folder;
    const std::int64_t size = 700;  // 490,000 floats are more than a piece
    for (const float bad : {NAN, INFINITY, -INFINITY, -NAN, 1e38F}) {
        for (const std::int64_t place : {std::int64_t{0}, size * size / 2 + 3, size * size - 1}) {
            std::vector<float> values(static_cast<std::size_t>(size * size), -0.5F);
            values[static_cast<std::size_t>(place)] = bad;
            const std::string data(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
            StoredTensor tensor{"t", "float32", {size, size}, {size, 1}, folder.write("t", data), 0};
            std::vector<float> read(values.size());
            EXPECT_EQ(read_tensor(tensor, read.data()), std::isfinite(bad)) << bad << " at " << place;
            const std::string expected =
                fmt::format("1 of its 490000 values is no finite number, the first is {} at [{}, {}]", bad,
                            place / size, place % size);
            if (!std::isfinite(bad)) {
                EXPECT_EQ(describe_not_finite(read.data(), tensor.shape), expected);
            }
            tensor.strides = {1, size};
            EXPECT_EQ(read_tensor(tensor, read.data()), std::isfinite(bad)) << bad << " at " << place;
            // The first column alone.
            tensor.shape = {size, 1};
            tensor.strides = {size, 1};
            EXPECT_EQ(read_tensor(tensor, read.data()), std::isfinite(bad) || place % size != 0) << bad << place;
        }
    }
    for (const auto& [type, bits] : {std::pair("float16", 0x7C00), std::pair("float16", 0xFE00),
                                     std::pair("bfloat16", 0x7F80), std::pair("bfloat16", 0xFFC0)}) {
        const auto file = folder.write("h", bytes_of(0x3C00, 2) + bytes_of(static_cast<std::uint64_t>(bits), 2));
        std::vector<float> read(2);
        EXPECT_FALSE(read_tensor({"t", type, {2}, {1}, file, 0}, read.data())) << type << bits;
        EXPECT_TRUE(read_tensor({"t", type, {1}, {1}, file, 0}, read.data())) << type << bits;
    }
    const std::vector<float> three{1, NAN, 2, INFINITY, NAN, 3};
    EXPECT_EQ(describe_not_finite(three.data(), {2, 3}),
              "3 of its 6 values are no finite numbers, the first is nan at [0, 1]");
}

TEST(Safetensors, RefusesWhatIsDamaged) {
    const Folder folder;
    const std::string good = "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[1]", "[8,12]") + "}";
    EXPECT_EQ(list_safetensors(folder.write("good", safetensors(good, std::string(12, '\0')))).size(), 2U);
    EXPECT_MESSAGE(refused(folder, good, 11), "there are 11 bytes");
    EXPECT_MESSAGE(refused(folder, good, 13), "1 bytes behind the last tensor");
    const auto two = [&](const std::string& offsets) {
        return "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[1]", offsets) + "}";
    };
    EXPECT_MESSAGE(refused(folder, two("[4,8]"), 12), "tensor b overlaps a");
    EXPECT_MESSAGE(refused(folder, two("[0,4]"), 8), "overlaps");
    EXPECT_MESSAGE(refused(folder, two("[9,13]"), 13), "tensor b leaves a gap behind a");
    EXPECT_MESSAGE(refused(folder, two("[12,8]"), 12), "tensor b");
    EXPECT_MESSAGE(refused(folder, two("[8,18446744073709551615]"), 12), "tensor b");
    EXPECT_MESSAGE(refused(folder, two("[-4,0]"), 12), "data_offsets");
    EXPECT_MESSAGE(refused(folder, two("[8]"), 12), "data_offsets");
    EXPECT_MESSAGE(refused(folder, two("{}"), 12), "data_offsets");
    const auto one = [&](const std::string& dtype, const std::string& shape) {
        return refused(folder, "{" + entry("t", dtype, shape, "[0,8]") + "}", 8);
    };
    EXPECT_MESSAGE(one("F32", "[3]"), "tensor t of shape [3]");
    EXPECT_MESSAGE(one("F8_E8M0", "[9]"), "F8_E8M0");
    EXPECT_MESSAGE(one("F32", "[-2]"), "shape");
    EXPECT_MESSAGE(one("F32", "2"), "shape");
    // Sizes whose product is 2 in 64 bits: (2^63 + 1) * 2, and one of 2^32 * 2^32 that is 0.
    EXPECT_MESSAGE(one("F32", "[9223372036854775809,2]"), "tensor t");
    EXPECT_MESSAGE(one("F32", "[4294967296,4294967296]"), "tensor t");
    EXPECT_MESSAGE(refused(folder, "{" + entry("t", "F32", "[0,4294967296,4294967296,9]", "[0,8]") + "}", 8),
                   "tensor t");
    EXPECT_MESSAGE(
        refused(folder, "{" + entry("t", "F32", "[2]", "[0,8]") + "," + entry("t", "F32", "[2]", "[0,8]") + "}", 8),
        "occurs twice");
    EXPECT_MESSAGE(refused(folder, "{\"t\": 5}", 0), "tensor t");
    EXPECT_MESSAGE(refused(folder, "{\"t\": ", 0), "not valid JSON");
    EXPECT_MESSAGE(refused(folder, "[]", 0), "no JSON object");
    EXPECT_MESSAGE(refused(folder, std::string(1000000, '['), 0), "nested too deeply");
}

TEST(Safetensors, RefusesWhatIsNone) {
    const Folder folder;
    const auto refused = [&](const std::string& content) {
        return message_of([&] { list_safetensors(folder.write("bad", content)); });
    };
    EXPECT_MESSAGE(refused(""), "truncated");
    EXPECT_MESSAGE(refused("1234567"), "truncated");
    EXPECT_MESSAGE(refused(bytes_of(100, 8) + "{}"), "truncated");
    EXPECT_MESSAGE(refused(bytes_of(std::uint64_t{5} << 30, 8) + "{}"), "a header of 5368709120 bytes");
    EXPECT_MESSAGE(refused(bytes_of(~std::uint64_t{0}, 8) + "{}"), "a header of");
    EXPECT_MESSAGE(refused("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull");
    EXPECT_MESSAGE(message_of([&] { list_safetensors(folder.path("missing")); }), "missing");
    EXPECT_MESSAGE(message_of([&] { list_safetensors(folder.path()); }), "folder");
    EXPECT_MESSAGE(message_of([&] { list_safetensors("/dev/zero"); }), "device");
}

TEST(Safetensors, SurvivesEveryDamage) {
    const Folder folder;
    const std::string good =
        safetensors("{\"__metadata__\":{\"format\":\"pt\"}," + entry("a", "F32", "[2,3]", "[0,24]") + "," +
                        entry("b", "F16", "[4]", "[24,32]") + "}",
                    std::string(32, '\2'));
    const auto list = [&] { return list_safetensors(folder.path("damaged")); };
    for (std::size_t length = 0; length < good.size(); ++length) {
        folder.write("damaged", good.substr(0, length));
        EXPECT_FALSE(survives(list)) << length;
    }
    RandomStream random(1, Purpose::bench, 1, 0);
    for (int trial = 0; trial < 3000; ++trial) {
        std::string damaged = good;
        for (int i = 0; i < 1 + trial % 3; ++i)
            damaged[random.below(good.size())] = static_cast<char>(random.below(256));
        folder.write("damaged", damaged);
        survives(list);
    }
}

}  // namespace

}  // namespace protalbert::testing

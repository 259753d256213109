// HDF5 files that are whole and hold other things than they should. The input is a recipe: the format of the file (and,
// in bit 7, whether it gets a seal), then a byte for each attribute and dataset that a reader asks for: 0 makes it as
// it should be, anything else in one of many other ways, which may take more bytes. An empty input is a good
// checkpoint.

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <variant>

#include "data/corpus.hpp"
#include "embed/output.hpp"
#include "fuzzing.hpp"
#include "io/checkpoint.hpp"
#include "io/seal.hpp"
#include "probe/head_file.hpp"

using namespace protalbert;
using namespace fuzzing;

namespace {

using Number = std::variant<std::uint64_t, double, std::string>;

struct Attribute {
    const char* object;
    const char* name;
    Number value;
};
struct Dataset {
    const char* name;
    std::vector<hsize_t> shape;
    std::variant<std::vector<std::uint8_t>, std::vector<std::uint32_t>, std::vector<std::uint64_t>, std::vector<float>,
                 std::vector<std::string>>
        values;
};
struct Description {
    std::vector<Dataset> datasets;
    std::vector<Attribute> attributes;  // of datasets and of the file
};

std::vector<std::string> pieces() { return default_vocabulary().pieces; }

const std::array<Description, 4>& descriptions() {
    static const std::array<Description, 4> known{
        Description{{{"/vocabulary", {34}, pieces()},
                     {"/parameters", {}, {}},
                     {"/parameters/a", {2, 2}, std::vector<float>{1, 2, 3, 4}}},
                    {{"/", "format", "protalbert checkpoint"},
                     {"/", "version", std::uint64_t{1}},
                     {"/", "step", std::uint64_t{3}},
                     {"/", "samples", std::uint64_t{30}},
                     {"/", "deck", "[train]"},
                     {"/", "config", "{}"},
                     {"/", "corpus_hash", std::uint64_t{1}},
                     {"/", "program", "a program"},
                     {"/", "xxh3_64", std::uint64_t{0}},
                     {"/parameters/a", "xxh3_64", std::uint64_t{0}}}},
        Description{{{"/vocabulary", {34}, pieces()},
                     {"/tokens", {6}, std::vector<std::uint8_t>{13, 14, 15, 16, 17, 18}},
                     {"/offsets", {3}, std::vector<std::uint64_t>{0, 4, 6}},
                     {"/documents", {3}, std::vector<std::uint64_t>{0, 1, 2}},
                     {"/checksums", {2}, std::vector<std::uint32_t>{1, 2}}},
                    {{"/", "format", "protalbert corpus"},
                     {"/", "version", std::uint64_t{1}},
                     {"/", "hash", std::uint64_t{5}},
                     {"/", "entropy", 2.5}}},
        Description{
            {{"/parameters", {}, {}}, {"/parameters/first.weight", {32, 21, 7}, std::vector<float>(32 * 21 * 7)}},
            {{"/", "format", "protalbert head"},
             {"/", "version", std::uint64_t{1}},
             {"/", "config",
              R"({"task":"secondary_structure","features":21,"channels":32,"window":7,"dropout":0.25,)"
              R"("kinds":{"disorder":["ordered","disordered"]}})"},
             {"/", "encoder", ""},
             {"/", "checkpoint_hash", std::uint64_t{0}},
             {"/", "piece_length", std::uint64_t{0}},
             {"/", "training", "{}"}}},
        Description{{},
                    {{"/", "format", "protalbert embeddings"},
                     {"/", "version", std::uint64_t{1}},
                     {"/", "input_hash", std::uint64_t{0}},
                     {"/", "checkpoint_hash", std::uint64_t{0}},
                     {"/", "options", ""}}}};
    return known;
}

/// An HDF5 identifier, which may be invalid: HDF5 refuses some of the recipes.
struct Id {
    hid_t id;
    herr_t (*close)(hid_t);
    Id(hid_t opened, herr_t (*how)(hid_t)) : id(opened), close(how) {}
    ~Id() {
        if (id >= 0) close(id);
    }
    Id(const Id&) = delete;
    Id& operator=(const Id&) = delete;
    operator hid_t() const { return id; }
};

hid_t text_type(std::size_t length) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, length);
    return type;
}

/// A type that the input chooses.
hid_t some_type(std::string_view& bytes) {
    const unsigned choice = take_byte(bytes) % 18;
    switch (choice) {
        case 0:
            return H5Tcopy(H5T_STD_U8LE);
        case 1:
            return H5Tcopy(H5T_STD_I64BE);
        case 2:
            return H5Tcopy(H5T_STD_U64LE);
        case 3:
            return H5Tcopy(H5T_STD_U32LE);
        case 4:
            return H5Tcopy(H5T_IEEE_F32LE);
        case 5:
            return H5Tcopy(H5T_IEEE_F64BE);
        case 6:
            return text_type(1 + take_byte(bytes));
        case 7:
            return text_type(std::size_t{1} << take_byte(bytes) % 31);
        case 8:
            return text_type(H5T_VARIABLE);
        case 9:
            return H5Tcreate(H5T_OPAQUE, 7);
        case 10: {
            const hid_t type = H5Tenum_create(H5T_STD_I32LE);
            const std::int32_t value = 1;
            H5Tenum_insert(type, "one", &value);
            return type;
        }
        case 11: {
            const hid_t type = H5Tcreate(H5T_COMPOUND, 12);
            H5Tinsert(type, "first", 0, H5T_STD_U64LE);
            H5Tinsert(type, "second", 8, H5T_IEEE_F32LE);
            return type;
        }
        case 12: {
            const hsize_t sizes[] = {1 + take_byte(bytes)};
            return H5Tarray_create2(H5T_STD_U8LE, 1, sizes);
        }
        case 13:
            return H5Tcopy(H5T_STD_REF_OBJ);
        case 14:
            return H5Tvlen_create(H5T_STD_U8LE);
        case 15:
            return H5Tcopy(H5T_STD_B16LE);
        case 16: {
            // Whole numbers of any width, with bits left over.
            const hid_t type = H5Tcopy(H5T_STD_U64LE);
            H5Tset_precision(type, 1 + take_byte(bytes) % 64);
            H5Tset_size(type, 8 + take_byte(bytes) % 16);
            return type;
        }
        default:
            return H5Tcopy(H5T_UNIX_D64LE);
    }
}

std::vector<hsize_t> some_shape(std::string_view& bytes) {
    std::vector<hsize_t> shape(take_byte(bytes) % 5);
    for (hsize_t& size : shape) {
        const unsigned choice = take_byte(bytes);
        size = choice < 64 ? choice : hsize_t{1} << choice % 64;
    }
    return shape;
}

hid_t some_space(std::string_view& bytes) {
    const unsigned choice = take_byte(bytes) % 4;
    if (choice == 0) return H5Screate(H5S_SCALAR);
    if (choice == 1) return H5Screate(H5S_NULL);
    const std::vector<hsize_t> shape = some_shape(bytes);
    return H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
}

void make_attribute(hid_t file, const Attribute& attribute, std::string_view& bytes) {
    const Id owner(H5Oopen(file, attribute.object, H5P_DEFAULT), H5Oclose);
    if (owner < 0) return;
    const unsigned choice = take_byte(bytes) % 8;
    if (choice == 1) return;  // missing
    if (choice >= 4) {
        // Of another type or shape, with elements from the input.
        const Id type(choice == 4 ? H5Tcopy(H5T_STD_I64LE) : some_type(bytes), H5Tclose);
        const Id space(choice == 5 ? H5Screate(H5S_SCALAR) : some_space(bytes), H5Sclose);
        const hssize_t points = H5Sget_simple_extent_npoints(space);
        const std::size_t size = H5Tget_size(type);
        // Attributes are written whole.
        constexpr std::size_t most = 1 << 20;
        if (points < 0 || size == 0 || static_cast<std::size_t>(points) > most / size) return;
        const Id made(H5Acreate2(owner, attribute.name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        const H5T_class_t kind = H5Tget_class(type);
        if (made < 0 || points <= 0 || points > 64 || size > 256 || kind == H5T_VLEN || kind == H5T_REFERENCE ||
            (kind == H5T_STRING && H5Tis_variable_str(type) > 0))
            return;
        std::string content(static_cast<std::size_t>(points) * size, '\0');
        for (char& byte : content) byte = static_cast<char>(take_byte(bytes));
        H5Awrite(made, type, content.data());
        return;
    }
    Number value = attribute.value;
    if (choice == 2) {
        // A text or number of the input's own.
        if (std::holds_alternative<std::string>(value)) {
            const std::size_t length = std::min<std::size_t>(take_byte(bytes), bytes.size());
            value = std::string(bytes.substr(0, length));
            bytes.remove_prefix(length);
        } else {
            std::uint64_t number = 0;
            for (unsigned i = 0; i < 8; ++i) number = number << 8 | take_byte(bytes);
            value = number;
        }
    }
    const Id space(H5Screate(H5S_SCALAR), H5Sclose);
    const auto write = [&](hid_t type, const void* content) {
        const Id made(H5Acreate2(owner, attribute.name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        if (made >= 0) H5Awrite(made, type, content);
    };
    if (const auto* words = std::get_if<std::string>(&value)) {
        const Id type(text_type(choice == 3 ? std::max<std::size_t>(1, words->size()) : H5T_VARIABLE), H5Tclose);
        const char* const start = words->c_str();
        write(type, choice == 3 ? static_cast<const void*>(start) : &start);
    } else if (const auto* number = std::get_if<double>(&value)) {
        write(H5T_IEEE_F64LE, number);
    } else {
        write(choice == 3 ? H5T_STD_I64LE : H5T_STD_U64LE, &std::get<std::uint64_t>(value));
    }
}

void make_dataset(hid_t file, const Dataset& dataset, std::string_view& bytes) {
    const unsigned choice = take_byte(bytes) % 10;
    const bool is_group = dataset.shape.empty();
    if (choice == 1) return;
    if (choice == 2) {
        H5Lcreate_soft(take_byte(bytes) % 2 == 0 ? dataset.name : "/nowhere", file, dataset.name, H5P_DEFAULT,
                       H5P_DEFAULT);
        return;
    }
    if (choice == 3) {
        H5Lcreate_external("/proc/self/exe", "/somewhere", file, dataset.name, H5P_DEFAULT, H5P_DEFAULT);
        return;
    }
    if (choice == 4) {
        const Id type(some_type(bytes), H5Tclose);
        H5Tcommit2(file, dataset.name, type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        return;
    }
    if (is_group != (choice == 5)) {
        const Id group(H5Gcreate2(file, dataset.name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
        return;
    }
    const Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (choice >= 6) {
        const Id type(some_type(bytes), H5Tclose);
        const Id space(some_space(bytes), H5Sclose);
        if (choice == 7) H5Pset_layout(creation, H5D_COMPACT);
        if (choice == 8) {
            std::vector<hsize_t> chunk(static_cast<std::size_t>(std::max(0, H5Sget_simple_extent_ndims(space))), 1);
            if (!chunk.empty()) H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
        }
        if (choice == 9) H5Pset_external(creation, "/proc/self/exe", 0, H5F_UNLIMITED);
        const Id made(H5Dcreate2(file, dataset.name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose);
        return;
    }
    std::visit(
        [&](const auto& values) {
            using Value = typename std::decay_t<decltype(values)>::value_type;
            std::vector<hsize_t> shape = dataset.shape;
            if (is_group) shape = {values.size()};
            const Id space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose);
            const auto write = [&](hid_t type, const void* content) {
                const Id made(H5Dcreate2(file, dataset.name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT),
                              H5Dclose);
                if (made >= 0) H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, content);
            };
            if constexpr (std::is_same_v<Value, std::string>) {
                constexpr std::size_t longest = 8;
                std::string packed(values.size() * longest, '\0');
                for (std::size_t i = 0; i < values.size(); ++i) values[i].copy(packed.data() + i * longest, longest);
                const Id type(text_type(longest), H5Tclose);
                H5Tset_strpad(type, H5T_STR_NULLPAD);
                write(type, packed.data());
            } else {
                write(std::is_same_v<Value, std::uint8_t>    ? H5T_STD_U8LE
                      : std::is_same_v<Value, std::uint32_t> ? H5T_STD_U32LE
                      : std::is_same_v<Value, float>         ? H5T_IEEE_F32LE
                                                             : H5T_STD_U64LE,
                      values.data());
            }
        },
        dataset.values);
}

void make_file(const std::string& path, const Description& description, std::string_view bytes) {
    const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_file_locking(access, false, true);
    const Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose);
    require(file >= 0, "HDF5 makes a file");
    for (const Dataset& dataset : description.datasets) make_dataset(file, dataset, bytes);
    for (const Attribute& attribute : description.attributes) make_attribute(file, attribute, bytes);
}

void read_corpus(const std::string& path) {
    const Corpus corpus(path, alone());
    constexpr std::uint64_t most = 1 << 16;
    Corpus::Piece piece;
    const std::uint64_t count = std::min(corpus.sequences(), most);
    const CorpusIndex index = corpus.read_index(0, count);
    corpus.read(index, 0, count, piece);
    for (const std::uint8_t token : piece.tokens) require(token < corpus.vocabulary().size(), "tokens are pieces");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const NamedFile memory;
    static const bool quiet = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
    require(quiet, "HDF5 keeps its messages to itself");
    const std::string& path = memory.set("");
    std::string_view bytes = text(data, size);
    const unsigned choice = take_byte(bytes);
    const unsigned format = choice % 4;
    make_file(path, descriptions()[format], bytes);
    if ((choice & 0x80) != 0) seal_file(path, {});
    if (format == 0) {
        refusal([&] { read_checkpoint_header(path, alone()); });
        std::array<float, 4> values{};
        refusal([&] { read_checkpoint(path, {{{"a", {2, 2}, values.data()}}, {}, {}}, alone()); });
    } else if (format == 1) {
        refusal([&] { read_corpus(path); });
    } else if (format == 2) {
        refusal([&] { read_head(path, alone()); });
    } else {
        refusal([&] { find_output(path, {}, false, alone()); });
    }
    return 0;
}

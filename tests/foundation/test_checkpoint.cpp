// Checkpoints written and read by all ranks of a run, and by other numbers of ranks: by parts of this run's ranks.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <numeric>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "io/checkpoint.hpp"
#include "io/hdf5.hpp"
#include "mpi_main.hpp"

namespace protalbert {
namespace {

namespace fs = std::filesystem;

/// Arrays of several shapes with their memory; values are numbers of their own for every array and element.
struct Model {
    explicit Model(bool filled, bool moments = true) {
        const std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes = {
            {"albert.embeddings.word_embeddings.weight", {34, 16}},
            {"albert.encoder.ffn.weight", {700, 512}},  // above the alignment
            {"albert.encoder.ffn.bias", {7}},
            {"cls.bias", {1}}};
        const auto add = [&](std::vector<NamedArray>& arrays, float kind) {
            for (std::size_t i = 0; i < shapes.size(); ++i) {
                std::int64_t size = 1;
                for (const std::int64_t extent : shapes[i].second) size *= extent;
                auto& values = memory.emplace_back(static_cast<std::size_t>(size), -1.0f);
                if (filled)
                    for (std::size_t j = 0; j < values.size(); ++j)
                        values[j] = kind * 1e7f + static_cast<float>(1000000 * i + j);
                arrays.push_back({shapes[i].first, shapes[i].second, values.data()});
            }
        };
        memory.reserve(3 * shapes.size());
        add(arrays.parameters, 0);
        if (moments) add(arrays.m, 1);
        if (moments) add(arrays.v, 2);
    }
    std::vector<std::vector<float>> memory;
    CheckpointArrays arrays;
};

CheckpointHeader example_header() {
    CheckpointHeader header;
    header.step = 100;
    header.samples = 12345678901;
    header.deck = "[train]\nsteps = 100\n" + std::string(70000, '#');
    header.config = R"({"hidden_size": 16})";
    header.corpus_hash = 0xFEDCBA9876543210;
    header.vocabulary = {"[PAD]", "[UNK]", "\u2581A"};
    return header;
}

class Checkpoint : public testing::Test {
  protected:
    Checkpoint() : world(Communicator::world()), folder(make_shared_folder("checkpoint_test")) {}
    ~Checkpoint() override { remove_shared_folder(folder); }

    std::string message_of(const std::function<void()>& act) const {
        try {
            act();
        } catch (const InputError& error) {
            return error.what();
        }
        return "no InputError";
    }
    void expect_whole(const fs::path& file, const Communicator& communicator) const {
        const CheckpointHeader expected = example_header();
        const CheckpointHeader header = read_checkpoint_header(file, communicator);
        EXPECT_EQ(header.step, expected.step);
        EXPECT_EQ(header.samples, expected.samples);
        EXPECT_EQ(header.deck, expected.deck);
        EXPECT_EQ(header.config, expected.config);
        EXPECT_EQ(header.corpus_hash, expected.corpus_hash);
        EXPECT_EQ(header.vocabulary, expected.vocabulary);
        Model model(false);
        read_checkpoint(file, model.arrays, communicator);
        EXPECT_EQ(model.memory, Model(true).memory);
    }

    const Communicator world;
    const fs::path folder;
};

TEST_F(Checkpoint, RoundTrips) {
    const fs::path file = folder / checkpoint_name(100);
    EXPECT_EQ(file.filename(), "step_00000100.h5");
    write_checkpoint(file, example_header(), Model(true).arrays, world);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1) << "a temporary file was left";
    expect_whole(file, world);
    write_checkpoint(file, example_header(), Model(true).arrays, world);  // replaces
    expect_whole(file, world);
    Model weights(false, false);
    read_checkpoint(file, weights.arrays, world);
    EXPECT_EQ(weights.memory, Model(true, false).memory);
}

// Written by 2 ranks and read by 3, 2 and 1, and the other way round, as far as this run has ranks.
TEST_F(Checkpoint, AnyNumberOfRanksReads) {
    for (int writers = 1; writers <= world.ranks(); ++writers) {
        const fs::path file = folder / checkpoint_name(static_cast<std::uint64_t>(writers));
        const Communicator some = world.split(world.rank() < writers);
        if (world.rank() < writers) write_checkpoint(file, example_header(), Model(true).arrays, some);
        world.barrier();
        for (int readers = 1; readers <= world.ranks(); ++readers) {
            SCOPED_TRACE(std::to_string(writers) + " wrote, " + std::to_string(readers) + " read");
            const Communicator others = world.split(world.rank() < readers);
            if (world.rank() < readers) expect_whole(file, others);
        }
    }
}

TEST_F(Checkpoint, RefusesDamage) {
    const fs::path whole = folder / checkpoint_name(1);
    write_checkpoint(whole, example_header(), Model(true).arrays, world);
    const auto read = [&](const fs::path& file) {
        return message_of([&] {
            read_checkpoint_header(file, world);
            Model model(false);
            read_checkpoint(file, model.arrays, world);
        });
    };
    // One bit of one number in the last array of the moments.
    const Model model(true);
    const std::string dataset = "/optimizer/v/albert.encoder.ffn.weight";
    std::uint64_t offset = 0;
    {
        Hdf5File file = Hdf5File::open(whole, world);
        offset = file.file_offset(dataset);
    }
    const fs::path flipped = folder / checkpoint_name(2);
    if (world.root()) {
        fs::copy_file(whole, flipped);
        std::fstream file(flipped, std::ios::in | std::ios::out | std::ios::binary);
        const auto position = static_cast<std::streamoff>(offset + 4 * 100001);
        file.seekg(position);
        const char byte = static_cast<char>(file.get() ^ 1);
        file.seekp(position);
        file.put(byte);
    }
    world.barrier();
    const std::string message = read(flipped);
    EXPECT_NE(message.find("is damaged: the checksum of " + dataset), std::string::npos) << message;
    EXPECT_NE(message.find(flipped.string()), std::string::npos) << message;

    const std::uintmax_t size = fs::file_size(whole);
    for (const std::uintmax_t length : {size - 5, size / 3, std::uintmax_t{2000}, std::uintmax_t{0}}) {
        const fs::path cut = folder / checkpoint_name(100 + length);
        if (world.root()) {
            fs::copy_file(whole, cut);
            fs::resize_file(cut, length);
        }
        world.barrier();
        EXPECT_NE(read(cut).find(cut.string()), std::string::npos) << read(cut);
    }
    EXPECT_NE(read(folder / "absent.h5").find("No such file"), std::string::npos);
    const fs::path other = folder / "other.h5";
    Hdf5File::create(other, world).close();
    EXPECT_NE(read(other).find("is not a protalbert checkpoint"), std::string::npos) << read(other);
}

/// The global heaps of an HDF5 file, where texts of variable length are: [begin, end) of each.
std::vector<std::pair<std::streamoff, std::streamoff>> global_heaps(const fs::path& file) {
    const std::string bytes = read_text_file(file, "checkpoint");
    std::vector<std::pair<std::streamoff, std::streamoff>> heaps;
    for (auto at = bytes.find("GCOL"); at != std::string::npos; at = bytes.find("GCOL", at + 4)) {
        std::uint64_t size = 0;
        bytes.copy(reinterpret_cast<char*>(&size), sizeof size, at + 8);
        heaps.emplace_back(at, at + size);
    }
    return heaps;
}

// Garbage is refused as bad input or harmless: it never crashes the reader nor changes what is read. Global heaps are
// left out of it and wiped as a whole: they carry no checksums, and HDF5 1.10 itself crashes on some damage in them.
TEST_F(Checkpoint, SurvivesGarbage) {
    const fs::path whole = folder / checkpoint_name(1), damaged = folder / checkpoint_name(2);
    std::vector<float> values(3000);
    std::iota(values.begin(), values.end(), 0.0f);
    const CheckpointArrays arrays{{{"a.weight", {1000, 3}, values.data()}, {"b", {10}, values.data()}}, {}, {}};
    CheckpointHeader header = example_header();
    header.deck = "[train]\nsteps = 100\n";
    write_checkpoint(whole, header, arrays, world);
    const auto size = static_cast<std::streamoff>(fs::file_size(whole));
    constexpr std::streamoff length = 32;
    std::vector<std::pair<std::streamoff, std::streamoff>> damages = global_heaps(whole);
    const auto heaps = damages;
    EXPECT_FALSE(heaps.empty());
    for (std::streamoff first = 0; first < size; first += 100)
        if (std::none_of(heaps.begin(), heaps.end(),
                         [&](const auto& heap) { return first + length > heap.first && first < heap.second; }))
            damages.emplace_back(first, first + length);
    int refused = 0;
    for (const auto& [first, last] : damages) {
        SCOPED_TRACE("garbage at " + std::to_string(first));
        if (world.root()) {
            fs::copy_file(whole, damaged, fs::copy_options::overwrite_existing);
            std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(first);
            for (std::streamoff i = first; i < last; ++i) file.put(static_cast<char>(0x5A + 7 * i + i / 100));
        }
        world.barrier();
        try {
            const CheckpointHeader found = read_checkpoint_header(damaged, world);
            EXPECT_EQ(found.step, header.step);
            EXPECT_EQ(found.deck, header.deck);
            EXPECT_EQ(found.config, header.config);
            EXPECT_EQ(found.vocabulary, header.vocabulary);
            std::vector<float> read(3010);
            read_checkpoint(damaged, {{{"a.weight", {1000, 3}, read.data()}, {"b", {10}, &read[3000]}}, {}, {}}, world);
            EXPECT_TRUE(std::equal(values.begin(), values.end(), read.begin()));
            EXPECT_TRUE(std::equal(values.begin(), values.begin() + 10, read.begin() + 3000));
        } catch (const InputError&) {
            ++refused;
        }
        world.barrier();
    }
    EXPECT_GE(refused, 12040 / 100);  // the bytes of the two arrays, at the least
}

// Weights and moments alike, and on every rank whichever of them read the array.
TEST_F(Checkpoint, RefusesWhatIsNotFinite) {
    const fs::path file = folder / checkpoint_name(1);
    const std::size_t arrays = Model(true).arrays.parameters.size();
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        for (std::size_t i = 0; i < arrays; ++i) {
            Model model(true);
            model.memory[i].back() = bad;
            write_checkpoint(file, example_header(), model.arrays, world);
            Model read(false);
            const std::string message = message_of([&] { read_checkpoint(file, read.arrays, world); });
            EXPECT_NE(message.find("/parameters/" + model.arrays.parameters[i].name + ": 1 of its "), std::string::npos)
                << message;
            EXPECT_NE(message.find("use an older one"), std::string::npos) << message;
        }
    }
    Model model(true);
    model.arrays.v.back().data[0] = NAN;
    write_checkpoint(file, example_header(), model.arrays, world);
    Model read(false);
    const std::string message = message_of([&] { read_checkpoint(file, read.arrays, world); });
    EXPECT_NE(message.find("/optimizer/v/"), std::string::npos) << message;
    // Without moments nobody asks for them.
    Model weights(false, false);
    read_checkpoint(file, weights.arrays, world);
}

TEST_F(Checkpoint, RefusesAnotherModel) {
    const fs::path file = folder / checkpoint_name(1);
    write_checkpoint(file, example_header(), Model(true, false).arrays, world);
    Model model(false);
    const auto read = [&] { return message_of([&] { read_checkpoint(file, model.arrays, world); }); };
    EXPECT_NE(read().find("has no /optimizer/m/albert.embeddings.word_embeddings.weight"), std::string::npos) << read();
    model.arrays.m.clear();
    model.arrays.v.clear();
    model.arrays.parameters[0].shape = {16, 34};
    EXPECT_NE(read().find("word_embeddings.weight has shape [34, 16], but the model needs [16, 34]"), std::string::npos)
        << read();
}

TEST_F(Checkpoint, ListsResolvesAndPrunes) {
    EXPECT_TRUE(list_checkpoints(folder / "absent").empty());
    EXPECT_NE(message_of([&] { resolve_checkpoint(folder); }).find("no checkpoint"), std::string::npos);
    EXPECT_NE(message_of([&] { resolve_checkpoint(folder / "absent"); }).find("absent"), std::string::npos);
    world.barrier();
    if (world.root())
        for (const char* name : {"step_00000002.h5", "step_00000010.h5", "step_100000000.h5", "step_00000099.h5.part",
                                 "step_x.h5", "step_.h5", "step_00000011.h5.old", "notes.part", "metrics.jsonl"})
            std::ofstream(folder / name) << "x";
    world.barrier();
    const std::vector<fs::path> expected = {folder / "step_100000000.h5", folder / "step_00000010.h5",
                                            folder / "step_00000002.h5"};
    EXPECT_EQ(list_checkpoints(folder), expected);
    EXPECT_EQ(resolve_checkpoint(folder), expected[0]);
    EXPECT_EQ(resolve_checkpoint(folder / "step_x.h5"), folder / "step_x.h5");
    world.barrier();
    if (world.root()) prune_checkpoints(folder, 2);
    world.barrier();
    EXPECT_EQ(list_checkpoints(folder), (std::vector<fs::path>{expected[0], expected[1]}));
    world.barrier();
    if (world.root()) {
        for (const char* name : {"step_00000020.h5", "step_00000025.h5", "step_00000030.h5"})
            std::ofstream(folder / name) << "x";
        prune_checkpoints(folder, 1, 10);  // 10, 20, 30 and the newest stay
    }
    world.barrier();
    EXPECT_EQ(list_checkpoints(folder),
              (std::vector<fs::path>{expected[0], folder / "step_00000030.h5", folder / "step_00000020.h5",
                                     folder / "step_00000010.h5"}));
    EXPECT_FALSE(fs::exists(folder / "step_00000099.h5.part"));
    EXPECT_TRUE(fs::exists(folder / "notes.part"));
    EXPECT_TRUE(fs::exists(folder / "step_x.h5"));
}

TEST_F(Checkpoint, NamesThePlaceThatCannotBeWritten) {
    EXPECT_NE(message_of([&] {
                  write_checkpoint(folder / "absent" / checkpoint_name(1), example_header(), Model(true).arrays, world);
              }).find("absent"),
              std::string::npos);
}

}  // namespace
}  // namespace protalbert

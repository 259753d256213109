#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <string>

#include "base/deck.hpp"
#include "base/error.hpp"

namespace protalbert {
namespace {

constexpr const char* example = R"([model]
preset = "prot_albert"
layers = 12

[train]
steps = 1_000
learning_rate = 2
reproducible = true
warmup = 0.1

[run]
time_limit = "23h30m"
)";

/// The message of the InputError that `act` throws.
std::string message_of(const std::function<void()>& act) {
    try {
        act();
    } catch (const InputError& error) {
        EXPECT_EQ(error.exit_code(), exit_bad_input);
        return error.what();
    }
    return "nothing was thrown";
}

void expect_parts(const std::string& message, const std::vector<std::string>& parts) {
    for (const std::string& part : parts)
        EXPECT_NE(message.find(part), std::string::npos) << "\"" << part << "\" is not in: " << message;
}

TEST(Deck, ReadsValuesAndDefaults) {
    Deck deck = Deck::parse(example, "demo.toml");
    EXPECT_EQ(deck.text("model.preset", "x"), "prot_albert");
    EXPECT_EQ(deck.required_text("model.preset"), "prot_albert");
    EXPECT_EQ(deck.text("model.activation", "gelu"), "gelu");
    EXPECT_EQ(deck.integer("model.layers", 1, 1, 100), 12);
    EXPECT_EQ(deck.integer("train.steps", 1, 1, 100000), 1000);
    EXPECT_EQ(deck.number("train.learning_rate", 0.1, 0, 10), 2.0);
    EXPECT_EQ(deck.number("train.clip", 0.5, 0, 10), 0.5);
    EXPECT_TRUE(deck.flag("train.reproducible", false));
    EXPECT_EQ(deck.duration("run.time_limit", 0), 23.5 * 3600);
    EXPECT_TRUE(deck.has("model.layers"));
    EXPECT_FALSE(deck.has("model.heads"));
    EXPECT_EQ(deck.place("model.layers"), "demo.toml:3: model.layers");
    EXPECT_EQ(deck.place("model.heads"), "demo.toml: model.heads");
}

TEST(Deck, TellsWhatChanges) {
    const Deck before = Deck::parse("[train]\nsteps = 10\nclip = 1.0\n[run]\nmetrics = \"a\"\n", "before");
    const Deck after = Deck::parse("[run]\nmetrics = \"b\"\n[train]\nclip = 1.0\nwarmup = 2\n", "after");
    std::string text;
    for (const DeckChange& change : deck_changes(before, after))
        text += change.key + ":" + change.before + ">" + change.after + ";";
    EXPECT_EQ(text, "run.metrics:'a'>'b';train.steps:10>;train.warmup:>2;");
    EXPECT_TRUE(deck_changes(before, Deck::parse(before.canonical(), "again")).empty());
}

TEST(Deck, RefusesUnknownKeysWithTheNearest) {
    const auto refuse = [](const std::string& text) {
        return message_of([&] {
            Deck deck = Deck::parse(text, "demo.toml");
            deck.integer("train.steps", 1, 1, 10);
            deck.integer("train.warmup", 1, 1, 10);
            deck.text("data.corpus", "");
            deck.refuse_unknown_keys();
        });
    };
    expect_parts(refuse("[train]\nsteps = 1\nwarmpu = 2\n"), {"demo.toml:3", "train.warmpu", "train.warmup"});
    expect_parts(refuse("[trian]\nsteps = 1\n"), {"demo.toml:2", "trian.steps", "did you mean train.steps?"});
    expect_parts(refuse("steps = 1\n"), {"demo.toml:1", "steps", "train.steps"});
    expect_parts(refuse("train = 1\n"), {"demo.toml:1", "train must be a table", "the integer 1"});
    expect_parts(refuse("\"train.steps\" = 1\n"), {"demo.toml:1", "not a known key"});
    expect_parts(refuse("[nothing]\n"), {"demo.toml:1", "nothing"});
    // The first in the file, not in the alphabet.
    expect_parts(refuse("[train]\nzzz = 1\naaa = 2\n"), {"demo.toml:2", "train.zzz"});
    EXPECT_EQ(refuse("[train]\n[data]\ncorpus = 'x'\n"), "nothing was thrown");
}

TEST(Deck, RefusesWrongTypesAndRanges) {
    Deck deck = Deck::parse(example, "demo.toml");
    expect_parts(message_of([&] { deck.integer("model.preset", 1, 1, 9); }),
                 {"demo.toml:2: model.preset", "whole number", "the string", "prot_albert"});
    expect_parts(message_of([&] { deck.integer("model.layers", 1, 1, 9); }), {"demo.toml:3", "is 12", "from 1 to 9"});
    expect_parts(message_of([&] { deck.integer("train.steps", 1, 2000, std::numeric_limits<std::int64_t>::max()); }),
                 {"is 1000", "of at least 2000"});
    expect_parts(message_of([&] { deck.integer("train.warmup", 1, 1, 9); }), {"demo.toml:9", "0.1"});
    expect_parts(message_of([&] { deck.number("train.learning_rate", 1, 0, 1); }), {"is 2", "from 0 to 1"});
    expect_parts(message_of([&] { deck.number("train.reproducible", 1, 0, 1); }), {"must be a number", "true"});
    expect_parts(message_of([&] { deck.flag("train.steps", true); }), {"true or false", "1000"});
    expect_parts(message_of([&] { deck.text("train", ""); }), {"must be a string", "a table"});
    expect_parts(message_of([&] { deck.required_text("data.corpus"); }), {"demo.toml: data.corpus is missing"});
    expect_parts(message_of([&] {
                     deck.choice("model.preset", "", {"bert_base", "prot_alberta"});
                 }),
                 {"demo.toml:2", "\"bert_base\", \"prot_alberta\"", "did you mean \"prot_alberta\"?"});
    Deck not_a_number = Deck::parse("x = nan", "demo.toml");
    expect_parts(message_of([&] { not_a_number.number("x", 0, 0, 1); }), {"is nan"});
}

TEST(Deck, NamesLineOfSyntaxErrors) {
    expect_parts(message_of([] { Deck::parse("[train]\nsteps = \n", "demo.toml"); }),
                 {"demo.toml:2", "not valid TOML"});
    expect_parts(message_of([] { Deck::parse("a = 1\na = 2\n", "demo.toml"); }), {"demo.toml:2"});
    expect_parts(message_of([] { Deck::read("/no/such/deck.toml"); }), {"/no/such/deck.toml"});
    expect_parts(message_of([] { Deck::read("/tmp"); }), {"/tmp", "folder"});
}

TEST(Deck, ReadsDurations) {
    const auto seconds = [](const std::string& value) {
        Deck deck = Deck::parse("t = " + value, "demo.toml");
        return deck.duration("t", -1);
    };
    EXPECT_EQ(seconds("90"), 90);
    EXPECT_EQ(seconds("1.5"), 1.5);
    EXPECT_EQ(seconds("\"90\""), 90);
    EXPECT_EQ(seconds("\"90m\""), 5400);
    EXPECT_EQ(seconds("\"1d2h3m4s\""), 93784);
    EXPECT_EQ(seconds("\"01:30:00\""), 5400);
    EXPECT_EQ(seconds("01:30:00"), 5400);
    EXPECT_EQ(seconds("\"100:00:01\""), 360001);
    EXPECT_EQ(seconds("\"1-12:00:00\""), 129600);
    EXPECT_EQ(seconds("0"), 0);
    for (const char* wrong : {"\"\"", "\"m\"", "\"5x\"", "\"3m2h\"", "\"1h30\"", "\"1:2\"", "\"1:99:00\"", "-1", "nan",
                              "true", "\"-5m\"", "\"1 h\"", "\"00:00:00x\""})
        expect_parts(message_of([&] { seconds(wrong); }), {"demo.toml:1: t must be a duration"});
}

TEST(Deck, AppliesOverrides) {
    Deck deck = Deck::parse(
        example, "demo.toml",
        {"train.steps=5", "data.corpus=/a/b c.h5", "data.name=corpus", "run.time_limit=01:30:00", "model.layers = 3",
         "train.learning_rate=1e-3", "data.empty=", "model.deep.er=\"7\"", "train.reproducible=false"});
    EXPECT_EQ(deck.integer("train.steps", 1, 1, 10), 5);
    EXPECT_EQ(deck.text("data.corpus", ""), "/a/b c.h5");
    EXPECT_EQ(deck.text("data.name", ""), "corpus");
    EXPECT_EQ(deck.text("data.empty", "x"), "");
    EXPECT_EQ(deck.text("model.deep.er", ""), "7");
    EXPECT_EQ(deck.duration("run.time_limit", 0), 5400);
    EXPECT_EQ(deck.integer("model.layers", 1, 1, 10), 3);
    EXPECT_EQ(deck.number("train.learning_rate", 1, 0, 1), 1e-3);
    EXPECT_FALSE(deck.flag("train.reproducible", true));
    expect_parts(message_of([&] { deck.integer("train.steps", 1, 6, 10); }), {"--set train.steps is 5"});
    for (const char* wrong : {"train.steps", "=5", "train..steps=5", ".=1", "train.steps.x=1"})
        expect_parts(message_of([&] { Deck::parse(example, "demo.toml", {wrong}); }), {std::string("--set ") + wrong});
    expect_parts(message_of([] {
                     Deck misspelt = Deck::parse("", "demo.toml", {"train.step=5"});
                     misspelt.integer("train.steps", 1, 1, 10);
                     misspelt.refuse_unknown_keys();
                 }),
                 {"--set train.step ", "train.steps"});
}

TEST(Deck, CanonicalTextReadsBack) {
    Deck deck = Deck::parse(
        example, "demo.toml",
        {"train.warmup=0.1000000000000000055", "data.corpus=a\"b\\c\n", "train.tiny=1e-300", "train.whole=3.0"});
    Deck again = Deck::parse(deck.canonical(), "again");
    EXPECT_EQ(again.canonical(), deck.canonical());
    EXPECT_EQ(again.number("train.warmup", 0, 0, 1), 0.1);
    EXPECT_EQ(again.number("train.tiny", 0, 0, 1), 1e-300);
    EXPECT_EQ(again.number("train.whole", 0, 0, 9), 3.0);
    EXPECT_EQ(again.text("data.corpus", ""), deck.text("data.corpus", ""));
    EXPECT_EQ(again.integer("train.steps", 0, 0, 10000), 1000);
}

TEST(Deck, ReplacesHomeAndVariablesInPaths) {
    constexpr const char* paths = R"([data]
corpus = "~/c.h5"
validation = "$SCRATCH/${USER}_v.h5"
home = "~"
twice = "${A}${A}/$A.b"
relative = "$HIDDEN/x"
plain = "a ~/b~"
[name]
dollar = "$DOLLAR"
)";
    Deck deck = Deck::parse(paths, "demo.toml", {"run.metrics=~/m.jsonl", "checkpoint.directory=$SCRATCH"});
    deck.use_variables({{"HOME", "/home/me"},
                        {"SCRATCH", "/scratch/me"},
                        {"USER", "me"},
                        {"A", "a"},
                        {"HIDDEN", "~/.hidden"},
                        {"DOLLAR", "cost $A"}});
    EXPECT_EQ(deck.path("data.corpus", ""), "/home/me/c.h5");
    EXPECT_EQ(deck.required_path("data.validation"), "/scratch/me/me_v.h5");
    EXPECT_EQ(deck.path("data.home", ""), "/home/me");
    EXPECT_EQ(deck.path("data.twice", ""), "aa/a.b");
    EXPECT_EQ(deck.path("data.relative", ""), "/home/me/.hidden/x");
    EXPECT_EQ(deck.path("data.plain", ""), "a ~/b~");
    EXPECT_EQ(deck.path("name.dollar", ""), "cost $A");
    EXPECT_EQ(deck.path("run.metrics", ""), "/home/me/m.jsonl");
    EXPECT_EQ(deck.path("checkpoint.directory", ""), "/scratch/me");
    EXPECT_EQ(deck.path("checkpoint.absent", "~/fallback"), "~/fallback");
    // What is stored is what was written.
    EXPECT_EQ(deck.text("data.corpus", ""), "~/c.h5");
    EXPECT_NE(deck.canonical().find("$SCRATCH/${USER}_v.h5"), std::string::npos);

    expect_parts(message_of([&] { deck.required_path("data.absent"); }), {"data.absent is missing"});
    deck.use_variables({{"USER", "me"}, {"SCRATCH", ""}});
    expect_parts(message_of([&] { deck.path("data.corpus", ""); }),
                 {"demo.toml:2: data.corpus", "~/c.h5", "HOME is not"});
    expect_parts(message_of([&] { deck.path("data.validation", ""); }),
                 {"demo.toml:3: data.validation", "SCRATCH is empty"});
    expect_parts(message_of([&] { deck.path("run.metrics", ""); }), {"--set run.metrics", "HOME is not set"});
    for (const char* wrong :
         {"$", "a$", "$$/x", "$(pwd)/x", "${", "${A", "${A:-b}", "${}", "$1", "$-", "~you/x", "~+", "~x"})
        expect_parts(message_of([&] {
                         Deck one = Deck::parse("[data]\ncorpus = '" + std::string(wrong) + "'", "demo.toml");
                         one.use_variables({{"A", "a"}, {"HOME", "/home/me"}});
                         one.path("data.corpus", "");
                     }),
                     {"demo.toml:2: data.corpus", std::string("\"") + wrong + "\"", "write "});
}

/// Reads a deck from a file with these bytes.
Deck deck_of_file(const std::string& bytes) {
    std::ofstream("of_file.toml", std::ios::binary) << bytes;
    return Deck::read("of_file.toml");
}

TEST(Deck, ReadsFilesOfAllEditors) {
    const std::string lines = "[train]\nsteps = 7\n\nname = \"caf\xc3\xa9\"\n";
    const auto with_ends = [&](const std::string& end) {
        std::string text;
        for (const char c : lines) text += c == '\n' ? end : std::string(1, c);
        return text;
    };
    for (const std::string mark : {"", "\xef\xbb\xbf"})
        for (const std::string end : {"\n", "\r\n", "\r"}) {
            Deck deck = deck_of_file(mark + with_ends(end));
            EXPECT_EQ(deck.integer("train.steps", 1, 1, 10), 7);
            EXPECT_EQ(deck.text("train.name", ""), "caf\xc3\xa9");
            EXPECT_EQ(deck.place("train.name"), "of_file.toml:4: train.name");
            const std::string broken = mark + with_ends(end) + "oops" + end;
            expect_parts(message_of([&] { deck_of_file(broken); }), {"of_file.toml:5: not valid TOML"});
        }
}

TEST(Deck, NamesFilesThatAreNoText) {
    std::string wide;
    for (const char c : std::string("[train]\nsteps = 7\n")) wide += std::string(1, c) + '\0';
    expect_parts(message_of([&] { deck_of_file("\xff\xfe" + wide); }), {"of_file.toml", "UTF-16", "iconv -f UTF-16"});
    expect_parts(message_of([&] { deck_of_file(wide); }), {"UTF-16"});
    expect_parts(message_of([&] { deck_of_file('\0' + wide); }), {"UTF-16"});
    expect_parts(message_of([&] { deck_of_file("a = 1\nb = \"caf\xe9\"\n"); }),
                 {"of_file.toml:2: b = \"caf\\xe9\"", "not UTF-8", "iconv -f LATIN1"});
    expect_parts(
        message_of([&] { deck_of_file("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"); }),
        {"of_file.toml", "Git LFS", "git lfs pull"});
    expect_parts(message_of([&] { deck_of_file("\x1f\x8b\x08 and so on"); }), {"gzip"});
    expect_parts(message_of([&] { deck_of_file("\x89HDF\r\n\x1a\n and so on"); }), {"HDF5"});
    expect_parts(message_of([&] { deck_of_file(std::string("a = 1\n\0", 7)); }), {"not text"});
    expect_parts(message_of([&] { deck_of_file(std::string(17 << 20, '#')); }), {"of_file.toml", "right file"});
}

TEST(Deck, RefusesTextsThatWouldNotReadBack) {
    Deck deck = Deck::parse("[data]\ncorpus = \"\\nrun\"\n", "deck.toml");
    expect_parts(message_of([&] { deck.text("data.corpus", ""); }), {"deck.toml:2: data.corpus", "line end"});
    Deck other = Deck::parse("", "deck.toml", {"data.corpus=\nrun.h5"});
    expect_parts(message_of([&] { other.required_text("data.corpus"); }), {"data.corpus", "line end"});
}

}  // namespace
}  // namespace protalbert

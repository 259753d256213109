// Numbers as people read them, errors of the program itself, and files on disk.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "base/file_system.hpp"
#include "base/progress.hpp"
#include "base/signals.hpp"
#include "base/text.hpp"

namespace protalbert {
namespace {

TEST(Format, Durations) {
    EXPECT_EQ(format_duration(3.21), "3.2 s");
    EXPECT_EQ(format_duration(59.99), "1 min 0 s");
    EXPECT_EQ(format_duration(250), "4 min 10 s");
    EXPECT_EQ(format_duration(7500), "2 h 5 min");
    EXPECT_EQ(format_duration(90000), "1 d 1 h");
}

TEST(Format, BytesAndCounts) {
    EXPECT_EQ(format_bytes(12), "12 B");
    EXPECT_EQ(format_bytes(1.5 * 1024 * 1024), "1.5 MiB");
    EXPECT_EQ(format_count(0), "0");
    EXPECT_EQ(format_count(999), "999");
    EXPECT_EQ(format_count(20000), "20,000");
    EXPECT_EQ(format_count(18446744073709551615u), "18,446,744,073,709,551,615");
}

TEST(Text, TellsUtf8) {
    for (const std::string text : {"", "P69905", "\xc2\x80", "\xc3\xa9", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                   "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
        EXPECT_TRUE(is_utf8(text)) << text;
        EXPECT_EQ(valid_utf8(text), text);
    }
    EXPECT_TRUE(is_utf8(std::string(1, '\0')));
    // Latin-1, alone and cut; overlong forms; surrogates; too large; bytes that UTF-8 never has.
    for (const std::string text :
         {"prot\xe9ine", "\xe9", "\x80", "\xc3", "\xe2\x82", "\xe2\x82z", "\xf0\x9f\x98", "\xc0\x80", "\xc1\xbf",
          "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
        EXPECT_FALSE(is_utf8(text));
        EXPECT_TRUE(is_utf8(valid_utf8(text)));
        EXPECT_NE(valid_utf8(text), text);
    }
    EXPECT_EQ(valid_utf8("prot\xe9ine \xc3\xa9"), "prot\\xe9ine \xc3\xa9");
    EXPECT_EQ(valid_utf8("\xe2\x82z"), "\\xe2\\x82z");
}

TEST(Error, ChecksNameExpressionAndPlace) {
    try {
        PROTALBERT_CHECK(1 + 1 == 3, "look at the arithmetic");
        FAIL();
    } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("test_text.cpp:"), std::string::npos) << message;
        EXPECT_NE(message.find("1 + 1 == 3"), std::string::npos) << message;
        EXPECT_NE(message.find("look at the arithmetic"), std::string::npos) << message;
        EXPECT_EQ(error.exit_code(), exit_failure);
    }
}

TEST(Signals, SetAFlag) {
    EXPECT_EQ(caught_signal(), 0);
    catch_signals();
    for (const int signal : {SIGUSR1, SIGTERM}) {
        kill(getpid(), signal);
        // Another thread takes it, within milliseconds.
        for (int wait = 0; wait < 5000 && caught_signal() != signal; ++wait) usleep(1000);
        EXPECT_EQ(caught_signal(), signal);
    }
}

TEST(FileSystem, RefusesWhatCannotBe) {
    EXPECT_THROW(require_readable_file("/no/such/file", "deck"), InputError);
    EXPECT_THROW(require_readable_file("/tmp", "deck"), InputError);
    EXPECT_THROW(require_writable_place("/no/such/folder/file", "output"), InputError);
    EXPECT_THROW(require_writable_place("/tmp", "output"), InputError);
    EXPECT_NO_THROW(require_writable_place("file_here", "output"));
    EXPECT_THROW(require_space("/tmp", ~std::uint64_t{0}, "everything"), Error);
    EXPECT_NO_THROW(require_space("", 1, "a byte"));
}

TEST(FileSystem, RenamesDurably) {
    const std::filesystem::path folder = testing::TempDir();
    const auto from = folder / "rename_from", to = folder / "rename_to";
    std::ofstream(from) << "new";
    std::ofstream(to) << "old";
    rename_durably(from, to);
    EXPECT_FALSE(std::filesystem::exists(from));
    EXPECT_EQ(read_text_file(to, "file"), "new");
    EXPECT_THROW(rename_durably(from, to), Error);
    std::filesystem::remove(to);
}

}  // namespace
}  // namespace protalbert

#include <sched.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.hpp"
#include "comm/gradient_reduction.hpp"
#include "comm/program.hpp"
#include "mpi_main.hpp"

namespace protalbert {
namespace {

TEST(Communicator, SumsAndMaxima) {
    const Communicator world = Communicator::world();
    const int ranks = world.ranks(), rank = world.rank();
    double numbers[2] = {1.0 + rank, -1.0};
    world.sum(numbers, 2);
    EXPECT_EQ(numbers[0], ranks * (ranks + 1) / 2.0);
    EXPECT_EQ(numbers[1], -ranks);
    std::int64_t whole[1] = {-rank};
    world.sum(whole, 1);
    EXPECT_EQ(whole[0], -ranks * (ranks - 1) / 2);
    std::uint64_t large = std::uint64_t{1} << 62;
    world.sum(&large, 1);
    EXPECT_EQ(large, (std::uint64_t{1} << 62) * static_cast<unsigned>(ranks));
    EXPECT_EQ(world.maximum(std::int64_t{rank} - 10), ranks - 11);
    double largest = -rank;
    world.maximum(&largest, 1);
    EXPECT_EQ(largest, 0.0);
}

TEST(Communicator, PrefixSumsAndGathers) {
    const Communicator world = Communicator::world();
    const auto rank = static_cast<std::uint64_t>(world.rank()), ranks = static_cast<std::uint64_t>(world.ranks());
    EXPECT_EQ(world.prefix_sum(rank + 1), rank * (rank + 1) / 2);
    const std::vector<std::uint64_t> all = world.gather_all(10 * rank);
    ASSERT_EQ(all.size(), ranks);
    for (std::uint64_t other = 0; other < ranks; ++other) EXPECT_EQ(all[other], 10 * other);
}

TEST(Communicator, BroadcastsFromAnyRank) {
    const Communicator world = Communicator::world();
    for (int root = 0; root < world.ranks(); ++root) {
        const std::string text = "text of rank " + std::to_string(world.rank());
        EXPECT_EQ(world.broadcast(text, root), "text of rank " + std::to_string(root));
        EXPECT_EQ(world.broadcast(world.rank() == root ? std::string() : "x", root), "");
        std::vector<int> numbers(100000, world.rank());
        world.broadcast(numbers.data(), numbers.size() * sizeof(int), root);
        EXPECT_EQ(numbers, std::vector<int>(100000, root));
    }
}

// Rank r gives r + 1 values (none from rank 1), numbered through.
template <class Value>
void test_concatenate() {
    const Communicator world = Communicator::world();
    const auto size_of = [](int rank) { return rank == 1 ? 0 : rank + 1; };
    std::vector<Value> mine, expected;
    for (int rank = 0; rank < world.ranks(); ++rank)
        for (int i = 0; i < size_of(rank); ++i) {
            const auto value = static_cast<Value>(10 * rank + i);
            expected.push_back(value);
            if (rank == world.rank()) mine.push_back(value);
        }
    EXPECT_EQ(world.concatenate(mine), expected);
    EXPECT_TRUE(world.concatenate(std::vector<Value>{}).empty());
}

TEST(Communicator, Concatenates) {
    test_concatenate<std::uint64_t>();
    test_concatenate<std::uint32_t>();
    test_concatenate<std::byte>();
}

TEST(Communicator, Exchanges) {
    const Communicator world = Communicator::world();
    const int ranks = world.ranks();
    // From rank s to rank t go 1000 s + t bytes of value 16 s + t; nothing at all from the last rank to rank 0.
    const auto size = [&](int source, int target) {
        return source == ranks - 1 && target == 0 ? 0 : static_cast<std::size_t>(1000 * source + target);
    };
    const auto value = [](int source, int target) { return static_cast<std::byte>(16 * source + target); };
    std::vector<std::vector<std::byte>> pieces;
    for (int target = 0; target < ranks; ++target)
        pieces.emplace_back(size(world.rank(), target), value(world.rank(), target));
    const auto received = world.exchange(pieces);
    ASSERT_EQ(std::ssize(received), ranks);
    for (int source = 0; source < ranks; ++source)
        EXPECT_EQ(received[source], std::vector<std::byte>(size(source, world.rank()), value(source, world.rank())));
    pieces.pop_back();
    EXPECT_THROW(world.exchange(pieces), Error);
}

// Counts of MPI are ints. Only where the machine has the memory: PROTALBERT_TEST_LARGE=1.
TEST(Communicator, MovesMoreThanTwoGibibytes) {
    if (!std::getenv("PROTALBERT_TEST_LARGE")) GTEST_SKIP() << "needs 7 GiB a rank; set PROTALBERT_TEST_LARGE=1";
    const Communicator world = Communicator::world();
    const std::size_t size = (std::size_t{1} << 31) + 5;
    std::vector<std::byte> bytes(size, static_cast<std::byte>(world.rank()));
    bytes.back() = static_cast<std::byte>(100 + world.rank());
    world.broadcast(bytes.data(), size, world.ranks() - 1);
    EXPECT_EQ(bytes[size - 2], static_cast<std::byte>(world.ranks() - 1));
    EXPECT_EQ(bytes.back(), static_cast<std::byte>(99 + world.ranks()));
    std::vector<std::vector<std::byte>> pieces(world.ranks());
    const int next = (world.rank() + 1) % world.ranks(), before = (world.rank() + world.ranks() - 1) % world.ranks();
    bytes.back() = static_cast<std::byte>(100 + world.rank());
    pieces[next] = std::move(bytes);
    const auto received = world.exchange(pieces);
    ASSERT_EQ(received[before].size(), size);
    EXPECT_EQ(received[before].back(), static_cast<std::byte>(100 + before));
}

TEST(Communicator, MpiErrorsNameTheCall) {
    try {
        check_mpi(MPI_ERR_COMM, "MPI_Made_up");
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("MPI_Made_up"), std::string::npos) << error.what();
    }
    const Communicator world = Communicator::world();
    int number = 0;
    EXPECT_THROW(world.broadcast(&number, sizeof number, world.ranks()), Error);
}

TEST(Communicator, KnowsLocalRanksAndThreads) {
    const Communicator world = Communicator::world();
    const LocalRanks local = local_ranks(world);
    EXPECT_EQ(local.ranks, world.ranks());  // the tests run on one machine
    EXPECT_EQ(local.rank, world.rank());
    setenv("OMP_NUM_THREADS", "5", 1);
    EXPECT_EQ(threads_for_rank(world), 5);
    setenv("OMP_NUM_THREADS", "3,2", 1);
    EXPECT_EQ(threads_for_rank(world), 3);
    setenv("OMP_NUM_THREADS", " 512 ", 1);
    EXPECT_EQ(threads_for_rank(world), 512);
    for (const char* wrong : {"many", "0", "-1", "1e3", "4x", "4 2", ",2", " "}) {
        setenv("OMP_NUM_THREADS", wrong, 1);
        EXPECT_THROW(threads_for_rank(world), InputError) << wrong;
    }
    unsetenv("OMP_NUM_THREADS");
    const int share = threads_for_rank(world);
    for (const char* other : {"", "513", "5000", "99999999999999999999"}) {
        setenv("OMP_NUM_THREADS", other, 1);
        EXPECT_EQ(threads_for_rank(world), share) << other;
    }
    unsetenv("OMP_NUM_THREADS");

    cpu_set_t allowed;
    ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    // Every rank may use all cores: they divide them.
    EXPECT_EQ(threads_for_rank(world), std::max(1, CPU_COUNT(&allowed) / world.ranks()));
    // Every rank is bound to a core of its own, or with too few cores shares one: one thread each.
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE; ++core)
        if (CPU_ISSET(core, &allowed)) cores.push_back(core);
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(cores[world.rank() % cores.size()], &mine);
    ASSERT_EQ(sched_setaffinity(0, sizeof mine, &mine), 0);
    EXPECT_EQ(threads_for_rank(world), 1);
    ASSERT_EQ(sched_setaffinity(0, sizeof allowed, &allowed), 0);
}

TEST(Agreement, FailuresOfOneAreFailuresOfAll) {
    const Communicator world = Communicator::world();
    const int last = world.ranks() - 1;
    EXPECT_NO_THROW(all_or_none(world, [] {}));
    try {
        all_or_none(world, [&] {
            if (world.rank() == last) throw InputError("of rank " + std::to_string(world.rank()));
        });
        FAIL();
    } catch (const InputError& error) {
        EXPECT_EQ(error.what(), "of rank " + std::to_string(last));
    }
    int calls = 0;
    on_root(world, [&] { ++calls; });
    EXPECT_EQ(calls, world.root() ? 1 : 0);
    try {
        on_root(world, [&] { throw Error("of rank " + std::to_string(world.rank()), 7); });
        FAIL();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "of rank 0");
        EXPECT_EQ(error.exit_code(), 7);
    }
    EXPECT_THROW(on_root(world, [] { throw std::bad_alloc(); }), Error);
}

TEST(GradientReduction, SumsRangesInFlight) {
    const Communicator world = Communicator::world();
    GradientReduction reduction(world);
    const int ranks = world.ranks();
    for (int repetition = 0; repetition < 2; ++repetition) {
        std::vector<std::vector<float>> ranges;
        for (const int n : {1, 0, 1000, 3, 300000}) ranges.emplace_back(n, static_cast<float>(n + world.rank()));
        for (auto& range : ranges) {
            reduction.start(range.data(), std::ssize(range));
            reduction.progress();
        }
        EXPECT_EQ(reduction.bytes(), 4 * (1 + 1000 + 3 + 300000));
        EXPECT_GE(reduction.finish(), 0.0);
        EXPECT_EQ(reduction.bytes(), 0);
        for (const auto& range : ranges) {
            const auto n = static_cast<float>(range.size());
            const float expected = static_cast<float>(ranks) * n + static_cast<float>(ranks * (ranks - 1) / 2);
            for (const float value : range) ASSERT_EQ(value, expected);  // whole numbers: exact
        }
    }
}

}  // namespace
}  // namespace protalbert

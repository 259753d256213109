#include "comm/communicator.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/machine_memory.hpp"

namespace protalbert {

namespace {

/// MPI counts are ints: longer messages go in pieces of this many bytes.
constexpr std::size_t largest_piece = std::size_t{1} << 30;

/// Kokkos has room for so many threads and crashes beyond.
constexpr int most_threads = 512;

/// The first number of a list like "4,2" (the outermost level), at least 1, blanks aside; nothing for other texts.
std::optional<int> first_of_list(std::string_view text) {
    const std::string_view blanks = " \t";
    text = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
    text = text.substr(0, text.find_last_not_of(blanks) + 1);
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (end != text.data() + text.size() || text.empty() || number < 0) return std::nullopt;
    if (error == std::errc::result_out_of_range) return std::numeric_limits<int>::max();
    return error == std::errc() && number > 0 ? std::optional(number) : std::nullopt;
}

MPI_Comm duplicate_handle(MPI_Comm original) {
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(original, &copy), "MPI_Comm_dup");
    return copy;
}

template <class Value>
MPI_Datatype mpi_type() {
    if constexpr (std::is_same_v<Value, double>) return MPI_DOUBLE;
    if constexpr (std::is_same_v<Value, std::int64_t>) return MPI_INT64_T;
    if constexpr (std::is_same_v<Value, std::uint64_t>) return MPI_UINT64_T;
}

template <class Value>
void reduce_in_place(Value* values, int n, MPI_Op operation, MPI_Comm handle) {
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, values, n, mpi_type<Value>(), operation, handle), "MPI_Allreduce");
}

/// The values of all ranks, one after another. Ranks broadcast their part in turn, which has no limit of size.
template <class Value>
std::vector<Value> concatenate_values(const std::vector<Value>& values, const Communicator& communicator) {
    const std::vector<std::uint64_t> counts = communicator.gather_all(values.size());
    std::vector<Value> all(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
    const int ranks = communicator.ranks();
    if (all.size() * sizeof(Value) <= largest_piece) {
        std::vector<int> bytes(ranks), positions(ranks, 0);
        for (int rank = 0; rank < ranks; ++rank) bytes[rank] = static_cast<int>(counts[rank] * sizeof(Value));
        std::partial_sum(bytes.begin(), bytes.end() - 1, positions.begin() + 1);
        check_mpi(MPI_Allgatherv(values.data(), bytes[communicator.rank()], MPI_BYTE, all.data(), bytes.data(),
                                 positions.data(), MPI_BYTE, communicator.handle()),
                  "MPI_Allgatherv");
        return all;
    }
    auto place = all.begin();
    for (int rank = 0; rank < ranks; ++rank) {
        if (rank == communicator.rank()) std::copy(values.begin(), values.end(), place);
        communicator.broadcast(std::to_address(place), counts[rank] * sizeof(Value), rank);
        place += static_cast<std::ptrdiff_t>(counts[rank]);
    }
    return all;
}

}  // namespace

void check_mpi(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw Error(fmt::format("{} failed: {}", call, text));
}

Communicator::Communicator(MPI_Comm handle) : handle_(handle) {
    check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(handle_, &ranks_), "MPI_Comm_size");
}

Communicator Communicator::world() { return Communicator(duplicate_handle(MPI_COMM_WORLD)); }

Communicator Communicator::duplicate() const { return Communicator(duplicate_handle(handle_)); }

Communicator::Communicator(Communicator&& other) noexcept
    : handle_(std::exchange(other.handle_, MPI_COMM_NULL)), rank_(other.rank_), ranks_(other.ranks_) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(rank_, other.rank_);
    std::swap(ranks_, other.ranks_);
    return *this;
}

Communicator::~Communicator() {
    // Freeing is collective: during an exception the other ranks may never come.
    if (handle_ == MPI_COMM_NULL || std::uncaught_exceptions() > 0) return;
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Comm_free(&handle_);
}

void Communicator::barrier() const { check_mpi(MPI_Barrier(handle_), "MPI_Barrier"); }

void Communicator::sum(double* values, int n) const { reduce_in_place(values, n, MPI_SUM, handle_); }
void Communicator::sum(std::int64_t* values, int n) const { reduce_in_place(values, n, MPI_SUM, handle_); }
void Communicator::sum(std::uint64_t* values, int n) const { reduce_in_place(values, n, MPI_SUM, handle_); }
void Communicator::maximum(std::int64_t* values, int n) const { reduce_in_place(values, n, MPI_MAX, handle_); }
void Communicator::maximum(double* values, int n) const { reduce_in_place(values, n, MPI_MAX, handle_); }

std::int64_t Communicator::maximum(std::int64_t value) const {
    maximum(&value, 1);
    return value;
}

std::uint64_t Communicator::prefix_sum(std::uint64_t value) const {
    std::uint64_t before = 0;
    check_mpi(MPI_Exscan(&value, &before, 1, MPI_UINT64_T, MPI_SUM, handle_), "MPI_Exscan");
    return root() ? 0 : before;  // MPI leaves rank 0's result undefined
}

void Communicator::broadcast(void* data, std::size_t bytes, int root) const {
    auto* place = static_cast<std::byte*>(data);
    while (bytes > 0) {
        const std::size_t piece = std::min(bytes, largest_piece);
        check_mpi(MPI_Bcast(place, static_cast<int>(piece), MPI_BYTE, root, handle_), "MPI_Bcast");
        place += piece;
        bytes -= piece;
    }
}

std::string Communicator::broadcast(const std::string& text, int root) const {
    std::uint64_t length = text.size();
    broadcast(&length, sizeof length, root);
    std::string copy = rank_ == root ? text : std::string(length, '\0');
    broadcast(copy.data(), length, root);
    return copy;
}

std::vector<std::uint64_t> Communicator::gather_all(std::uint64_t value) const {
    std::vector<std::uint64_t> values(ranks_);
    check_mpi(MPI_Allgather(&value, 1, MPI_UINT64_T, values.data(), 1, MPI_UINT64_T, handle_), "MPI_Allgather");
    return values;
}

std::vector<std::uint64_t> Communicator::concatenate(const std::vector<std::uint64_t>& values) const {
    return concatenate_values(values, *this);
}
std::vector<std::uint32_t> Communicator::concatenate(const std::vector<std::uint32_t>& values) const {
    return concatenate_values(values, *this);
}
std::vector<std::byte> Communicator::concatenate(const std::vector<std::byte>& values) const {
    return concatenate_values(values, *this);
}

std::vector<std::vector<std::byte>> Communicator::exchange(const std::vector<std::vector<std::byte>>& bytes) const {
    PROTALBERT_CHECK(bytes.size() == static_cast<std::size_t>(ranks_), "exchange needs one piece a rank");
    std::vector<std::uint64_t> sizes(ranks_), arriving(ranks_);
    std::transform(bytes.begin(), bytes.end(), sizes.begin(), [](const auto& piece) { return piece.size(); });
    check_mpi(MPI_Alltoall(sizes.data(), 1, MPI_UINT64_T, arriving.data(), 1, MPI_UINT64_T, handle_), "MPI_Alltoall");

    // Messages between pairs, in pieces: no limit of size, and no copy into one long buffer.
    std::vector<std::vector<std::byte>> received(ranks_);
    std::vector<MPI_Request> requests;
    const auto for_pieces = [](std::size_t size, const auto& act) {
        for (std::size_t first = 0; first < size; first += largest_piece)
            act(first, static_cast<int>(std::min(largest_piece, size - first)));
    };
    for (int distance = 0; distance < ranks_; ++distance) {
        const int source = (rank_ + ranks_ - distance) % ranks_;
        received[source].resize(arriving[source]);
        if (distance == 0) {
            received[source] = bytes[source];
            continue;
        }
        for_pieces(received[source].size(), [&](std::size_t first, int count) {
            check_mpi(MPI_Irecv(received[source].data() + first, count, MPI_BYTE, source, 0, handle_,
                                &requests.emplace_back()),
                      "MPI_Irecv");
        });
    }
    for (int distance = 1; distance < ranks_; ++distance) {
        const int target = (rank_ + distance) % ranks_;
        for_pieces(bytes[target].size(), [&](std::size_t first, int count) {
            check_mpi(
                MPI_Isend(bytes[target].data() + first, count, MPI_BYTE, target, 0, handle_, &requests.emplace_back()),
                "MPI_Isend");
        });
    }
    check_mpi(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    return received;
}

Communicator Communicator::split(int part) const {
    MPI_Comm split = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(handle_, part, rank_, &split), "MPI_Comm_split");
    return Communicator(split);
}

Communicator Communicator::machine() const {
    MPI_Comm split = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &split), "MPI_Comm_split_type");
    return Communicator(split);
}

LocalRanks local_ranks(const Communicator& communicator) {
    const Communicator machine = communicator.machine();
    return {machine.rank(), machine.ranks()};
}

std::size_t memory_for_rank(const Communicator& communicator) {
    const auto all = static_cast<double>(local_ranks(communicator).ranks);
    double least = -static_cast<double>(available_memory().value_or(std::uint64_t{1} << 60)) / all;
    communicator.maximum(&least, 1);
    return static_cast<std::size_t>(-least);
}

int threads_for_rank(const Communicator& communicator) {
    // Each core counts for as many parts as there are ranks on this machine that may use it: a rank bound to its own
    // cores keeps them all, unbound ranks divide the machine.
    cpu_set_t mask;
    CPU_ZERO(&mask);
    const bool known = sched_getaffinity(0, sizeof mask, &mask) == 0;
    std::vector<std::int64_t> users(CPU_SETSIZE, 0);
    for (int core = 0; core < CPU_SETSIZE; ++core) users[core] = known && CPU_ISSET(core, &mask);
    communicator.machine().sum(users.data(), CPU_SETSIZE);
    double share = 0;
    for (int core = 0; core < CPU_SETSIZE; ++core)
        if (known && CPU_ISSET(core, &mask)) share += 1.0 / static_cast<double>(users[core]);

    // Thirds of cores must add up to whole ones.
    const int threads = std::clamp(static_cast<int>(share + 1e-6), 1, most_threads);
    const char* wish = std::getenv("OMP_NUM_THREADS");
    if (!wish || !*wish) return threads;
    const std::optional<int> wished = first_of_list(wish);
    if (!wished)
        throw InputError(fmt::format("OMP_NUM_THREADS is \"{}\"; set it to a number of threads or unset it", wish));
    if (*wished <= most_threads) return *wished;
    static std::atomic<bool> said = false;
    if (communicator.root() && !said.exchange(true))
        log_warning(
            fmt::format("OMP_NUM_THREADS is {}; a rank can have {} threads at most, and takes {}, its share of "
                        "this machine's cores",
                        wish, most_threads, threads));
    return threads;
}

}  // namespace protalbert

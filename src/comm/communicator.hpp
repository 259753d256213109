#pragma once
// MPI, as little of it as the program needs: ranks, sums, and gathers that throw with the place when MPI fails.

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace protalbert {

/// A communicator of its own (duplicated), freed at the end. Movable.
class Communicator {
  public:
    /// MPI_COMM_WORLD's duplicate.
    static Communicator world();
    Communicator duplicate() const;
    /// The ranks that give the same `part`, in the same order.
    Communicator split(int part) const;
    /// The ranks on this rank's machine.
    Communicator machine() const;
    Communicator(Communicator&& other) noexcept;
    Communicator& operator=(Communicator&& other) noexcept;
    ~Communicator();

    int rank() const { return rank_; }
    int ranks() const { return ranks_; }
    bool root() const { return rank_ == 0; }
    MPI_Comm handle() const { return handle_; }

    void barrier() const;
    /// Element-wise over ranks, in place, the same result everywhere.
    void sum(double* values, int n) const;
    void sum(std::int64_t* values, int n) const;
    void sum(std::uint64_t* values, int n) const;
    void maximum(std::int64_t* values, int n) const;
    void maximum(double* values, int n) const;
    std::int64_t maximum(std::int64_t value) const;
    /// Sum over the ranks before this one.
    std::uint64_t prefix_sum(std::uint64_t value) const;
    /// From `root` to all; `bytes` may exceed 2^31.
    void broadcast(void* data, std::size_t bytes, int root) const;
    std::string broadcast(const std::string& text, int root) const;
    /// Values of all ranks, in the order of ranks.
    std::vector<std::uint64_t> gather_all(std::uint64_t value) const;
    /// Concatenation over ranks, the same everywhere.
    std::vector<std::uint64_t> concatenate(const std::vector<std::uint64_t>& values) const;
    std::vector<std::uint32_t> concatenate(const std::vector<std::uint32_t>& values) const;
    std::vector<std::byte> concatenate(const std::vector<std::byte>& values) const;
    /// Personalised exchange: bytes [r] go to rank r; returns what each rank sent here.
    std::vector<std::vector<std::byte>> exchange(const std::vector<std::vector<std::byte>>& bytes) const;

  private:
    explicit Communicator(MPI_Comm handle);
    MPI_Comm handle_;
    int rank_;
    int ranks_;
};

/// Throws Error naming the MPI call and its error text unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

/// Ranks on this rank's machine, and this rank's number among them.
struct LocalRanks {
    int rank;
    int ranks;
};
LocalRanks local_ranks(const Communicator& communicator);

/// Bytes of memory that a machine has left for each of its ranks, on the machine that has least. Collective.
std::size_t memory_for_rank(const Communicator& communicator);

/// Threads for each rank: OMP_NUM_THREADS, else this process's share of the cores that its affinity mask allows; the
/// latter with a warning where the former is more than the CPU backend can have (512). Throws InputError when the
/// variable is no number. Collective.
int threads_for_rank(const Communicator& communicator);

}  // namespace protalbert

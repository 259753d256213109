#pragma once
// main() of a test that runs under mpirun: rank 0 reports, other ranks print their failures alone, and the test fails
// when any rank does. For test programs of one source file.

#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "comm/communicator.hpp"
#include "comm/local_gpu.hpp"

namespace protalbert {

/// An empty folder that all ranks see, removed by remove_shared_folder. Collective.
inline std::filesystem::path make_shared_folder(const std::string& name) {
    const Communicator world = Communicator::world();
    namespace fs = std::filesystem;
    const fs::path mine = fs::temp_directory_path() / (name + "_" + std::to_string(getpid()));
    const fs::path folder = world.broadcast(mine.string(), 0);
    if (world.root()) {
        fs::remove_all(folder);
        fs::create_directories(folder);
    }
    world.barrier();
    return folder;
}

inline void remove_shared_folder(const std::filesystem::path& folder) {
    const Communicator world = Communicator::world();
    world.barrier();
    if (world.root()) std::filesystem::remove_all(folder);
}

class FailuresOfRank : public testing::EmptyTestEventListener {
  public:
    explicit FailuresOfRank(int rank) : rank_(rank) {}

  private:
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (result.failed())
            std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank_, result.file_name(), result.line_number(),
                         result.message());
    }
    int rank_;
};

}  // namespace protalbert

int main(int argc, char** argv) {
    int thread_level = 0;
    protalbert::take_launched_gpu(argc, argv);
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &thread_level);
    testing::InitGoogleTest(&argc, argv);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank > 0) {
        testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new protalbert::FailuresOfRank(rank));
    }
    int failed = RUN_ALL_TESTS();
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed;
}

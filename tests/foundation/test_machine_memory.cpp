// The memory that is left, from copies of what Linux says of itself.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/machine_memory.hpp"

using namespace protalbert;
namespace fs = std::filesystem;

namespace {

class MachineMemory : public testing::Test {
  protected:
    void SetUp() override {
        fs::remove_all(root_);
        say("proc/meminfo", "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    800 kB\n");
    }
    void TearDown() override { fs::remove_all(root_); }
    void say(const fs::path& file, const std::string& text) {
        fs::create_directories((root_ / file).parent_path());
        std::ofstream(root_ / file) << text;
    }
    const fs::path root_ = fs::temp_directory_path() / ("protalbert_machine_memory_" + std::to_string(getpid()));
};

TEST_F(MachineMemory, IsTheMachines) { EXPECT_EQ(available_memory(root_), 800 * 1024); }

TEST_F(MachineMemory, IsNotGuessed) {
    fs::remove_all(root_);
    EXPECT_FALSE(available_memory(root_));
}

TEST_F(MachineMemory, IsBoundByAControlGroupAndItsParents) {
    say("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
    say("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
    say("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "1000\n");
    EXPECT_EQ(available_memory(root_), 800 * 1024);
    say("sys/fs/cgroup/slurm/job_7/memory.max", "400000\n");
    say("sys/fs/cgroup/slurm/job_7/memory.current", "90000\n");
    say("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 20000\nfile 70000\ninactive_file 30000\nactive_file 40000\n");
    EXPECT_EQ(available_memory(root_), 380000);
}

TEST_F(MachineMemory, IsBoundByAControlGroupOfVersion1) {
    say("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/slurm/uid_1\n");
    say("sys/fs/cgroup/memory/slurm/uid_1/memory.limit_in_bytes", "500000\n");
    say("sys/fs/cgroup/memory/slurm/uid_1/memory.usage_in_bytes", "600000\n");
    say("sys/fs/cgroup/memory/slurm/uid_1/memory.stat", "total_inactive_file 300000\ntotal_active_file 0\n");
    EXPECT_EQ(available_memory(root_), 200000);
}

TEST_F(MachineMemory, OfThisMachineIsKnown) { EXPECT_GT(available_memory().value_or(0), 1 << 20); }

}  // namespace

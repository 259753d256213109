#include "comm/local_gpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "kernels/cuda/cuda_backend.hpp"

namespace protalbert {

namespace {

/// This process's number among those of its machine, where the launcher tells.
std::optional<int> launched_number() {
    // Slurm's comes last: within a batch script it is 0 for every process that mpirun starts.
    for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                             "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID", "SLURM_LOCALID"}) {
        if (const char* text = std::getenv(name); text != nullptr && *text != '\0') return std::atoi(text);
    }
    return std::nullopt;
}

bool asks_for_cpu(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--device=cpu") return true;
        if (argument == "--device" && i + 1 < argc && std::strcmp(argv[i + 1], "cpu") == 0) return true;
    }
    return false;
}

/// A process that Slurm shows one GPU alone finds it as number 0, whatever its own number is.
void take(int number, int gpus) { choose_cuda_device(number % gpus); }

/// Takes a GPU where the launcher said nothing. Throws InputError where two ranks of a machine have the same, or some
/// ranks none. Collective.
void settle_gpu(const std::string& device, const Communicator& communicator) {
    if (device == "cpu") return;
    const Communicator machine = communicator.machine();
    const int gpus = cuda_devices().count;
    if (!launched_number() && gpus > 0) take(machine.rank(), gpus);
    // "auto" with and without a GPU on ranks of one run would mix precisions and speeds.
    std::int64_t ranks_with_gpu = gpus > 0 ? 1 : 0;
    communicator.sum(&ranks_with_gpu, 1);
    if (ranks_with_gpu == 0) return;
    if (ranks_with_gpu < communicator.ranks()) {
        throw InputError(
            fmt::format("{} of {} ranks have a GPU; start ranks only where there is one, or choose --device "
                        "cpu",
                        ranks_with_gpu, communicator.ranks()));
    }
    constexpr std::size_t width = 64;  // of cuda_device_name(), 40 characters, with room
    std::string name = cuda_device_name();
    name.resize(width, '\0');
    const std::vector<std::byte> all = machine.concatenate(std::vector<std::byte>(
        reinterpret_cast<const std::byte*>(name.data()), reinterpret_cast<const std::byte*>(name.data()) + width));
    for (int rank = 0; rank < machine.ranks(); ++rank) {
        if (rank == machine.rank() ||
            std::memcmp(all.data() + width * static_cast<std::size_t>(rank), name.data(), width) != 0)
            continue;
        throw InputError(
            fmt::format("ranks {} and {} of one machine share the GPU {}; start at most as many ranks a machine "
                        "as it has GPUs (srun --ntasks-per-node), each of which sees all of them",
                        std::min(rank, machine.rank()), std::max(rank, machine.rank()), name.c_str()));
    }
}

}  // namespace

void take_launched_gpu(int argc, char** argv) {
    if (asks_for_cpu(argc, argv)) return;
    const std::optional<int> number = launched_number();
    const int gpus = cuda_devices().count;
    if (number && gpus > 0) take(*number, gpus);
}

std::unique_ptr<Backend> make_rank_backend(const std::string& device, Precision precision,
                                           const Communicator& communicator) {
    settle_gpu(device, communicator);
    return make_backend(device, precision, threads_for_rank(communicator));
}

}  // namespace protalbert

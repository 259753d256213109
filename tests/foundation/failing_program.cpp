// A program that ends in the way its first argument names; failure.sh watches how all its ranks end.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/gradient_reduction.hpp"
#include "comm/program.hpp"
#include "io/checkpoint.hpp"
#include "io/hdf5.hpp"

using namespace protalbert;

namespace {

void compute_for_ever() {
    for (;;) sleep(1);
}

[[noreturn]] void fail() { throw InputError("record 7 of proteins.fasta is empty; remove it"); }

/// MPI calls it when it begins to finalize.
void at_finalization(MPI_Comm_delete_attr_function* call) {
    int key = 0;
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, call, &key, nullptr);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr);
}

std::string folder = ".";  // --folder

using Ending = std::function<int(const Communicator&)>;

const std::map<std::string, Ending> endings = {
    {"finished",
     [](const Communicator& world) {
         world.barrier();
         log_information("finished");
         return exit_done;
     }},
    {"one_late",  // MPI's finalization must not begin while a rank may still fail
     [](const Communicator& world) {
         at_finalization([](MPI_Comm, int, void*, void*) {
             if (!std::filesystem::exists("done.txt")) log_error("MPI's finalization began before all ranks were done");
             return MPI_SUCCESS;
         });
         if (world.rank() != 1) return exit_done;
         usleep(300'000);
         std::ofstream("done.txt") << "done\n";
         return exit_done;
     }},
    {"stopped", [](const Communicator&) { return exit_stopped; }},
    {"all", [](const Communicator&) -> int { fail(); }},
    {"all_internal", [](const Communicator&) -> int { throw std::runtime_error("broken"); }},
    {"all_differently",
     [](const Communicator& world) -> int {
         throw InputError("file " + std::to_string(world.rank()) + ".fasta is empty");
     }},
    {"all_but_late",  // within the rendezvous
     [](const Communicator& world) -> int {
         usleep(static_cast<useconds_t>(200'000 * world.rank()));
         fail();
     }},
    {"one_in_collective",
     [](const Communicator& world) {
         if (world.rank() == world.ranks() - 1) fail();
         for (;;) world.barrier();
         return exit_done;
     }},
    {"first_in_collective",
     [](const Communicator& world) {
         if (world.root()) fail();
         world.broadcast("text", 0);
         return exit_done;
     }},
    {"some_in_collective",
     [](const Communicator& world) {
         if (world.rank() != 1) fail();
         for (;;) world.barrier();
         return exit_done;
     }},
    {"one_others_compute",
     [](const Communicator& world) {
         if (world.rank() == 1) fail();
         compute_for_ever();
         return exit_done;
     }},
    {"one_others_done",
     [](const Communicator& world) {
         if (world.rank() == 1) fail();
         return exit_done;
     }},
    {"one_with_threads",  // the others' main threads wait for a thread that waits in a collective
     [](const Communicator& world) {
         const Communicator background = world.duplicate();
         if (world.rank() == 1) fail();
         std::thread([&] { background.barrier(); }).join();
         return exit_done;
     }},
    {"one_in_reduction",
     [](const Communicator& world) {
         GradientReduction reduction(world);
         std::vector<float> values(1 << 20, 1.0f);
         if (world.rank() == 1) fail();
         reduction.start(values.data(), std::ssize(values));
         reduction.finish();
         return exit_done;
     }},
    {"one_with_open_file",
     [](const Communicator& world) {
         Hdf5File file = Hdf5File::create("open_file.h5", world);
         file.create_dataset("/values", Element::float32, {10});
         if (world.rank() == 1) fail();
         for (;;) world.barrier();  // while the failing rank must not wait for us to close the file
         return exit_done;
     }},
    {"all_with_open_file",
     [](const Communicator& world) -> int {
         Hdf5File file = Hdf5File::create("open_file.h5", world);
         file.create_dataset("/values", Element::float32, {10});
         fail();
     }},
    {"all_but_one_in_reduction",  // a sum that never ends: MPI's finalization must not wait for it
     [](const Communicator& world) -> int {
         GradientReduction reduction(world);
         std::vector<float> values(1 << 20, 1.0f);
         if (world.root()) reduction.start(values.data(), std::ssize(values));
         fail();
     }},
    {"all_then_stuck",  // MPI's finalization never ends
     [](const Communicator&) -> int {
         at_finalization([](MPI_Comm, int, void*, void*) {
             compute_for_ever();
             return MPI_SUCCESS;
         });
         fail();
     }},
    {"write_file",  // 8 MB, into a file system that may hold less
     [](const Communicator& world) {
         Hdf5File file = Hdf5File::create(folder + "/file.h5", world);
         const auto rows = static_cast<std::uint64_t>(2'000'000 / world.ranks());
         file.create_dataset("/values", Element::float32, {rows * static_cast<std::uint64_t>(world.ranks())});
         const std::vector<float> values(rows);
         file.write("/values", values.data(), {rows * static_cast<std::uint64_t>(world.rank()), rows});
         file.flush();
         file.close();
         return exit_done;
     }},
    {"write_checkpoint",
     [](const Communicator& world) {
         std::vector<float> values(2'000'000);
         const NamedArray array{"weight", {2000, 1000}, values.data()};
         write_checkpoint(folder + "/step_00000001.h5", {}, {{array}, {}, {}}, world);
         return exit_done;
     }},
    {"out_of_memory",
     [](const Communicator& world) {
         if (world.rank() == 1) std::vector<std::byte>(std::size_t{1} << 60);
         world.barrier();
         return exit_done;
     }},
    {"on_root",
     [](const Communicator& world) {
         on_root(world, [] { fail(); });
         return exit_done;
     }},
    {"all_or_none",
     [](const Communicator& world) {
         all_or_none(world, [&] {
             if (world.rank() == 1) fail();
         });
         return exit_done;
     }},
};

}  // namespace

int main(int argc, char** argv) {
    return run_program(argc, argv, [&](const Communicator& world) {
        std::string ending;
        int number = 0;
        CLI::App app("Ends in the way that it is told.", "failing_program");
        app.add_option("ending", ending, "how to end")->required();
        app.add_option("--folder", folder, "where to write");
        app.add_option("--number", number, "any number");
        if (const auto exit_code = parse_command_line(app, argc, argv, world)) return *exit_code;
        return endings.at(ending)(world);
    });
}

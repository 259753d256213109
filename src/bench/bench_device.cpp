#include "bench/bench_device.hpp"

#include "comm/local_gpu.hpp"

namespace protalbert {

void add_device_options(CLI::App& command, DeviceChoice& choice) {
    command.add_option("--device", choice.device, "auto, cpu or cuda")->take_last()->capture_default_str();
    command.add_option("--precision", choice.precision, "of products: float32 or bfloat16")
        ->take_last()
        ->capture_default_str()
        ->check(CLI::IsMember({"float32", "bfloat16"}));
}

std::unique_ptr<Backend> make_backend(const DeviceChoice& choice, const Communicator& communicator) {
    return make_rank_backend(choice.device, choice.precision == "bfloat16" ? Precision::bfloat16 : Precision::float32,
                             communicator);
}

}  // namespace protalbert

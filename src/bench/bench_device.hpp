#pragma once
// The device of a benchmark.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "kernels/backend.hpp"

namespace protalbert {

struct DeviceChoice {
    std::string device = "auto";
    std::string precision = "float32";
};

/// --device and --precision.
void add_device_options(CLI::App& command, DeviceChoice& choice);
/// Collective.
std::unique_ptr<Backend> make_backend(const DeviceChoice& choice, const Communicator& communicator);

}  // namespace protalbert

#pragma once
// How much memory the processes of a machine may still take.

#include <cstdint>
#include <filesystem>
#include <optional>

namespace protalbert {

/// Bytes that are left to this process and its neighbours: of the machine, and within the limits of its control groups
/// (those of a Slurm job, a container or a service), whose file cache counts as free. Nothing where Linux does not say.
/// `root`: for tests, where /proc and /sys are.
std::optional<std::uint64_t> available_memory(const std::filesystem::path& root = "/");

}  // namespace protalbert

// Chooses the backend at run time; what a backend that computes at once, in the machine's own memory, leaves as it is.

#include "kernels/backend.hpp"

#include <fmt/format.h>

#include <chrono>

#include "base/error.hpp"
#include "base/log.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/kokkos/kokkos_backend.hpp"

namespace protalbert {

std::unique_ptr<Backend> make_backend(const std::string& device, Precision precision, int threads) {
    if (device == "cuda") return make_cuda_backend(precision);
    if (device == "cpu") return make_kokkos_backend(precision, threads);
    if (device != "auto") throw InputError(fmt::format("unknown device '{}': choose auto, cpu or cuda", device));
    const CudaDevices devices = cuda_devices();
    if (devices.count > 0) return make_cuda_backend(precision);
    log_information(fmt::format("device auto is the CPU: {}", devices.none));
    return make_kokkos_backend(precision, threads);
}

void Backend::reserve(std::size_t) {}

std::optional<MemorySize> Backend::memory() const { return std::nullopt; }

std::int64_t Backend::element_bytes() const { return precision() == Precision::float32 ? 4 : 2; }

std::int64_t Backend::slow_products() const { return 0; }

bool Backend::host_reaches_memory() const { return true; }

void* Backend::allocate_host(std::size_t bytes) { return allocate(bytes); }

void Backend::free_host(void* memory) noexcept { free(memory); }

Stream Backend::make_stream() { return {}; }

void Backend::free_stream(Stream) noexcept {}

namespace {
using Time = std::chrono::steady_clock::time_point;
}

Event Backend::make_event() { return {new Time(std::chrono::steady_clock::now())}; }

void Backend::free_event(Event event) noexcept { delete static_cast<Time*>(event.handle); }

void Backend::record(Event event, Stream stream) {
    synchronize(stream);
    *static_cast<Time*>(event.handle) = std::chrono::steady_clock::now();
}

void Backend::wait(Stream, Event) {}

void Backend::wait_for(Event) {}

bool Backend::done(Event) { return true; }

double Backend::seconds_between(Event from, Event to) {
    return std::chrono::duration<double>(*static_cast<Time*>(to.handle) - *static_cast<Time*>(from.handle)).count();
}

}  // namespace protalbert

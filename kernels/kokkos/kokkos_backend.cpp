// Start-up, memory and copies of the CPU backend.

#include "kernels/kokkos/kokkos_backend.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/error.hpp"
#include "kernels/kokkos/backend_class.hpp"

namespace protalbert {

namespace {

/// Threads that Kokkos has room for.
constexpr int most_threads = 512;

void initialize_kokkos_once(int threads) {
    static std::once_flag once;
    std::call_once(once, [threads] {
        if (Kokkos::is_initialized()) return;
        // Kokkos begins with as many threads as OpenMP would take, which may be more than there is memory for.
        // Numbers beyond an int come out negative.
        const int wanted = omp_get_max_threads();
        if (threads > 0 && (wanted > most_threads || wanted < 1)) omp_set_num_threads(threads);
        // Settings from outside have no say here, and Kokkos ends the program where one is no number.
        if (threads > 0)
            for (const char* name : {"KOKKOS_NUM_THREADS", "KOKKOS_DISABLE_WARNINGS"}) unsetenv(name);
        Kokkos::InitializationSettings settings;
        if (threads > 0) settings.set_num_threads(threads);
        settings.set_disable_warnings(true);
        Kokkos::initialize(settings);
        std::atexit([] {
            if (Kokkos::is_initialized() && !Kokkos::is_finalized()) Kokkos::finalize();
        });
    });
}

Host make_space(int threads) { return threads > 0 && threads != Host().concurrency() ? Host(threads) : Host(); }

/// Threads of make_space(threads). Not its concurrency(): with its deprecated functions, Kokkos has a static one, which
/// tells the default space's threads whatever space it is called on.
int threads_of_space(int threads) { return threads > 0 ? threads : Host().concurrency(); }

}  // namespace

std::unique_ptr<Backend> make_kokkos_backend(Precision precision, int threads) {
    if (threads < 0) throw InputError(fmt::format("{} threads: give a positive number, or 0 for the default", threads));
    initialize_kokkos_once(threads);
    return std::make_unique<KokkosBackend>(precision, threads);
}

KokkosBackend::KokkosBackend(Precision precision, int threads)
    : space_(make_space(threads)),
      threads_(threads_of_space(threads)),
      thread_scratch_(static_cast<std::size_t>(threads_)),
      precision_(precision),
      kernels_(product_kernels(precision)) {}

std::string KokkosBackend::description() const {
    return fmt::format("CPU, {} thread{}, {} products by {}", threads_, threads_ == 1 ? "" : "s",
                       precision_ == Precision::float32 ? "float32" : "bfloat16", kernels_.name);
}

void* KokkosBackend::allocate(std::size_t bytes) {
    void* memory = std::aligned_alloc(memory_alignment, allocated_bytes(bytes));
    if (memory == nullptr) {
        throw Error(fmt::format("out of memory: cannot allocate {} bytes ({:.1f} GB); use smaller batches", bytes,
                                static_cast<double>(bytes) * 1e-9));
    }
    forget(packed_, memory, bytes);
    set_zero(memory, bytes, {});
    return memory;
}

void KokkosBackend::free(void* memory) noexcept {
    forget(packed_, memory, 1);
    std::free(memory);
}

void KokkosBackend::upload(void* device, const void* host, std::size_t bytes, Stream stream) {
    copy(device, host, bytes, stream);
}

void KokkosBackend::download(void* host, const void* device, std::size_t bytes, Stream stream) {
    copy(host, device, bytes, stream);
}

namespace {
/// Bytes that one task copies or clears: enough to amortise a task, and whole pages, so that each page is first touched
/// by one thread.
constexpr std::size_t copy_chunk = std::size_t{1} << 20;
}  // namespace

void KokkosBackend::copy(void* to, const void* from, std::size_t bytes, Stream) {
    if (bytes == 0 || to == from) return;
    outdate(packed_, to, bytes);
    const std::int64_t chunks = static_cast<std::int64_t>((bytes + copy_chunk - 1) / copy_chunk);
    parallel("protalbert::copy", chunks, [=](std::int64_t i) {
        const std::size_t begin = static_cast<std::size_t>(i) * copy_chunk;
        std::memcpy(static_cast<std::byte*>(to) + begin, static_cast<const std::byte*>(from) + begin,
                    std::min(copy_chunk, bytes - begin));
    });
}

void KokkosBackend::set_zero(void* device, std::size_t bytes, Stream) {
    if (bytes == 0) return;
    outdate(packed_, device, bytes);
    const std::int64_t chunks = static_cast<std::int64_t>((bytes + copy_chunk - 1) / copy_chunk);
    parallel("protalbert::set_zero", chunks, [=](std::int64_t i) {
        const std::size_t begin = static_cast<std::size_t>(i) * copy_chunk;
        std::memset(static_cast<std::byte*>(device) + begin, 0, std::min(copy_chunk, bytes - begin));
    });
}

void KokkosBackend::synchronize(Stream) { space_.fence("protalbert::synchronize"); }

Weight KokkosBackend::compute_copy(const float* masters, void*, std::int64_t n, Stream) {
    announce(packed_, masters, n);
    return {reinterpret_cast<std::byte*>(const_cast<float*>(masters)), 4};
}

}  // namespace protalbert

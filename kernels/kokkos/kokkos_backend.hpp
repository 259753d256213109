#pragma once
// The backend for CPUs: Kokkos kernels on the default host execution space, hand-written vector kernels in them.

#include <memory>

#include "kernels/backend.hpp"

namespace protalbert {

/// The CPU backend with `threads` threads; 0: OMP_NUM_THREADS, or all processors that the process may run on.
/// Initialises Kokkos when it is the first, finalises it when the process ends. In bfloat16 the factors of products are
/// rounded and all else is float32.
/// One thread at a time may call a backend; its operations are done when they return.
std::unique_ptr<Backend> make_kokkos_backend(Precision precision, int threads);

}  // namespace protalbert

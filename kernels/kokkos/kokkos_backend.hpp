#pragma once
// The backend for CPUs: Kokkos kernels on the default host execution space, matrix products from oneDNN.

#include <memory>

#include "kernels/backend.hpp"

namespace protalbert {

/// The CPU backend with `threads` threads; 0: OMP_NUM_THREADS, or all processors that the process may run on.
/// Initialises Kokkos when it is the first, finalises it when the process ends. Throws InputError for bfloat16.
/// One thread at a time may call a backend; its operations are done when they return.
std::unique_ptr<Backend> make_kokkos_backend(Precision precision, int threads);

}  // namespace protalbert

#pragma once
// The precision of a backend as a type.

#include <cuda_bf16.h>

#include "kernels/cuda/backend_class.hpp"

namespace protalbert::cuda {

template <class Body>
void CudaBackend::with_element(const Body& body) const {
    if (precision_ == Precision::bfloat16) {
        body(__nv_bfloat16{});
    } else {
        body(float{});
    }
}

}  // namespace protalbert::cuda

# What only a GPU can show: programs that measure it, and the rehearsal of their day.
if(PROTALBERT_CUDA)
  add_executable(probe_products gpu/probe_products.cpp)
  target_link_libraries(probe_products PRIVATE kernels_cuda_part CUDA::cublasLt nlohmann_json::nlohmann_json Threads::Threads)
  # cuBLASLt has its scale modes for blocks of FP8 since 12.9.
  if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.9)
    add_executable(probe_float8 gpu/probe_float8.cpp)
    target_link_libraries(probe_float8 PRIVATE kernels_cuda_part CUDA::cublasLt nlohmann_json::nlohmann_json)
  endif()
endif()

# What only a GPU can show: programs that measure it, and the rehearsal of their day.
if(PROTALBERT_CUDA)
  add_executable(probe_products gpu/probe_products.cpp)
  target_link_libraries(probe_products PRIVATE kernels_cuda_part CUDA::cublasLt nlohmann_json::nlohmann_json Threads::Threads)
endif()

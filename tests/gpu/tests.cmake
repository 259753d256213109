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
# In a build without CUDA, whose test cuda_build.build makes the programs with it.
if(NOT PROTALBERT_CUDA AND NOT PROTALBERT_SANITIZE)
  protalbert_script_test(gpu rehearsal)
  set_tests_properties(gpu.rehearsal PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 DEPENDS cuda_build.build
                       RESOURCE_LOCK with_cuda)
  set_tests_properties(cuda_build.build PROPERTIES RESOURCE_LOCK with_cuda)
endif()

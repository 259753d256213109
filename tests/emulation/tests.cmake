# CUDA on the host: kernels/cuda compiled by the host compiler against the headers of this folder.
find_package(Threads REQUIRED)
add_library(cuda_emulation STATIC emulation/fiber.cpp emulation/execution.cpp emulation/shared_memory.cpp
            emulation/device_memory.cpp emulation/runtime.cpp emulation/emulated_instructions.cpp emulation/cublas_lt.cpp)
# This folder comes first: cuda_runtime.h must be found here though a toolkit be installed.
target_include_directories(cuda_emulation BEFORE PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/emulation ${PROJECT_SOURCE_DIR})
# A host compiler knows no #pragma unroll.
target_compile_options(cuda_emulation PUBLIC -Wno-unknown-pragmas)
target_link_libraries(cuda_emulation PUBLIC base_part)
foreach(name emulation emulated_instructions)
  protalbert_test(emulation ${name} LIBRARIES cuda_emulation GTest::gmock GTest::gtest_main)
endforeach()

# The whole CUDA backend as device "cuda" of the tests that link these objects: they define what kernels/cuda/absent.cpp
# would stand in for. A build with CUDA runs the same tests on its GPU.
if(PROTALBERT_EMULATE_CUDA AND NOT PROTALBERT_CUDA)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cpp)
  list(FILTER cuda_sources EXCLUDE REGEX "/absent.cpp$")
  set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX)
  add_library(kernels_emulated OBJECT ${cuda_sources})
  target_link_libraries(kernels_emulated PUBLIC cuda_emulation)
  # What is slow in emulation is slower still without optimisation.
  target_compile_options(kernels_emulated PRIVATE -O2)
  set(kernels_emulated kernels_emulated cuda_emulation)
  foreach(name emulated_attention emulated_device)
    protalbert_test(emulation ${name} LIBRARIES ${kernels_emulated} kernels_part GTest::gtest_main)
  endforeach()
endif()

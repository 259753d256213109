# CUDA on the host: kernels/cuda compiled by the host compiler against the headers of this folder.
find_package(Threads REQUIRED)
add_library(cuda_emulation STATIC emulation/fiber.cpp emulation/execution.cpp emulation/shared_memory.cpp
            emulation/device_memory.cpp emulation/runtime.cpp emulation/emulated_instructions.cpp)
# This folder comes first: cuda_runtime.h must be found here though a toolkit be installed.
target_include_directories(cuda_emulation BEFORE PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/emulation ${PROJECT_SOURCE_DIR})
# A host compiler knows no #pragma unroll.
target_compile_options(cuda_emulation PUBLIC -Wno-unknown-pragmas)
target_link_libraries(cuda_emulation PUBLIC base_part)
protalbert_test(emulation emulation LIBRARIES cuda_emulation GTest::gtest_main)

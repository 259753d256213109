# The CUDA backend: kernels/cuda/*.cu by nvcc, or absent.cpp in its place.
# libcudart is linked statically; libcublasLt and NCCL load no driver when a program starts: a program that was built
# with CUDA runs on machines without a GPU.

if(NOT PROTALBERT_CUDA)
  add_library(kernels_cuda_part STATIC kernels/cuda/absent.cpp)
  target_include_directories(kernels_cuda_part PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(kernels_cuda_part PUBLIC base_part)
  return()
endif()

# Machine code for each compute capability and no PTX: a GPU without a match is told so instead of compiling at start.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real)
endif()
enable_language(CUDA)
find_package(CUDAToolkit 12 QUIET)
if(NOT CUDAToolkit_FOUND)
  message(FATAL_ERROR "CUDA = ON needs CUDA's toolkit >= 12 with cuBLASLt. Load its module (cuda, cudatoolkit), or put its nvcc "
                      "into PATH.")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
file(GLOB cuda_sources CONFIGURE_DEPENDS kernels/cuda/*.cu kernels/cuda/*.cpp)
list(FILTER cuda_sources EXCLUDE REGEX "/absent.cpp$")
add_library(kernels_cuda_part STATIC ${cuda_sources})
target_include_directories(kernels_cuda_part PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(kernels_cuda_part PUBLIC base_part CUDA::cudart_static CUDA::cublasLt)
# ptxas prints registers and spills of every kernel; kernels/cuda/resources.py reads them.
target_compile_options(kernels_cuda_part PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xptxas=-v $<$<BOOL:${PROTALBERT_WERROR}>:-Werror=all-warnings>>)
message(STATUS "CUDA: ${CUDAToolkit_VERSION} for compute capabilities ${CMAKE_CUDA_ARCHITECTURES}")

# NCCL sums gradients between GPUs; without it MPI does, through the host.
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${NCCL_ROOT} ENV NCCL_ROOT PATHS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
find_library(NCCL_LIBRARY nccl HINTS ${NCCL_ROOT} ENV NCCL_ROOT PATHS ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
  add_library(nccl INTERFACE)
  target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
  target_compile_definitions(nccl INTERFACE PROTALBERT_NCCL)
  target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY} CUDA::cudart_static)
  set(nccl_libraries nccl)
  message(STATUS "NCCL: ${NCCL_LIBRARY}")
else()
  message(STATUS "NCCL was not found (NCCL_ROOT in Makefile.inc): MPI will sum gradients, through the host")
endif()

# The CUDA backend: kernels/cuda/*.cu by nvcc, or absent.cpp in its place.
# libcudart is linked statically; libcublasLt and NCCL load no driver when a program starts: a program that was built
# with CUDA runs on machines without a GPU.

# Machine code for each compute capability, without PTX: a GPU that has none is told so, not compiled for at each start.
set(cuda_usual_architectures 80-real 90-real)

# CMake below 3.26 does not know that nvcc has C++20 since 12.0. In the caller's folder, as enable_language.
macro(protalbert_enable_cuda)
  # nvcc takes the first g++ of PATH for what runs on the host, which need not be the compiler of everything else: an
  # older one lacks C++20, and a newer one wants a newer standard library than the rest is linked with. Of other
  # compilers nvcc may know nothing; CUDAHOSTCXX is CMake's own variable for a person's choice.
  if(NOT CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX} AND CMAKE_CXX_COMPILER_ID MATCHES "^(GNU|Clang)$")
    set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
  endif()
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
endmacro()

# protalbert_cuda_library(NAME KIND): the backend as a library; also in tests/cuda_build.
function(protalbert_cuda_library name kind)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cpp)
  list(FILTER cuda_sources EXCLUDE REGEX "/absent.cpp$")
  add_library(${name} ${kind} ${cuda_sources})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC base_part CUDA::cudart_static CUDA::cublasLt)
  # Functions of the standard library that are constants for the host are so for kernels; ptxas tells registers and
  # spills of each kernel. Only with the compilers that the tests run with a warning stops the build.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xptxas=-v -Xcompiler=-Wall,-Wextra>)
  set_target_properties(${name} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
  if(PROTALBERT_WERROR)
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
endfunction()

# The interface library `nccl`, where NCCL is wanted and found: it sums gradients between GPUs. Without it MPI does, through
# the host.
macro(protalbert_find_nccl)
  if(PROTALBERT_NCCL)
    find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${NCCL_ROOT} ENV NCCL_ROOT PATHS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
    find_library(NCCL_LIBRARY nccl HINTS ${NCCL_ROOT} ENV NCCL_ROOT PATHS ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
  endif()
  if(NOT PROTALBERT_NCCL)
    message(STATUS "NCCL is left out (NCCL in Makefile.inc): MPI will sum gradients, through the host")
  elseif(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    add_library(nccl INTERFACE)
    target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_compile_definitions(nccl INTERFACE PROTALBERT_NCCL)
    target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY} CUDA::cudart_static)
    message(STATUS "NCCL: ${NCCL_LIBRARY}")
  else()
    message(STATUS "NCCL was not found (NCCL_ROOT in Makefile.inc): MPI will sum gradients, through the host")
  endif()
endmacro()

if(NOT PROTALBERT_CUDA)
  add_library(kernels_cuda_part STATIC kernels/cuda/absent.cpp)
  target_include_directories(kernels_cuda_part PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(kernels_cuda_part PUBLIC base_part)
  return()
endif()

find_package(CUDAToolkit 12 QUIET)
if(NOT CUDAToolkit_FOUND)
  message(FATAL_ERROR "CUDA = ON needs CUDA's toolkit >= 12 with cuBLASLt. Load its module (cuda, cudatoolkit), or put its nvcc "
                      "into PATH.")
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${cuda_usual_architectures})
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
protalbert_enable_cuda()
protalbert_cuda_library(kernels_cuda_part STATIC)
message(STATUS "CUDA: ${CUDAToolkit_VERSION} for compute capabilities ${CMAKE_CUDA_ARCHITECTURES}")
protalbert_find_nccl()
if(TARGET nccl)
  set(nccl_libraries nccl)
endif()

# Finds every library. Each failure names the fix: Debian's package, what a cluster calls it, the key of Makefile.inc.

# One problem at a time would mean one run of CMake a package: collect them and stop at the end.
set(dependency_problems "")
macro(dependency_problem)
  string(APPEND dependency_problems "\n  * " ${ARGN})
endmacro()

find_package(MPI QUIET COMPONENTS CXX)
if(NOT MPI_CXX_FOUND)
  dependency_problem("MPI was not found. Debian: apt install libopenmpi-dev openmpi-bin. Cluster: module load openmpi "
                     "(or cray-mpich), or set MPICXX in Makefile.inc.")
elseif(MPI_CXX_VERSION VERSION_LESS 3.1)
  dependency_problem("MPI ${MPI_CXX_VERSION} is too old: 3.1 is needed. Load a newer MPI module, or set MPICXX in Makefile.inc.")
endif()

set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 QUIET COMPONENTS C)
string(CONCAT parallel_hdf5 "Debian: apt install libhdf5-openmpi-dev. Cluster: load the module of HDF5 with MPI (hdf5-parallel, "
       "phdf5 or cray-hdf5-parallel, or spack install hdf5+mpi) and set HDF5_ROOT in Makefile.inc to its folder.")
if(NOT HDF5_FOUND)
  dependency_problem("HDF5 was not found. " ${parallel_hdf5})
elseif(NOT HDF5_IS_PARALLEL)
  list(GET HDF5_INCLUDE_DIRS 0 serial_place)
  dependency_problem("The HDF5 ${HDF5_VERSION} in ${serial_place} is serial. All ranks read and write the same files together, "
                     "which needs an HDF5 built with MPI. " ${parallel_hdf5})
elseif(HDF5_VERSION VERSION_LESS 1.10.7)
  dependency_problem("HDF5 ${HDF5_VERSION} is too old: earlier versions than 1.10.7 lose data in parallel writes. " ${parallel_hdf5})
endif()

# The site's Kokkos first, then the one that setup.sh builds. Kokkos calls only the same major version compatible.
if(DEFINED ENV{PROTALBERT_CACHE})
  set(built_kokkos $ENV{PROTALBERT_CACHE}/kokkos-4.7.0)
else()
  set(built_kokkos $ENV{HOME}/.cache/protalbert/kokkos-4.7.0)
endif()
foreach(kokkos_version 4.3 5)
  if(NOT Kokkos_FOUND)
    find_package(Kokkos ${kokkos_version} QUIET PATHS ${built_kokkos})
  endif()
endforeach()
if(NOT Kokkos_FOUND)
  dependency_problem("Kokkos >= 4.3 was not found. jobscripts/setup.sh builds one. Cluster: load its module, or spack install "
                     "kokkos+openmp, and set KOKKOS_ROOT in Makefile.inc to its folder.")
elseif(NOT Kokkos_ENABLE_OPENMP)
  dependency_problem("The Kokkos in ${Kokkos_DIR} was built without OpenMP, so that every rank would use one core only. "
                     "Set KOKKOS_ROOT in Makefile.inc to one built with Kokkos_ENABLE_OPENMP=ON, or let jobscripts/setup.sh build one.")
elseif(Kokkos_ENABLE_CUDA OR Kokkos_ENABLE_HIP OR Kokkos_ENABLE_SYCL)
  dependency_problem("The Kokkos in ${Kokkos_DIR} was built for GPUs and redirects every compilation to a GPU compiler. Kokkos "
                     "serves the CPU alone here: set KOKKOS_ROOT in Makefile.inc to one built with OpenMP and without CUDA, HIP "
                     "and SYCL, or let jobscripts/setup.sh build one.")
endif()

find_package(OpenMP QUIET COMPONENTS CXX)
if(NOT OpenMP_CXX_FOUND)
  dependency_problem("${CMAKE_CXX_COMPILER} does not know OpenMP. Debian: apt install g++ (for clang libomp-dev), or set CXX in Makefile.inc.")
endif()

# Small libraries: name for CMake or pkg-config, Debian's package, Spack's package.
macro(small_dependency kind name debian spack)
  if(${kind} STREQUAL cmake)
    find_package(${name} QUIET)
    set(small_found ${${name}_FOUND})
  elseif(PkgConfig_FOUND)
    string(TOUPPER ${name} small_prefix)
    string(REGEX REPLACE "^LIB" "" small_prefix ${small_prefix})
    pkg_check_modules(${small_prefix} QUIET IMPORTED_TARGET ${name})
    set(small_found ${${small_prefix}_FOUND})
  else()
    set(small_found FALSE)
  endif()
  if(NOT small_found)
    dependency_problem("${name} was not found. Debian: apt install ${debian}. Cluster: spack install ${spack}, then spack load ${spack} "
                       "or add its folder to the environment variable CMAKE_PREFIX_PATH.")
  endif()
endmacro()
small_dependency(cmake PkgConfig pkg-config pkgconf)
small_dependency(cmake spdlog libspdlog-dev spdlog)
small_dependency(cmake CLI11 libcli11-dev cli11)
small_dependency(cmake nlohmann_json nlohmann-json3-dev nlohmann-json)
small_dependency(cmake ZLIB zlib1g-dev zlib)
small_dependency(pkgconfig tomlplusplus libtomlplusplus-dev tomlplusplus)
small_dependency(pkgconfig libxxhash libxxhash-dev xxhash)
small_dependency(cmake sentencepiece libsentencepiece-dev sentencepiece)
if(PROTALBERT_TESTS)
  small_dependency(cmake GTest libgtest-dev googletest)
endif()

if(dependency_problems)
  message(FATAL_ERROR "what is missing, and where to get it (on Debian, jobscripts/setup.sh installs all of it):${dependency_problems}")
endif()
message(STATUS "MPI: ${MPI_CXX_COMPILER} (MPI ${MPI_CXX_VERSION})")
message(STATUS "HDF5: ${HDF5_VERSION}, parallel, ${HDF5_INCLUDE_DIRS}")
message(STATUS "Kokkos: ${Kokkos_VERSION} in ${Kokkos_DIR}")

# Only the benchmarks' yardstick, and never a reason to stop.
find_package(dnnl QUIET)
unset(dnnl_usable CACHE)
if(NOT dnnl_FOUND)
  message(STATUS "oneDNN was not found: protalbert_bench will compare products with nothing")
elseif(dnnl_VERSION VERSION_LESS 2.6)
  message(STATUS "oneDNN ${dnnl_VERSION} (${dnnl_LIBRARY}) is not used: 2.6 is needed")
elseif(NOT dnnl_CPU_RUNTIME STREQUAL OMP)
  message(STATUS "oneDNN ${dnnl_VERSION} (${dnnl_LIBRARY}) is not used: its threads are of ${dnnl_CPU_RUNTIME} and would compete "
                 "with OpenMP's for the cores; DNNL_CPU_RUNTIME=OMP builds one that can be (spack: onednn cpu_runtime=omp)")
else()
  # A library may need others that are not here. Asked anew each time, as somebody may have installed them.
  file(WRITE ${CMAKE_BINARY_DIR}/dnnl_usable.cpp
       "#include <oneapi/dnnl/dnnl.hpp>\nint main() { return dnnl::engine::get_count(dnnl::engine::kind::cpu) == 0; }\n")
  try_compile(dnnl_usable ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/dnnl_usable.cpp LINK_LIBRARIES DNNL::dnnl OpenMP::OpenMP_CXX
              CXX_STANDARD 20)
  if(dnnl_usable)
    message(STATUS "oneDNN: ${dnnl_VERSION}, ${dnnl_LIBRARY} (for protalbert_bench alone)")
  else()
    message(STATUS "oneDNN ${dnnl_VERSION} (${dnnl_LIBRARY}) is not used: a program with it does not link")
  endif()
endif()

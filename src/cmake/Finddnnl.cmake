# Finds oneDNN by its headers and its library: DNNL::dnnl, dnnl_VERSION, and dnnl_CPU_RUNTIME (OMP, TBB, ...). Its own
# package file stops CMake where what it was built with is missing, such as OpenCL for GPUs (Debian's).

find_path(dnnl_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
find_library(dnnl_LIBRARY dnnl)
mark_as_advanced(dnnl_INCLUDE_DIR dnnl_LIBRARY)

# The value of the macro MACRO in a header, or nothing.
function(dnnl_macro result header macro)
  set(lines "")
  if(EXISTS ${dnnl_INCLUDE_DIR}/oneapi/dnnl/${header})
    file(STRINGS ${dnnl_INCLUDE_DIR}/oneapi/dnnl/${header} lines REGEX "^#define ${macro} +[A-Za-z0-9_]+")
  endif()
  string(REGEX REPLACE "^#define ${macro} +" "" value "${lines}")
  set(${result} "${value}" PARENT_SCOPE)
endfunction()
if(dnnl_INCLUDE_DIR)
  dnnl_macro(major dnnl_version.h DNNL_VERSION_MAJOR)
  dnnl_macro(minor dnnl_version.h DNNL_VERSION_MINOR)
  dnnl_macro(patch dnnl_version.h DNNL_VERSION_PATCH)
  set(dnnl_VERSION ${major}.${minor}.${patch})
  dnnl_macro(dnnl_CPU_RUNTIME dnnl_config.h DNNL_CPU_RUNTIME)
  string(REPLACE DNNL_RUNTIME_ "" dnnl_CPU_RUNTIME "${dnnl_CPU_RUNTIME}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(dnnl REQUIRED_VARS dnnl_LIBRARY dnnl_INCLUDE_DIR VERSION_VAR dnnl_VERSION)
if(dnnl_FOUND AND NOT TARGET DNNL::dnnl)
  add_library(DNNL::dnnl UNKNOWN IMPORTED)
  set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${dnnl_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${dnnl_INCLUDE_DIR})
endif()

# Finds sentencepiece by its header and its library: sentencepiece::sentencepiece. Its pkg-config file (Debian 13's) fails
# where the protobuf that it was built with has no development files, which nobody needs to use it; it may still be all
# that knows the place.

if(PkgConfig_FOUND)
  pkg_get_variable(sentencepiece_PREFIX sentencepiece prefix)
endif()
find_path(sentencepiece_INCLUDE_DIR sentencepiece_processor.h HINTS ${sentencepiece_PREFIX} PATH_SUFFIXES include)
find_library(sentencepiece_LIBRARY sentencepiece HINTS ${sentencepiece_PREFIX} PATH_SUFFIXES lib lib64)
mark_as_advanced(sentencepiece_INCLUDE_DIR sentencepiece_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(sentencepiece REQUIRED_VARS sentencepiece_LIBRARY sentencepiece_INCLUDE_DIR)
if(sentencepiece_FOUND AND NOT TARGET sentencepiece::sentencepiece)
  add_library(sentencepiece::sentencepiece UNKNOWN IMPORTED)
  set_target_properties(sentencepiece::sentencepiece PROPERTIES IMPORTED_LOCATION ${sentencepiece_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${sentencepiece_INCLUDE_DIR})
endif()

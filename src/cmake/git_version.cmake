# Looks up the git hash at every build, so that program_version() says what is really built.
# Included by CMakeLists.txt it makes the target git_version; run as a script (cmake -P) it writes the header, and only
# when the hash has changed: then src/comm/program.cpp alone is compiled again.

if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND git describe --always --dirty --abbrev=8 --exclude=* WORKING_DIRECTORY ${SOURCE}
                  OUTPUT_VARIABLE hash OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    set(hash "git unknown")
  endif()
  file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define PROTALBERT_VERSION \"${VERSION}\"\n#define PROTALBERT_GIT_HASH \"${hash}\"\n")
  return()
endif()

set(git_version_header ${PROJECT_BINARY_DIR}/git_version.hpp)
add_custom_target(git_version BYPRODUCTS ${git_version_header} COMMENT "Looking up the git hash"
                  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
                          -DOUTPUT=${git_version_header} -P ${CMAKE_CURRENT_LIST_FILE})
set_source_files_properties(src/comm/program.cpp PROPERTIES COMPILE_OPTIONS "-include;${git_version_header}")

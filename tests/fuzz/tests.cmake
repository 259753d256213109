# What reads foreign bytes, fuzzed for some seconds each, where there is a clang with libFuzzer; tests/run.sh --long fuzzes
# for long. fuzz.build builds the fuzzers in BUILD/fuzz/ for the others. They have the sanitizers anyway.
if(PROTALBERT_SANITIZE)
  return()
endif()
add_test(NAME fuzz.build COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.sh ${PROJECT_BINARY_DIR} build)
protalbert_test_settings(fuzz.build 1 2)
# Some fifty files take clang a minute or two on two cores.
set_tests_properties(fuzz.build PROPERTIES FIXTURES_SETUP fuzzers SKIP_RETURN_CODE 77 TIMEOUT 1200)
file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz_*.cpp)
foreach(fuzzer ${fuzzers})
  get_filename_component(fuzzer ${fuzzer} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" fuzzer ${fuzzer})
  add_test(NAME fuzz.${fuzzer} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/fuzz.sh ${PROJECT_BINARY_DIR} short ${fuzzer})
  protalbert_test_settings(fuzz.${fuzzer} 1 1)
  set_tests_properties(fuzz.${fuzzer} PROPERTIES FIXTURES_REQUIRED fuzzers SKIP_RETURN_CODE 77)
endforeach()

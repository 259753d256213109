# What reads the kernels' machine code, tested on listings of its own: that needs no nvcc.
add_test(NAME cuda_build.machine_code COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/cuda_build/test_machine_code.py)
protalbert_test_settings(cuda_build.machine_code 1 1)

# The CUDA backend by nvcc, where there is one: no warnings, no spills in attention, machine code within bounds,
# and a program that runs without a GPU.
if(NOT PROTALBERT_CUDA AND NOT PROTALBERT_SANITIZE)
  add_subdirectory(cuda_build)
  protalbert_script_test(cuda_build build)
  # Sixteen files for two compute capabilities take nvcc a minute or two on two cores.
  set_tests_properties(cuda_build.build PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200 PROCESSORS 2)
endif()

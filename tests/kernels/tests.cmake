# Every operation of kernels/backend.hpp. On the CPU each program runs again for the other instruction sets, once of
# them with arrays that are not aligned.
protalbert_test(kernels kernel_reference LIBRARIES kernels_part GTest::gtest_main)
foreach(name products attention layer_norm embedding elementwise losses convolution fixed_point optimizers)
  protalbert_test(kernels kernel_${name} LIBRARIES ${kernels_emulated} kernels_part GTest::gtest_main)
  foreach(instruction_set baseline avx2)
    add_test(NAME kernels.kernel_${name}.${instruction_set} COMMAND test_kernel_${name})
    set_tests_properties(kernels.kernel_${name}.${instruction_set} PROPERTIES
                         ENVIRONMENT "${test_environment};PROTALBERT_INSTRUCTION_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
  endforeach()
  # The CUDA backend, on a GPU or emulated; arrays that are not aligned take the kernels' other path.
  if(kernels_emulated OR PROTALBERT_CUDA)
    foreach(precision float32 bfloat16)
      add_test(NAME kernels.kernel_${name}.cuda.${precision} COMMAND test_kernel_${name})
      set_tests_properties(kernels.kernel_${name}.cuda.${precision} PROPERTIES LABELS gpu SKIP_RETURN_CODE 77
                           ENVIRONMENT "${test_environment};PROTALBERT_TEST_DEVICE=cuda;PROTALBERT_TEST_PRECISION=${precision}")
    endforeach()
    # Attention copies rows 16 bytes at a time and says so in its contract.
    if(NOT name STREQUAL attention)
      add_test(NAME kernels.kernel_${name}.cuda.shifted COMMAND test_kernel_${name})
      set_tests_properties(kernels.kernel_${name}.cuda.shifted PROPERTIES LABELS gpu SKIP_RETURN_CODE 77
                           ENVIRONMENT "${test_environment};PROTALBERT_TEST_DEVICE=cuda;PROTALBERT_TEST_PRECISION=bfloat16;PROTALBERT_TEST_SHIFT=1")
    endif()
  endif()
  # Where there are products: cuBLASLt refuses half of them, as only the emulated one can be told to.
  if(kernels_emulated AND name MATCHES "^(products|losses|convolution)$")
    foreach(precision float32 bfloat16)
      add_test(NAME kernels.kernel_${name}.cuda.refusals.${precision} COMMAND test_kernel_${name})
      set_tests_properties(kernels.kernel_${name}.cuda.refusals.${precision} PROPERTIES
                           ENVIRONMENT "${test_environment};PROTALBERT_TEST_DEVICE=cuda;PROTALBERT_TEST_PRECISION=${precision};PROTALBERT_TEST_REFUSALS=1")
    endforeach()
  endif()
endforeach()

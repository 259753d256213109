# Every operation of kernels/backend.hpp. On the CPU each program runs again for the other instruction sets, once of
# them with arrays that are not aligned.
protalbert_test(kernels kernel_reference LIBRARIES kernels_part GTest::gtest_main)
foreach(name products attention layer_norm embedding elementwise losses convolution fixed_point optimizers)
  protalbert_test(kernels kernel_${name} LIBRARIES kernels_part GTest::gtest_main)
  foreach(instruction_set baseline avx2)
    add_test(NAME kernels.kernel_${name}.${instruction_set} COMMAND test_kernel_${name})
    set_tests_properties(kernels.kernel_${name}.${instruction_set} PROPERTIES
                         ENVIRONMENT "PROTALBERT_INSTRUCTION_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
  endforeach()
endforeach()

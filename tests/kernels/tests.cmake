# Every operation of kernels/backend.hpp. On the CPU each program runs again for the other instruction sets, with arrays
# that are not aligned, and as on a CPU with AVX2 alone.
protalbert_test(kernels kernel_reference LIBRARIES kernels_part GTest::gtest_main)
set(kernel_tests products attention layer_norm embedding elementwise losses convolution fixed_point optimizers)
foreach(name ${kernel_tests})
  protalbert_test(kernels kernel_${name} VARIANTS .avx2_only LIBRARIES ${kernels_emulated} kernels_part GTest::gtest_main)
  foreach(instruction_set baseline avx2)
    add_test(NAME kernels.kernel_${name}.${instruction_set} COMMAND test_kernel_${name})
    set_tests_properties(kernels.kernel_${name}.${instruction_set} PROPERTIES
                         ENVIRONMENT "${test_environment};PROTALBERT_INSTRUCTION_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
  endforeach()
  # Products of bfloat16, by what the machine has and by less, and by AVX-512 BF16 and AMX emulated.
  if(name MATCHES "^(products|losses)$")
    foreach(instruction_set baseline avx2 avx512 amx_bf16)
      add_test(NAME kernels.kernel_${name}.bfloat16.${instruction_set} COMMAND test_kernel_${name})
      set_tests_properties(kernels.kernel_${name}.bfloat16.${instruction_set} PROPERTIES
                           ENVIRONMENT "${test_environment};PROTALBERT_TEST_PRECISION=bfloat16;PROTALBERT_INSTRUCTION_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
    endforeach()
    if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
      add_executable(test_kernel_${name}_emulated kernels/test_kernel_${name}.cpp kernels/emulated_product_kernels.cpp)
      target_link_libraries(test_kernel_${name}_emulated PRIVATE kernels_part GTest::gtest_main)
      foreach(instruction_set avx512_bf16 amx_bf16)
        add_test(NAME kernels.kernel_${name}.bfloat16.emulated.${instruction_set} COMMAND test_kernel_${name}_emulated)
        set_tests_properties(kernels.kernel_${name}.bfloat16.emulated.${instruction_set} PROPERTIES
                             ENVIRONMENT "${test_environment};PROTALBERT_TEST_PRECISION=bfloat16;PROTALBERT_TEST_EMULATED_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
      endforeach()
    endif()
  endif()
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
    # The slow kernel alone, as compute-sanitizer needs it.
    add_test(NAME kernels.kernel_${name}.cuda.simple COMMAND test_kernel_${name})
    set_tests_properties(kernels.kernel_${name}.cuda.simple PROPERTIES
                         ENVIRONMENT "${test_environment};PROTALBERT_TEST_DEVICE=cuda;PROTALBERT_TEST_PRECISION=bfloat16;PROTALBERT_PRODUCTS=simple")
  endif()
endforeach()

# A promise of the CPU's alone: cuBLASLt chooses its kernels by the number of rows.
protalbert_test(kernels kernel_batches VARIANTS .avx2_only LIBRARIES kernels_part GTest::gtest_main)
foreach(precision float32 bfloat16)
  set(instruction_sets baseline avx2)
  if(precision STREQUAL bfloat16)
    list(APPEND instruction_sets avx512 amx_bf16)
  endif()
  foreach(instruction_set ${instruction_sets})
    add_test(NAME kernels.kernel_batches.${precision}.${instruction_set} COMMAND test_kernel_batches)
    set_tests_properties(kernels.kernel_batches.${precision}.${instruction_set} PROPERTIES
                         ENVIRONMENT "${test_environment};PROTALBERT_TEST_PRECISION=${precision};PROTALBERT_INSTRUCTION_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
  endforeach()
endforeach()

# Products of the smallest sizes by emulated instructions: the larger ones take a minute.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  add_executable(test_kernel_batches_emulated kernels/test_kernel_batches.cpp kernels/emulated_product_kernels.cpp)
  target_link_libraries(test_kernel_batches_emulated PRIVATE kernels_part GTest::gtest_main)
  foreach(instruction_set avx512_bf16 amx_bf16)
    set(test kernels.kernel_batches.bfloat16.emulated.${instruction_set})
    add_test(NAME ${test} COMMAND test_kernel_batches_emulated --gtest_filter=*Products/hidden_65*)
    set_tests_properties(${test} PROPERTIES
                         ENVIRONMENT "${test_environment};PROTALBERT_TEST_PRECISION=bfloat16;PROTALBERT_TEST_EMULATED_SET=${instruction_set};PROTALBERT_TEST_SHIFT=1")
  endforeach()
endif()

# All that a GPU runs in one program, for a GPU that is lent for minutes: it loads cuBLASLt and makes a context once. It takes
# the same variables of the environment; with PROTALBERT_TEST_SHIFT it needs --gtest_filter=-Attention.*, as above. What
# a file defines is in a namespace without a name, and no two have a suite of the same name. ctest runs the nine alone,
# so that a build without CUDA makes it only when asked for test_kernels_gpu.
if(kernels_emulated OR PROTALBERT_CUDA)
  set(all_kernel_tests ${kernel_tests})
  list(TRANSFORM all_kernel_tests REPLACE "(.+)" kernels/test_kernel_\\1.cpp)
  add_executable(test_kernels_gpu ${all_kernel_tests})
  target_link_libraries(test_kernels_gpu PRIVATE ${kernels_emulated} kernels_part GTest::gtest_main)
  if(NOT PROTALBERT_CUDA)
    set_target_properties(test_kernels_gpu PROPERTIES EXCLUDE_FROM_ALL TRUE)
  endif()
endif()

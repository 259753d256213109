protalbert_test(train schedule LIBRARIES train_part GTest::gtest_main)
protalbert_test(train metrics LIBRARIES train_part GTest::gtest_main)
protalbert_test(train replay LIBRARIES train_part RANKS 1 2 3 7 VARIANTS .avx2_only)
# The sanitizers bring an allocator of their own.
if(NOT PROTALBERT_SANITIZE)
  protalbert_test(train allocations LIBRARIES train_part RANKS 1 2)
endif()
protalbert_test(train restart LIBRARIES train_part RANKS 1 2 3 VARIANTS .avx2_only)
# The CUDA backend, emulated or on a GPU, beside the CPU's; two ranks share a GPU here, which NCCL does not allow.
if(kernels_emulated OR PROTALBERT_CUDA)
  protalbert_test(train cuda_parity LIBRARIES ${kernels_emulated} train_part RANKS 1)
  set_property(TEST train.cuda_parity.1ranks APPEND PROPERTY ENVIRONMENT PROTALBERT_TEST_STEPS=20)
  if(PROTALBERT_CUDA)
    # It watches the GPU's free memory, which other tests take and return.
    set_tests_properties(train.cuda_parity.1ranks PROPERTIES RUN_SERIAL TRUE)
  endif()
  if(kernels_emulated)
    add_test(NAME train.cuda_parity.2ranks
             COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} 2 ${MPIEXEC_PREFLAGS} $<TARGET_FILE:test_cuda_parity>)
    protalbert_test_settings(train.cuda_parity.2ranks 1 2)
    add_test(NAME train.cuda_parity.refusals COMMAND test_cuda_parity)
    protalbert_test_settings(train.cuda_parity.refusals 1 1)
    set_property(TEST train.cuda_parity.refusals APPEND PROPERTY ENVIRONMENT PROTALBERT_TEST_REFUSALS=1)
  endif()
endif()

# The programs from outside; they need no more than Python's standard library.
protalbert_script_test(train ranks)
protalbert_script_test(train stopping)
protalbert_script_test(train bad_input)
protalbert_script_test(train timeline)

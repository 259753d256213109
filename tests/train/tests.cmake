protalbert_test(train schedule LIBRARIES train_part GTest::gtest_main)
protalbert_test(train metrics LIBRARIES train_part GTest::gtest_main)
protalbert_test(train replay LIBRARIES train_part RANKS 1 2 3 7)
# The sanitizers bring an allocator of their own.
if(NOT PROTALBERT_SANITIZE)
  protalbert_test(train allocations LIBRARIES train_part RANKS 1 2)
endif()
protalbert_test(train restart LIBRARIES train_part RANKS 1 2 3)

# The programs from outside; they need no more than Python's standard library.
protalbert_script_test(train ranks)
protalbert_script_test(train stopping)
protalbert_script_test(train bad_input)
protalbert_script_test(train timeline)

# The benchmarks that tell what a cluster will do, from outside.
protalbert_script_test(bench cluster)
protalbert_test(bench slow_ranks LIBRARIES bench_part GTest::gtest_main)

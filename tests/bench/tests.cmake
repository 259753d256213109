# From outside: the benchmarks that tell what a cluster will do, and the operations beside oneDNN.
protalbert_script_test(bench cluster)
protalbert_script_test(bench kernels)
protalbert_test(bench slow_ranks LIBRARIES bench_part GTest::gtest_main)

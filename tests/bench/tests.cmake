# The benchmarks that tell what a cluster will do, from outside.
protalbert_script_test(bench cluster)

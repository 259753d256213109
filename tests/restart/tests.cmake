protalbert_test(restart exact_sums LIBRARIES train_part RANKS 1 2 3)
protalbert_test(restart damage LIBRARIES train_part embed_part RANKS 1)
protalbert_script_test(restart decks)
protalbert_script_test(restart reproducible)
protalbert_script_test(restart full_disk)
protalbert_script_test(restart launcher)
# It starts programs a hundred times: two minutes on two free cores, several times as long on busy ones.
protalbert_script_test(restart torture)
set_tests_properties(restart.torture PROPERTIES TIMEOUT 1200)

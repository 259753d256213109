protalbert_test(ablations stability LIBRARIES model_part GTest::gtest_main)
target_include_directories(test_stability PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/model)
protalbert_script_test(ablations parameters)
# The report's plots need matplotlib, which only the demo installs.
protalbert_script_test(ablations experiments)
set_tests_properties(ablations.experiments PROPERTIES SKIP_RETURN_CODE 77)
protalbert_script_test(ablations transformers)
set_tests_properties(ablations.transformers PROPERTIES SKIP_RETURN_CODE 77)

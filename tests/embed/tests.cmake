protalbert_test(embed embed_parts LIBRARIES embed_part RANKS 1 2 3)
target_include_directories(test_embed_parts PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})

add_executable(embed_reference embed/embed_reference.cpp)
target_link_libraries(embed_reference PRIVATE embed_part CLI11::CLI11)
protalbert_script_test(embed programs VARIANTS .avx2_only)
protalbert_script_test(embed same_bits VARIANTS .avx2_only)
protalbert_script_test(embed not_finite)
protalbert_script_test(embed windows)

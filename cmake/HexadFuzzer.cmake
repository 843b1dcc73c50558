# One libFuzzer program with a property, and a short run of it as the test fuzz.<name>. Seeds are the files below
# seeds/<name>, the dictionary is dictionaries/<name>.dict if there is one. What a run finds new stays in the build folder.
#
#   hexad_fuzzer(NAME SOURCES a.cpp LINK hexad::xml)
#   build/dev/tests/fuzz/fuzz_NAME -max_total_time=60 tests/fuzz/seeds/NAME
function(hexad_fuzzer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(fuzz_${name} ${arg_SOURCES})
  target_link_libraries(fuzz_${name} PRIVATE ${arg_LINK} hexad_options)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  set(seeds ${CMAKE_CURRENT_SOURCE_DIR}/seeds/${name})
  set(dictionary ${CMAKE_CURRENT_SOURCE_DIR}/dictionaries/${name}.dict)
  set(found ${CMAKE_CURRENT_BINARY_DIR}/found_${name})
  file(MAKE_DIRECTORY ${found})
  set(arguments -runs=20000 -max_total_time=20 -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0)
  if(EXISTS ${dictionary})
    list(APPEND arguments -dict=${dictionary})
  endif()
  if(EXISTS ${seeds})
    set(seed_argument ${seeds})
  endif()
  add_test(NAME fuzz.${name} COMMAND fuzz_${name} ${arguments} ${found} ${seed_argument})
  set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 120)
endfunction()

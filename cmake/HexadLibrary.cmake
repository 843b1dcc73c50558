# One folder, one static library. Three things follow without being asked for: each header compiles on its own,
# the folder includes only what it DEPENDS on (test layers.<name>), and every *_test.cpp beside the sources is part
# of the test program <name>_test.
#
#   hexad_library(NAME SOURCES a.cpp … DEPENDS hexad::base … LINK PkgConfig::expat …)
function(hexad_library name)
  cmake_parse_arguments(arg "" "FOLDER" "SOURCES;DEPENDS;LINK" ${ARGN})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${name})
  endif()
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.hpp)
  add_library(hexad_${name} STATIC ${arg_SOURCES})
  add_library(hexad::${name} ALIAS hexad_${name})
  target_sources(hexad_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_CURRENT_SOURCE_DIR}/.. FILES ${headers})
  set_target_properties(hexad_${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  target_link_libraries(hexad_${name} PUBLIC hexad_options ${arg_DEPENDS} ${arg_LINK} Threads::Threads)
  if(TARGET hexad_pch AND NOT name STREQUAL "base")
    target_precompile_headers(hexad_${name} REUSE_FROM hexad_pch)
    target_link_libraries(hexad_${name} PUBLIC hexad_pch)
  endif()

  list(JOIN arg_DEPENDS "," depends)
  add_test(NAME layers.${name}
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_CURRENT_SOURCE_DIR} -DNAME=${arg_FOLDER} -DDEPENDS=${depends}
            -P ${CMAKE_SOURCE_DIR}/cmake/CheckLayers.cmake)

  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE hexad_${name} hexad_test_main)
    if(TARGET hexad_pch AND NOT name STREQUAL "base")
      target_precompile_headers(${name}_test REUSE_FROM hexad_pch)
    endif()
    add_test(NAME unit.${name} COMMAND ${name}_test)
    set_tests_properties(unit.${name} PROPERTIES TIMEOUT 300)
  endif()
endfunction()

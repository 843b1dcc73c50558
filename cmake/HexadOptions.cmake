# Compiler settings that every target of the project shares: C++20, warnings as errors, sanitizers, the linker,
# and Boost.Asio compiled once (BOOST_ASIO_SEPARATE_COMPILATION in the library hexad_asio).
set(HEXAD_SANITIZE "" CACHE STRING "Value of -fsanitize for every target, e.g. address,undefined")
option(HEXAD_FUZZ "Build the fuzz targets (clang only)" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# No CMAKE_POSITION_INDEPENDENT_CODE: libraries and programs then share one (position independent) default, and the
# precompiled header with it.

add_library(hexad_options INTERFACE)
target_compile_options(hexad_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports the first two inside its own and Boost's headers at -O2. It wants a virtual destructor even if the
  # base protects its own (boost::system::error_category), and calls every lambda's parameter a shadow that has the name
  # of a member (clang only what hides something). clang checks the same code without these.
  target_compile_options(hexad_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict -Wno-missing-field-initializers
    -Wno-non-virtual-dtor -Wno-shadow -Wshadow=local)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>")  # lets ccache keep users of the PCH
else()
  target_compile_options(hexad_options INTERFACE -Wno-missing-field-initializers -Wno-missing-designated-field-initializers)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")  # lets ccache keep users of the PCH
  target_link_options(hexad_options INTERFACE -fuse-ld=lld-19)
endif()
target_compile_definitions(hexad_options INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED BOOST_ALL_NO_LIB)
if(HEXAD_SANITIZE)
  target_compile_options(hexad_options INTERFACE -fsanitize=${HEXAD_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(hexad_options INTERFACE -fsanitize=${HEXAD_SANITIZE})
endif()
if(HEXAD_FUZZ)
  target_compile_options(hexad_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
foreach(lib expat icu-uc icu-i18n sqlite3 libpq hiredis)
  pkg_check_modules(${lib} REQUIRED IMPORTED_TARGET ${lib})
endforeach()
# Its -D_FILE_OFFSET_BITS=64 changes nothing on 64 bits, and g++ does not take a precompiled header that was made without it.
set_target_properties(PkgConfig::hiredis PROPERTIES INTERFACE_COMPILE_OPTIONS "")
find_package(Boost 1.81 REQUIRED COMPONENTS json)

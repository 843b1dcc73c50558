#pragma once

#include <cstdio>
#include <cstdlib>

/// Ends a fuzz run with the property that does not hold. Works in every build type.
#define REQUIRE_PROPERTY(condition)                                                              \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            std::fprintf(stderr, "%s:%d: property fails: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                        \
        }                                                                                        \
    } while (false)

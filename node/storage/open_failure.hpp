#pragma once

#include <iosfwd>
#include <string>

#include <boost/assert/source_location.hpp>

#include "storage/store.hpp"

namespace hexad {

/// Why a data base cannot be used, for the one who starts the server.
struct OpenFailure {
    StorageError error = StorageError::unavailable;
    std::string text;
};
std::ostream& operator<<(std::ostream& out, const OpenFailure& failure);
[[noreturn]] void throw_exception_from_error(const OpenFailure& failure, const boost::source_location& where);

}  // namespace hexad

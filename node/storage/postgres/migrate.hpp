#pragma once

#include <optional>
#include <string>

#include "storage/postgres/connection.hpp"

namespace hexad::postgres {

/// As sqlite::prepare_schema; nodes that start together wait for each other.
std::optional<std::string> prepare_schema(Connection& db, bool migrate);

}  // namespace hexad::postgres

#pragma once

#include <optional>
#include <string>

#include "storage/sqlite/connection.hpp"

namespace hexad::sqlite {

/// Brings the schema to this version: always on an empty file, on an older one only if `migrate`. Nothing if
/// it fits (a version runs on its own schema and on the next one), else a sentence that says why not and what
/// to do.
std::optional<std::string> prepare_schema(Connection& db, bool migrate);

}  // namespace hexad::sqlite

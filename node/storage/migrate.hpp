#pragma once

#include <optional>
#include <span>
#include <string>

#include "storage/migrations.hpp"

namespace hexad {

/// What to do with a data base whose newest migration is `have` (0 = empty, -1 = somebody else's): nothing,
/// or the sentence that refuses it. A version runs on its own schema and on the next one.
std::optional<std::string> refuse_schema(int have, std::span<const Migration> known, bool migrate);

/// Brings the schema up to date over `db` (sqlite::Connection or postgres::Connection), which has an open
/// transaction that keeps others away: always from nothing, from an older one only if `migrate`. As
/// refuse_schema().
template <class Db>
std::optional<std::string> apply_migrations(Db& db, int have, std::span<const Migration> known, bool migrate);

}  // namespace hexad

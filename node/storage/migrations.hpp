#pragma once

#include <span>
#include <string_view>

namespace hexad {

/// One numbered step of the schema (node/storage/migrations/NNNN_<what>.<dialect>.sql), compiled in. The
/// numbers are the same for both back ends. A released file is never edited.
struct Migration {
    int number;
    std::string_view name;
    std::string_view sql;
};

std::span<const Migration> sqlite_migrations();    ///< ascending, 1 … n without a hole
std::span<const Migration> postgres_migrations();  ///< likewise

}  // namespace hexad

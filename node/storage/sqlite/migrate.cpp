#include "storage/sqlite/migrate.hpp"

#include <charconv>

#include "storage/migrate.hpp"

namespace hexad::sqlite {
namespace {

/// Number of the last migration; 0 = empty file, -1 = somebody else's.
int schema_number(Connection& db) {
    bool empty = true;
    bool meta = false;
    {
        auto tables =
            db.query("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'");
        while (tables.next()) {
            empty = false;
            meta = meta || tables.text(0) == "meta";
        }
    }
    if (empty) return 0;
    if (!meta) return -1;
    auto row = db.query("SELECT value FROM meta WHERE key='schema'");
    if (!row.next()) return -1;
    const auto text = row.text(0);
    int number = -1;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

}  // namespace

std::optional<std::string> prepare_schema(Connection& db, bool migrate) {
    db.begin();
    try {
        auto refusal = apply_migrations(db, schema_number(db), sqlite_migrations(), migrate);
        db.commit();
        return refusal;
    } catch (...) {
        db.rollback();
        throw;
    }
}

}  // namespace hexad::sqlite

#include "storage/postgres/migrate.hpp"

#include <charconv>

#include "storage/migrate.hpp"

namespace hexad::postgres {
namespace {

/// Number of the last migration; 0 = no table in the schema, -1 = somebody else's.
int schema_number(Connection& db) {
    bool empty = true;
    bool meta = false;
    auto tables = db.query("SELECT tablename::text FROM pg_tables WHERE schemaname=current_schema()");
    while (tables.next()) {
        empty = false;
        meta = meta || tables.text(0) == "meta";
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
    db.connect();
    if (PQserverVersion(db.raw()) < 150000) {
        return "PostgreSQL 15 or later is needed";
    }
    db.begin();
    try {
        db.script("SELECT pg_advisory_xact_lock(7526746)");
        auto refusal = apply_migrations(db, schema_number(db), postgres_migrations(), migrate);
        db.commit();
        return refusal;
    } catch (...) {
        db.rollback();
        throw;
    }
}

}  // namespace hexad::postgres

#include "storage/sqlite/migrate.hpp"

#include <charconv>

#include "base/log.hpp"
#include "storage/migrations.hpp"

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

void apply(Connection& db, int from) {
    db.begin();
    try {
        if (from == 0) {
            db.script(
                "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
                "INSERT INTO meta VALUES('jid_profile', 'nodeprep');");
        }
        for (const auto& migration : sqlite_migrations()) {
            if (migration.number <= from) continue;
            db.script(std::string(migration.sql));
            db.run(
                "INSERT INTO meta VALUES('schema', ?1) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
                std::to_string(migration.number));
            log_info("schema_migrated", {{"number", migration.number}, {"name", migration.name}});
        }
        db.commit();
    } catch (...) {
        db.rollback();
        throw;
    }
}

}  // namespace

std::optional<std::string> prepare_schema(Connection& db, bool migrate) {
    const int want = sqlite_migrations().back().number;
    const int have = schema_number(db);
    if (have < 0) return "the file holds the data of another program";
    if (have > want + 1) {
        return "schema " + std::to_string(have) + " is too new for this version, which knows " +
               std::to_string(want);
    }
    if (have >= want) return std::nullopt;
    if (have > 0 && !migrate) {
        return "schema " + std::to_string(have) + " is older than " + std::to_string(want) +
               ": run hexad --migrate";
    }
    apply(db, have);
    return std::nullopt;
}

}  // namespace hexad::sqlite

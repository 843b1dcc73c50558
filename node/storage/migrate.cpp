#include "storage/migrate.hpp"

#include "base/log.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad {

std::optional<std::string> refuse_schema(int have, std::span<const Migration> known, bool migrate) {
    const int want = known.back().number;
    if (have < 0) return "it holds the data of another program";
    if (have > want + 1) {
        return "schema " + std::to_string(have) + " is too new for this version, which knows " +
               std::to_string(want);
    }
    if (have > 0 && have < want && !migrate) {
        return "schema " + std::to_string(have) + " is older than " + std::to_string(want) +
               ": run hexad --migrate";
    }
    return std::nullopt;
}

template <class Db>
std::optional<std::string> apply_migrations(Db& db, int have, std::span<const Migration> known,
                                            bool migrate) {
    if (auto refusal = refuse_schema(have, known, migrate)) return refusal;
    if (have == 0) {
        db.script(
            "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
            "INSERT INTO meta VALUES('jid_profile', 'nodeprep')");
    }
    for (const auto& migration : known) {
        if (migration.number <= have) continue;
        db.script(std::string(migration.sql));
        db.run("INSERT INTO meta VALUES('schema', ?1) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
               std::to_string(migration.number));
        log_info("schema_migrated", {{"number", migration.number}, {"name", migration.name}});
    }
    return std::nullopt;
}

template std::optional<std::string> apply_migrations(sqlite::Connection&, int, std::span<const Migration>,
                                                     bool);
template std::optional<std::string> apply_migrations(postgres::Connection&, int, std::span<const Migration>,
                                                     bool);

}  // namespace hexad

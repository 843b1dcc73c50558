#include "storage/postgres/redundancy.hpp"

#include <algorithm>

#include "storage/postgres/transaction.hpp"
#include "storage/sql/accounts.hpp"

namespace hexad::postgres {

namespace {

constexpr const char* setting = "high_availability";
constexpr std::int64_t kept_events = 10000;

}  // namespace

RedundancyStore::Settings redundancy_settings(Connection& db) {
    RedundancyStore::Settings out;
    const auto switched = sql::meta(db, setting);
    out.changed = !switched.empty();
    if (out.changed) out.high_availability = switched == "on";
    auto row = db.query("SELECT home FROM partition WHERE held ORDER BY home");
    while (row.next()) out.held.push_back(row.string(0));
    return out;
}

bool set_hold(Connection& db, const std::string& home, bool held) {
    return db.run("UPDATE partition SET held=(?2::BIGINT<>0) WHERE home=?1", home, held) > 0;
}

void set_high_availability(Connection& db, bool on) { sql::set_meta(db, setting, on ? "on" : "off"); }

void add_ha_events(Connection& db, const std::vector<HaEvent>& events) {
    Transaction transaction(db);
    for (const auto& event : events) {
        db.run("INSERT INTO ha_event(ts, node, kind, fields) VALUES(?1,?2,?3,?4)", sql::to_micros(event.at),
               event.node, event.kind, event.fields);
    }
    db.run("DELETE FROM ha_event WHERE id <= (SELECT max(id) FROM ha_event) - ?1", kept_events);
    transaction.commit();
}

std::vector<HaEvent> ha_events(Connection& db, std::uint64_t after, const std::string& kind,
                               std::size_t limit) {
    // A page ends at the oldest running transaction: a reader that follows skips nothing that commits late.
    constexpr const char* settled = "xid < pg_snapshot_xmin(pg_current_snapshot())";
    const auto asked = static_cast<std::int64_t>(limit);
    std::string sql =
        "SELECT id, ts, node, kind, fields FROM ha_event WHERE (?1='' OR kind=?1) AND id>?2 AND ";
    sql += settled;
    sql += after == 0 ? " ORDER BY id DESC LIMIT ?3" : " ORDER BY id LIMIT ?3";
    auto row = db.query(sql, kind, static_cast<std::int64_t>(after), asked);
    std::vector<HaEvent> out;
    while (row.next()) {
        HaEvent event;
        event.id = row.count(0);
        event.at = sql::from_micros(row.integer(1));
        event.node = row.string(2);
        event.kind = row.string(3);
        event.fields = row.string(4);
        out.push_back(std::move(event));
    }
    if (after == 0) std::reverse(out.begin(), out.end());
    return out;
}

}  // namespace hexad::postgres

#include "storage/postgres/redundancy.hpp"

#include <algorithm>

#include "storage/migrations.hpp"
#include "storage/postgres/transaction.hpp"
#include "storage/sql/accounts.hpp"

namespace hexad::postgres {

namespace {

constexpr const char* setting = "high_availability";
constexpr std::string_view gate_override = "gate_override:";
constexpr std::int64_t kept_events = 10000;

}  // namespace

RedundancyStore::Settings redundancy_settings(Connection& db) {
    RedundancyStore::Settings out;
    const auto switched = sql::meta(db, setting);
    out.changed = !switched.empty();
    if (out.changed) out.high_availability = switched == "on";
    auto row = db.query("SELECT home FROM partition WHERE held ORDER BY home");
    while (row.next()) out.held.push_back(row.string(0));
    auto overrides = db.query("SELECT key, value FROM meta WHERE starts_with(key, ?1)", gate_override);
    while (overrides.next())
        out.gate_overrides[overrides.string(0).substr(gate_override.size())] =
            sql::from_micros(std::stoll(overrides.string(1)));
    return out;
}

void set_gate_override(Connection& db, const std::string& node, Timestamp until) {
    sql::set_meta(db, std::string(gate_override) + node, std::to_string(sql::to_micros(until)));
}

RedundancyStore::Health store_health(Connection& db) {
    RedundancyStore::Health out;
    out.wanted_schema = postgres_migrations().back().number;
    out.schema = std::stoi('0' + sql::meta(db, "schema"));
    // The time of the last replayed change says nothing while there is nothing to replay.
    auto row = db.query(
        "SELECT pg_is_in_recovery()::int::bigint, CASE WHEN NOT pg_is_in_recovery() THEN -1 "
        "WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 ELSE "
        "coalesce((extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint, "
        "0) END::bigint");
    if (row.next()) {
        out.standby = row.integer(0) != 0;
        if (row.integer(1) >= 0) out.lag = milliseconds(row.integer(1));
    }
    // Without the role pg_monitor the rows of other users show, but not what is in them.
    auto replicas = db.query(
        "SELECT coalesce(nullif(application_name, ''), client_addr::text, '?')::text, "
        "coalesce(state, 'hidden')::text, (coalesce(sync_state, 'async') <> 'async')::int::bigint, "
        "coalesce((extract(epoch from replay_lag) * 1000)::bigint, 0)::bigint FROM pg_stat_replication "
        "ORDER BY 1");
    while (replicas.next()) {
        RedundancyStore::Health::Replica one;
        one.name = replicas.string(0);
        one.state = replicas.string(1);
        one.synchronous = replicas.integer(2) != 0;
        one.lag = milliseconds(replicas.integer(3));
        out.replicas.push_back(std::move(one));
    }
    return out;
}

std::vector<RedundancyStore::Waiting> offline_waiting(Connection& db) {
    std::vector<RedundancyStore::Waiting> out;
    auto rows = db.query(
        "SELECT a.localpart || '@' || h.name, coalesce(o.sid, ''), count(*) FROM offline o JOIN account a ON "
        "a.id=o.owner JOIN host h ON h.id=a.host WHERE o.state < 2 GROUP BY 1, 2");
    while (rows.next()) out.push_back({rows.string(0), rows.string(1), rows.count(2)});
    return out;
}

std::map<std::string, std::string> history_holes(Connection& db) {
    std::map<std::string, std::string> out;
    auto rows = db.query(
        "SELECT r.localpart || '@' || h.name, r.hist, count(a.hist), coalesce(max(a.hist), 0) FROM room r "
        "JOIN "
        "host h ON h.id=r.host LEFT JOIN room_archive a ON a.room=r.id GROUP BY r.id, h.name HAVING "
        "count(a.hist) <> r.hist OR coalesce(max(a.hist), 0) <> r.hist");
    while (rows.next()) {
        out[rows.string(0)] = std::to_string(rows.count(2)) + " rows up to " + std::to_string(rows.count(3)) +
                              ", the last number given is " + std::to_string(rows.count(1));
    }
    return out;
}

std::vector<std::string> never_synced(Connection& db, const std::vector<std::string>& agreements) {
    std::vector<std::string> out;
    for (const auto& agreement : agreements) {
        auto row =
            db.query("SELECT 1::bigint FROM sync_state WHERE agreement=?1 AND last_good > 0", agreement);
        if (!row.next()) out.push_back(agreement);
    }
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

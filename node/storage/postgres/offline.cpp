#include "storage/postgres/offline.hpp"

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "storage/postgres/transaction.hpp"
#include "storage/sql/delay.hpp"
#include "storage/sql/values.hpp"

namespace hexad::postgres {
namespace {

constexpr std::int64_t day = 86'400'000'000;

std::int64_t now() { return sql::to_micros(wall_now()); }

constexpr std::string_view mark_done =
    "UPDATE offline SET state=2, done_at=?3, xml='' WHERE sid=?1 AND state=1 AND batch<=?2";

struct Ordered {
    std::int64_t ord = 0;
    OfflineRow row;
};

/// Rows of `ord, stanza_id, sender, ts, xml`, which UPDATE … RETURNING gives in no order.
std::vector<OfflineRow> in_order(Rows rows, AccountId owner) {
    std::vector<Ordered> found;
    while (rows.next()) {
        Ordered one;
        one.ord = rows.integer(0);
        one.row.owner = owner;
        one.row.stanza_id = rows.string(1);
        if (const auto from = Jid::parse(rows.text(2))) one.row.from = *from;
        one.row.at = sql::from_micros(rows.integer(3));
        one.row.xml = make_bytes(rows.string(4));
        found.push_back(std::move(one));
    }
    std::ranges::sort(found, {}, &Ordered::ord);
    std::vector<OfflineRow> out;
    for (auto& one : found) out.push_back(std::move(one.row));
    return out;
}

/// Who takes rows of an account and who takes some back go one behind the other.
void lock_owner(Connection& db, AccountId owner) {
    db.query("SELECT pg_advisory_xact_lock(7302, (?1::bigint % 2147483647)::int)", owner).next();
}

/// From here on nobody with an older epoch of the session gets through; false: a newer one was here.
bool shut_out_older(Connection& db, const SessionToken& token) {
    db.send("SELECT pg_advisory_xact_lock(7303, hashtext(?1::text))", token.sid);
    return db.run(
               "INSERT INTO sm_fence VALUES(?1,?2,?3,0,?4) ON CONFLICT(sid) DO UPDATE SET g=excluded.g, "
               "e=excluded.e, at=excluded.at WHERE (sm_fence.g, sm_fence.e) <= (excluded.g, excluded.e)",
               token.sid, static_cast<std::int64_t>(token.epoch.g), static_cast<std::int64_t>(token.epoch.e),
               now()) > 0;
}

}  // namespace

void share_session(Connection& db, const std::string& sid) {
    db.send("SELECT pg_advisory_xact_lock_shared(7303, hashtext(?1::text))", sid);
}

void put_offline_unless_fenced(Connection& db, const OfflineRow& row, const SessionToken& token) {
    db.send(
        "INSERT INTO offline(owner, stanza_id, ord, sender, ts, xml) SELECT ?1::bigint, ?2::text, "
        "coalesce((SELECT seq FROM archive WHERE owner=?1 AND stanza_id=?2), nextval('archive_seq_seq')), "
        "?3::text, ?4::bigint, ?5::text WHERE NOT EXISTS (SELECT 1 FROM sm_fence WHERE sid=?6 AND (g, e) > "
        "(?7::bigint, ?8::bigint)) ON CONFLICT DO NOTHING",
        row.owner, row.stanza_id, row.from.to_string(), sql::to_micros(row.at),
        row.xml ? std::string_view(*row.xml) : std::string_view{}, token.sid,
        static_cast<std::int64_t>(token.epoch.g), static_cast<std::int64_t>(token.epoch.e));
}

Result<OfflineStore::Taken> take_offline(Connection& db, AccountId owner, const SessionToken& token,
                                         std::uint64_t filled) {
    const auto& sid = token.sid;
    Transaction transaction(db);
    if (!shut_out_older(db, token)) return StorageError::fenced;
    lock_owner(db, owner);
    const auto before = static_cast<std::int64_t>(filled);
    db.run(mark_done, sid, before, now());
    OfflineStore::Taken taken;
    taken.batch = filled + 1;
    taken.rows = in_order(
        db.query("SELECT ord, stanza_id, sender, ts, xml FROM offline WHERE sid=?1 AND state=1 AND batch>?2",
                 sid, before),
        owner);
    if (taken.rows.empty()) {
        // Locked in their order: two logins of one account at once wait for each other instead of for a
        // deadlock.
        taken.rows = in_order(
            db.query("WITH next AS MATERIALIZED (SELECT stanza_id FROM offline WHERE owner=?1 AND state=0 "
                     "ORDER BY ord "
                     "LIMIT 100 FOR UPDATE) UPDATE offline o SET state=1, sid=?2, batch=?3 FROM next WHERE "
                     "o.owner=?1 "
                     "AND o.stanza_id=next.stanza_id RETURNING o.ord, o.stanza_id, o.sender, o.ts, o.xml",
                     owner, sid, before + 1),
            owner);
    }
    transaction.commit();
    return taken;
}

void offline_done(Connection& db, const std::string& sid, std::uint64_t batch) {
    db.run(mark_done, sid, static_cast<std::int64_t>(batch), now());
}

Result<bool> put_back_offline(Connection& db, AccountId owner, const SessionToken& token, const Jid& jid,
                              std::uint64_t in, std::uint64_t filled, const std::vector<OfflineRow>& due) {
    const auto& sid = token.sid;
    Transaction transaction(db);
    if (!shut_out_older(db, token)) return StorageError::fenced;
    db.run(mark_done, sid, static_cast<std::int64_t>(filled), now());
    db.run("UPDATE offline SET state=0, sid=NULL, batch=0 WHERE sid=?1 AND state=1", sid);
    for (const auto& row : due) {
        auto taken = db.query("SELECT ts FROM archive WHERE owner=?1 AND stanza_id=?2", owner, row.stanza_id);
        const auto at = taken.next() ? sql::from_micros(taken.integer(0)) : row.at;
        const auto xml = row.xml ? sql::with_delay(*row.xml, jid.domain(), at) : std::string();
        // The place of the first writing stays: that is where the message belongs.
        db.send(
            "INSERT INTO offline(owner, stanza_id, ord, sender, ts, xml) VALUES(?1, ?2, coalesce((SELECT seq "
            "FROM "
            "archive WHERE owner=?1 AND stanza_id=?2), nextval('archive_seq_seq')), ?3, ?4, ?5) ON "
            "CONFLICT(owner, "
            "stanza_id) DO UPDATE SET state=0, sid=NULL, batch=0, xml=excluded.xml",
            owner, row.stanza_id, row.from.to_string(), sql::to_micros(at), xml);
    }
    db.send(
        "INSERT INTO sm_tomb VALUES(?1,?2,?3,?4) ON CONFLICT(sid) DO UPDATE SET inbound=excluded.inbound, "
        "until=excluded.until",
        sid, jid.to_string(), static_cast<std::int64_t>(in), now() + day);
    db.collect();
    transaction.commit();
    return true;
}

std::optional<SessionTomb> find_tomb(Connection& db, const std::string& sid) {
    auto row = db.query("SELECT jid, inbound FROM sm_tomb WHERE sid=?1 AND until>=?2", sid, now());
    if (!row.next()) return std::nullopt;
    const auto jid = Jid::parse(row.text(0));
    if (!jid) {
        log_error("store_row_corrupt", {{"what", "sm_tomb"}, {"sid", sid}});
        return std::nullopt;
    }
    return SessionTomb{*jid, row.count(1)};
}

Result<std::vector<OfflineStore::Row>> withdraw_offline(Connection& db, const SessionToken& token,
                                                        const std::vector<OfflineStore::RowName>& rows) {
    Transaction transaction(db);
    if (!shut_out_older(db, token)) return StorageError::fenced;
    std::set<AccountId> owners;
    for (const auto& row : rows) owners.insert(row.owner);
    for (const auto owner : owners) lock_owner(db, owner);
    std::vector<OfflineStore::Row> out;
    const auto removed = [&db](const OfflineStore::RowName& row) {
        return db.run("DELETE FROM offline WHERE owner=?1 AND stanza_id=?2 AND state=0", row.owner,
                      row.stanza_id) > 0;
    };
    for (const auto& row : rows) {
        if (removed(row)) {
            out.push_back(OfflineStore::Row::queued);
            continue;
        }
        auto found =
            db.query("SELECT state FROM offline WHERE owner=?1 AND stanza_id=?2", row.owner, row.stanza_id);
        if (!found.next()) {
            out.push_back(OfflineStore::Row::none);
        } else if (found.integer(0) == 0 && removed(row)) {  // it was written between the two statements
            out.push_back(OfflineStore::Row::queued);
        } else {
            out.push_back(OfflineStore::Row::taken);
        }
    }
    transaction.commit();
    return out;
}

void purge(Connection& db) {
    const auto time = now();
    db.run(
        "DELETE FROM offline WHERE (owner, stanza_id) IN (SELECT owner, stanza_id FROM offline WHERE state=2 "
        "AND "
        "done_at<?1 LIMIT 5000)",
        time - day);
    db.run("DELETE FROM sm_tomb WHERE sid IN (SELECT sid FROM sm_tomb WHERE until<?1 LIMIT 5000)", time);
    db.run("DELETE FROM sm_fence WHERE sid IN (SELECT sid FROM sm_fence WHERE at<?1 LIMIT 5000)",
           time - 2 * day);
}

}  // namespace hexad::postgres

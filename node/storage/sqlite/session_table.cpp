#include "storage/sqlite/session_table.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/session_keys.hpp"

namespace hexad::sqlite {

using sql::from_micros;
using sql::id_hash;
using sql::to_micros;

namespace {

/// Origins of one source as one rising number.
std::int64_t mark_of(const Origin& origin) {
    constexpr std::uint32_t most = (1U << 20) - 1;
    return static_cast<std::int64_t>(origin.n << 20 | std::min(origin.sub, most));
}

/// Does the stanza number `h` that a client reports cover `number` (both modulo 2^32, XEP-0198 §4)?
bool covers(std::uint32_t h, std::uint32_t number) { return static_cast<std::int32_t>(h - number) >= 0; }

}  // namespace

SessionTable::SessionTable(Connection& db)
    : db_(db),
      insert_log_(db, "INSERT INTO sm_log VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"),
      insert_held_(db, "INSERT INTO sm_held VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"),
      take_origin_(db,
                   "INSERT INTO sm_origin VALUES(?1,?2,?3,?4) ON CONFLICT DO UPDATE SET mark=excluded.mark, "
                   "at=excluded.at WHERE excluded.mark > mark"),
      set_counter_(db, "UPDATE sm_counter SET inbound=?2 WHERE session=?1"),
      insert_input_(db, "INSERT INTO room_inbox VALUES(?1,?2,?3,?4,?5,?6,?7)"),
      delete_log_(db, "DELETE FROM sm_log WHERE key BETWEEN ?1 AND ?2"),
      set_last_(db, "UPDATE sm_session SET last=?2 WHERE id=?1"),
      find_archived_(db, "SELECT seq FROM archive WHERE owner=?1 AND id_hash=?2 AND stanza_id=?3") {
    auto row = db.query(
        "SELECT max(coalesce((SELECT max(seq) FROM archive),0), coalesce((SELECT max(ord) FROM offline),0))");
    if (row.next()) seq_ = row.count(0);
    now_s_ = to_micros(wall_now()) / 1'000'000;
}

void SessionTable::forget() {
    sessions_.clear();
    rooms_.clear();
}

SessionTable::Session* SessionTable::find(std::string_view sid) {
    const auto known = sessions_.find(sid);
    if (known != sessions_.end()) return &known->second;
    Session session;
    {
        auto row = db_.query(
            "SELECT s.id, account, jid, g, e, last, mode, phase, c.inbound FROM sm_session s JOIN sm_counter "
            "c ON "
            "c.session=s.id WHERE sid=?1",
            sid);
        if (!row.next()) return nullptr;
        session.id = row.integer(0);
        session.account = row.integer(1);
        session.sid = sid;
        session.jid = row.string(2);
        session.epoch = {row.count(3), row.count(4)};
        session.last = row.count(5);
        session.mode = static_cast<SessionMode>(row.integer(6));
        session.phase = static_cast<SessionPhase>(row.integer(7));
        session.in = row.count(8);
    }
    auto newest = db_.query(
        "SELECT (SELECT max(key) FROM sm_log WHERE key BETWEEN ?1 AND ?2), "
        "(SELECT max(key) FROM sm_held WHERE key BETWEEN ?1 AND ?2)",
        key_of(session.id, 0), key_of(session.id, 0xffffffffU));
    if (newest.next()) {
        session.last = std::max(session.last, newest.count(0) & 0xffffffffU);
        session.held = newest.count(1) & 0xffffffffU;
    }
    return &sessions_.emplace(std::string(sid), std::move(session)).first->second;
}

bool SessionTable::ended(std::string_view sid) {
    return db_.query("SELECT 1 FROM sm_tomb WHERE sid=?1", sid).next();
}

// Batches.

void SessionTable::set_mode(Session& session, SessionMode mode) {
    if (session.mode == mode) return;
    session.mode = mode;
    db_.run("UPDATE sm_session SET mode=?2 WHERE id=?1", session.id, static_cast<int>(mode));
}

void SessionTable::put(const SessionRecord& record) {
    if (auto* known = find(record.sid)) {
        known->phase = record.phase;
        db_.run("UPDATE sm_session SET phase=?2, resumable=?3, until=?4, state=?5 WHERE id=?1", known->id,
                static_cast<int>(record.phase), record.resumable, to_micros(record.until),
                Blob{record.state});
        return;
    }
    db_.run(
        "INSERT INTO sm_session(sid, account, jid, node, g, e, last, mode, phase, resumable, until, state) "
        "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        record.sid, record.account, record.jid.to_string(), record.node,
        static_cast<std::int64_t>(record.epoch.g), static_cast<std::int64_t>(record.epoch.e),
        static_cast<std::int64_t>(record.last), static_cast<int>(record.mode), static_cast<int>(record.phase),
        record.resumable, to_micros(record.until), Blob{record.state});
    Session session;
    session.id = db_.last_id();
    session.account = record.account;
    session.sid = record.sid;
    session.jid = record.jid.to_string();
    session.epoch = record.epoch;
    session.in = record.in;
    session.last = record.last;
    session.mode = record.mode;
    session.phase = record.phase;
    session.origins_trimmed = now_s_;
    db_.run("INSERT INTO sm_counter VALUES(?1, ?2)", session.id, static_cast<std::int64_t>(record.in));
    sessions_.emplace(record.sid, std::move(session));
}

void SessionTable::advance(Session& session, std::uint64_t in) {
    set_counter_.with(session.id, static_cast<std::int64_t>(in)).run();
    session.in = in;
}

bool SessionTable::take_origin(std::int64_t target, const Origin& origin) {
    if (origin.source.empty()) return true;  // an event of the server: nothing to tell repeats by
    return take_origin_.with(target, origin.source, mark_of(origin), now_s_).run() > 0;
}

std::uint64_t SessionTable::push(Session& session, std::uint32_t number, EntryKind kind, const Origin& origin,
                                 std::string_view stanza_id, std::string_view co_targets,
                                 std::string_view xml) {
    const auto position = session.last + 1;
    insert_log_
        .with(key_of(session.id, position), std::int64_t{number}, static_cast<int>(kind), origin.source,
              static_cast<std::int64_t>(origin.n), std::int64_t{origin.sub}, stanza_id, co_targets, xml)
        .run();
    session.last = position;
    return position;
}

std::uint64_t SessionTable::append(const LogAppend& entry, bool once) {
    auto* session = find(entry.sid);
    if (session == nullptr || (!once && !take_origin(session->id, entry.origin))) return 0;
    std::string co_targets;
    for (const auto& sid : entry.co_targets) {
        if (!co_targets.empty()) co_targets += co_target_separator;
        co_targets += sid;
    }
    const std::string_view xml = entry.xml ? std::string_view(*entry.xml) : std::string_view{};
    // Decided while the backlog was being filled, committed after it: the log is the right place by now.
    if (!entry.held || session->mode != SessionMode::filling) {
        return push(*session, entry.number, entry.kind, entry.origin, entry.stanza_id, co_targets, xml);
    }
    insert_held_
        .with(key_of(session->id, ++session->held), static_cast<int>(entry.kind), entry.origin.source,
              static_cast<std::int64_t>(entry.origin.n), std::int64_t{entry.origin.sub}, entry.stanza_id,
              co_targets, xml)
        .run();
    return 0;
}

// Operations.

std::vector<SessionRecord> SessionTable::load() {
    std::vector<SessionRecord> records;
    auto row = db_.query(
        "SELECT sid, account, jid, node, g, e, mode, phase, resumable, until, state FROM sm_session");
    while (row.next()) {
        SessionRecord record;
        record.sid = row.string(0);
        const auto* known = find(record.sid);
        const auto jid = Jid::parse(row.text(2));
        if (!jid || known == nullptr) {
            log_error("session_record_corrupt", {{"sid", record.sid}});
            continue;
        }
        record.account = row.integer(1);
        record.jid = *jid;
        record.node = row.string(3);
        record.epoch = {row.count(4), row.count(5)};
        record.in = known->in;
        record.last = known->last;
        record.mode = static_cast<SessionMode>(row.integer(6));
        record.phase = static_cast<SessionPhase>(row.integer(7));
        record.resumable = row.integer(8) != 0;
        record.until = from_micros(row.integer(9));
        record.state = row.string(10);
        records.push_back(std::move(record));
    }
    return records;
}

std::vector<LogEntry> SessionTable::entries(const Session& session) {
    std::vector<LogEntry> out;
    auto row = db_.query(
        "SELECT key, number, kind, source, n, sub, stanza_id, xml FROM sm_log WHERE key BETWEEN ?1 AND "
        "?2 ORDER BY key",
        key_of(session.id, 0), key_of(session.id, 0xffffffffU));
    while (row.next()) {
        LogEntry entry;
        entry.position = row.count(0) & 0xffffffffU;
        entry.number = static_cast<std::uint32_t>(row.integer(1));
        entry.kind = static_cast<EntryKind>(row.integer(2));
        entry.origin = {row.string(3), row.count(4), static_cast<std::uint32_t>(row.integer(5))};
        entry.stanza_id = row.string(6);
        entry.xml = make_bytes(row.string(7));
        out.push_back(std::move(entry));
    }
    return out;
}

Result<ClaimedSession, ClaimRefusal> SessionTable::claim(std::string_view sid, AccountId account,
                                                         const std::string& node) {
    auto* session = find(sid);
    if (session == nullptr) return ClaimRefusal::unknown;
    if (session->account != account) return ClaimRefusal::other_account;
    if (session->phase == SessionPhase::ending) return ClaimRefusal::ending;
    ClaimedSession claimed;
    {
        auto row = db_.query("SELECT resumable, until, state FROM sm_session WHERE id=?1", session->id);
        if (!row.next()) return ClaimRefusal::unknown;
        claimed.record.resumable = row.integer(0) != 0;
        claimed.record.until = from_micros(row.integer(1));
        claimed.record.state = row.string(2);
    }
    const auto jid = Jid::parse(session->jid);
    if (!jid) {
        log_error("session_record_corrupt", {{"sid", sid}});
        return ClaimRefusal::unavailable;
    }
    ++session->epoch.e;
    session->phase = SessionPhase::attached;
    db_.run("UPDATE sm_session SET e=?2, node=?3, phase=0 WHERE id=?1", session->id,
            static_cast<std::int64_t>(session->epoch.e), node);
    claimed.record.sid = session->sid;
    claimed.record.account = account;
    claimed.record.jid = *jid;
    claimed.record.node = node;
    claimed.record.epoch = session->epoch;
    claimed.record.in = session->in;
    claimed.record.last = session->last;
    claimed.record.mode = session->mode;
    claimed.record.phase = session->phase;
    claimed.entries = entries(*session);
    return claimed;
}

bool SessionTable::settle(Session& session, std::uint32_t h) {
    // Numbers rise with positions, so what h covers ends at one position; entries without a number before it
    // were never written and stay.
    std::vector<std::int64_t> covered;
    std::uint64_t up_to = 0;
    {
        auto row = db_.query("SELECT key, number FROM sm_log WHERE key BETWEEN ?1 AND ?2 AND number<>0",
                             key_of(session.id, 0), key_of(session.id, 0xffffffffU));
        while (row.next()) {
            if (!covers(h, static_cast<std::uint32_t>(row.integer(1)))) continue;
            covered.push_back(row.integer(0));
            up_to = std::max(up_to, row.count(0) & 0xffffffffU);
        }
    }
    if (!covered.empty()) {
        remember_got(session, up_to);
        set_last_.with(session.id, static_cast<std::int64_t>(session.last)).run();
        for (const auto key : covered) delete_log_.with(key, key).run();
    }
    db_.run("UPDATE sm_log SET number=0 WHERE key BETWEEN ?1 AND ?2 AND number<>0", key_of(session.id, 0),
            key_of(session.id, 0xffffffffU));
    return true;
}

void SessionTable::number(Session& session, const std::vector<SessionLog::Number>& numbers) {
    for (const auto& n : numbers) {
        db_.run("UPDATE sm_log SET number=?2 WHERE key=?1", key_of(session.id, n.position),
                std::int64_t{n.number});
    }
}

/// What one of several devices has got is not due when another one ends.
void SessionTable::remember_got(const Session& session, std::uint64_t position) {
    db_.run(
        "INSERT OR IGNORE INTO sm_got SELECT ?3, stanza_id, ?4 FROM sm_log WHERE key BETWEEN ?1 AND ?2 AND "
        "co<>'' "
        "AND kind=0",
        key_of(session.id, 0), key_of(session.id, position), session.account, now_s_);
}

void SessionTable::ack(Session& session, std::uint64_t position) {
    const auto up_to = std::min(position, session.last);
    remember_got(session, up_to);
    if (delete_log_.with(key_of(session.id, 0), key_of(session.id, up_to)).run() > 0) {
        set_last_.with(session.id, static_cast<std::int64_t>(session.last)).run();
    }
    if (now_s_ - session.origins_trimmed > 10 * minute) {
        session.origins_trimmed = now_s_;
        db_.run("DELETE FROM sm_origin WHERE target=?1 AND at<?2", session.id, now_s_ - 10 * minute);
    }
}

void SessionTable::purge(std::int64_t now) {
    const auto previous = now_s_;
    now_s_ = now / 1'000'000;
    if (now_s_ / minute == previous / minute) return;
    constexpr std::int64_t portion = 2000;
    db_.run("DELETE FROM sm_tomb WHERE sid IN (SELECT sid FROM sm_tomb WHERE until<?1 LIMIT ?2)", now_s_,
            portion);
    db_.run(
        "DELETE FROM sm_got WHERE (owner, stanza_id) IN (SELECT owner, stanza_id FROM sm_got WHERE at<?1 "
        "LIMIT ?2)",
        now_s_ - 15 * minute, portion);
    db_.run("DELETE FROM offline WHERE id IN (SELECT id FROM offline WHERE state=2 AND done_at<?1 LIMIT ?2)",
            now_s_ - 24 * 60 * minute, portion);
    db_.run("DELETE FROM sm_origin WHERE target<0 AND at<?1", now_s_ - 10 * minute);
}

}  // namespace hexad::sqlite

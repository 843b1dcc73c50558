// Messages on their way between the offline store and the logs: the backlog of a login, the end of a session.
#include <algorithm>

#include "storage/sql/delay.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/session_keys.hpp"
#include "storage/sqlite/session_table.hpp"

namespace hexad::sqlite {

using sql::from_micros;
using sql::id_hash;
using sql::to_micros;

namespace {

/// `type='get'` or `'set'` in the first tag.
bool is_request(std::string_view iq) {
    const auto tag = iq.substr(0, iq.find('>'));
    for (const std::string_view type : {" type='get'", " type=\"get\"", " type='set'", " type=\"set\""}) {
        if (tag.find(type) != std::string_view::npos) return true;
    }
    return false;
}

}  // namespace

SessionLog::Filled SessionTable::fill(Session& session) {
    SessionLog::Filled filled;
    constexpr std::size_t most = 100;
    struct Row {
        std::int64_t id;
        std::uint64_t ord;
        std::string stanza_id;
        Bytes xml;
    };
    std::vector<Row> rows;
    {
        auto row = db_.query(
            "SELECT id, ord, stanza_id, xml FROM offline WHERE owner=?1 AND state=0 ORDER BY ord LIMIT ?2",
            session.account, static_cast<std::int64_t>(most + 1));
        while (row.next())
            rows.push_back({row.integer(0), row.count(1), row.string(2), make_bytes(row.string(3))});
    }
    filled.finished = rows.size() <= most;
    if (!filled.finished) rows.pop_back();
    for (auto& row : rows) {
        LogEntry entry;
        entry.kind = EntryKind::message;
        entry.origin = {"offline", row.ord, 0};
        entry.stanza_id = std::move(row.stanza_id);
        entry.xml = std::move(row.xml);
        entry.position = push(session, 0, entry.kind, entry.origin, entry.stanza_id, {}, *entry.xml);
        filled.entries.push_back(std::move(entry));
        db_.run("UPDATE offline SET state=2, done_at=?2, xml='' WHERE id=?1", row.id, now_s_);
    }
    if (filled.finished) {
        set_mode(session, SessionMode::live);
        release_held(session, filled.entries);
    }
    return filled;
}

void SessionTable::release_held(Session& session, std::vector<LogEntry>& released) {
    auto row = db_.query(
        "SELECT kind, source, n, sub, stanza_id, co, xml FROM sm_held WHERE key BETWEEN ?1 AND ?2 "
        "ORDER BY key",
        key_of(session.id, 0), key_of(session.id, 0xffffffffU));
    while (row.next()) {
        LogEntry entry;
        entry.kind = static_cast<EntryKind>(row.integer(0));
        entry.origin = {row.string(1), row.count(2), static_cast<std::uint32_t>(row.integer(3))};
        entry.stanza_id = row.string(4);
        entry.xml = make_bytes(row.string(6));
        entry.position = push(session, 0, entry.kind, entry.origin, entry.stanza_id, row.text(5), *entry.xml);
        released.push_back(std::move(entry));
    }
    db_.run("DELETE FROM sm_held WHERE key BETWEEN ?1 AND ?2", key_of(session.id, 0),
            key_of(session.id, 0xffffffffU));
}

bool SessionTable::due(const Session& session, std::string_view stanza_id, std::string_view co_targets) {
    while (!co_targets.empty()) {
        const auto end = std::min(co_targets.find(co_target_separator), co_targets.size());
        if (find(co_targets.substr(0, end)) != nullptr) return false;
        co_targets.remove_prefix(std::min(end + 1, co_targets.size()));
    }
    return !db_.query("SELECT 1 FROM sm_got WHERE owner=?1 AND stanza_id=?2", session.account, stanza_id)
                .next();
}

void SessionTable::end_entry(const Session& session, const LogEntry& entry, std::string_view co_targets,
                             SessionLog::Ended& out) {
    if (entry.kind == EntryKind::iq) {
        if (is_request(*entry.xml)) out.unanswered.push_back(entry);
        return;
    }
    if (entry.kind != EntryKind::message || !due(session, entry.stanza_id, co_targets)) return;
    auto at = wall_now();
    {
        const auto seq = static_cast<std::int64_t>(archive_position(session.account, entry.stanza_id));
        auto row = db_.query(
            "SELECT ts FROM archive WHERE seq=?3 UNION ALL "
            "SELECT ts FROM offline WHERE owner=?1 AND stanza_id=?2 LIMIT 1",
            session.account, entry.stanza_id, seq);
        if (row.next()) at = from_micros(row.integer(0));
    }
    const auto jid = Jid::parse(session.jid);
    const std::string domain(jid ? jid->domain() : std::string_view{});
    put_offline(session.account, entry.stanza_id, {}, at, sql::with_delay(*entry.xml, domain, at), true);
    out.stored.push_back(entry.stanza_id);
}

SessionLog::Ended SessionTable::end(const std::string& sid) {
    SessionLog::Ended out;
    const Session session = *find(sid);
    const auto first = key_of(session.id, 0);
    const auto last = key_of(session.id, 0xffffffffU);
    struct Left {
        LogEntry entry;
        std::string co_targets;
    };
    std::vector<Left> left;
    {
        auto row = db_.query(
            "SELECT key, kind, stanza_id, co, xml, source, n, sub FROM sm_log WHERE key BETWEEN ?1 AND ?2 "
            "UNION ALL SELECT key+?3, kind, stanza_id, co, xml, source, n, sub FROM sm_held WHERE key "
            "BETWEEN ?1 AND ?2 ORDER BY 1",
            first, last, static_cast<std::int64_t>(session.last));
        while (row.next()) {
            LogEntry entry;
            entry.position = row.count(0) & 0xffffffffU;
            entry.kind = static_cast<EntryKind>(row.integer(1));
            entry.stanza_id = row.string(2);
            entry.xml = make_bytes(row.string(4));
            entry.origin = {row.string(5), row.count(6), static_cast<std::uint32_t>(row.integer(7))};
            left.push_back({std::move(entry), row.string(3)});
        }
    }
    for (const auto& one : left) end_entry(session, one.entry, one.co_targets, out);
    db_.run("DELETE FROM sm_log WHERE key BETWEEN ?1 AND ?2", first, last);
    db_.run("DELETE FROM sm_held WHERE key BETWEEN ?1 AND ?2", first, last);
    db_.run("DELETE FROM sm_origin WHERE target=?1", session.id);
    db_.run("DELETE FROM sm_counter WHERE session=?1", session.id);
    db_.run("DELETE FROM sm_session WHERE id=?1", session.id);
    db_.run("INSERT OR REPLACE INTO sm_tomb VALUES(?1,?2,?3,?4)", sid, session.jid,
            static_cast<std::int64_t>(session.in), now_s_ + 24 * 60 * minute);
    sessions_.erase(sid);
    return out;
}

std::optional<SessionTomb> SessionTable::tomb(std::string_view sid) {
    auto row = db_.query("SELECT jid, inbound FROM sm_tomb WHERE sid=?1 AND until>=?2", sid, now_s_);
    if (!row.next()) return std::nullopt;
    const auto jid = Jid::parse(row.text(0));
    if (!jid) return std::nullopt;
    return SessionTomb{*jid, row.count(1)};
}

std::uint64_t SessionTable::archive_position(AccountId owner, std::string_view stanza_id) {
    find_archived_.with(owner, id_hash(stanza_id), stanza_id);
    Rows row(find_archived_);
    return row.next() ? row.count(0) : 0;
}

void SessionTable::put_offline(AccountId owner, std::string_view stanza_id, std::string_view from,
                               Timestamp at, std::string_view xml, bool again) {
    auto ord = archive_position(owner, stanza_id);
    if (ord == 0) ord = next_seq();
    constexpr std::string_view once =
        "INSERT INTO offline(owner, stanza_id, ord, sender, ts, xml) "
        "VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT DO NOTHING";
    // The place of the first writing stays: that is where the message belongs.
    constexpr std::string_view requeue =
        "INSERT INTO offline(owner, stanza_id, ord, sender, ts, xml) "
        "VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(owner, stanza_id) DO UPDATE SET "
        "state=0, xml=excluded.xml";
    db_.run(again ? requeue : once, owner, stanza_id, static_cast<std::int64_t>(ord), from, to_micros(at),
            xml);
}

}  // namespace hexad::sqlite

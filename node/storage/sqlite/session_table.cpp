#include "storage/sqlite/session_table.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "storage/sql/values.hpp"

namespace hexad::sqlite {

using sql::from_micros;
using sql::id_hash;
using sql::to_micros;

namespace {

constexpr std::int64_t minute = 60;

std::int64_t key_of(std::int64_t id, std::uint64_t position) {
    return (id << 32) | static_cast<std::int64_t>(position & 0xffffffffU);
}

/// Origins of one source as one rising number.
std::int64_t mark_of(const Origin& origin) {
    constexpr std::uint32_t most = (1U << 20) - 1;
    return static_cast<std::int64_t>(origin.n << 20 | std::min(origin.sub, most));
}

/// Does the stanza number `h` that a client reports cover `number` (both modulo 2^32, XEP-0198 §4)?
bool covers(std::uint32_t h, std::uint32_t number) { return static_cast<std::int32_t>(h - number) >= 0; }

/// `type='get'` or `'set'` in the first tag.
bool is_request(std::string_view iq) {
    const auto tag = iq.substr(0, iq.find('>'));
    for (const std::string_view type : {" type='get'", " type=\"get\"", " type='set'", " type=\"set\""}) {
        if (tag.find(type) != std::string_view::npos) return true;
    }
    return false;
}

/// The message with the time at which the server took it (XEP-0203), unless it has one.
std::string with_delay(std::string_view xml, std::string_view from, Timestamp at) {
    const auto close = xml.rfind("</");
    if (close == std::string_view::npos || xml.find("urn:xmpp:delay") != std::string_view::npos)
        return std::string(xml);
    std::string out(xml.substr(0, close));
    out += "<delay xmlns='urn:xmpp:delay' from='";
    out += from;
    out += "' stamp='" + format_time(at) + "'/>";
    out += xml.substr(close);
    return out;
}

constexpr char separator = '\x1f';

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

std::optional<std::uint64_t> SessionTable::room_position(std::string_view jid) {
    const auto known = rooms_.find(jid);
    if (known != rooms_.end()) return known->second.position;
    Room room;
    {
        auto row = db_.query("SELECT id, position, last FROM room_state WHERE jid=?1", jid);
        if (!row.next()) return std::nullopt;
        room = {row.integer(0), row.count(1), row.count(2)};
    }
    auto newest = db_.query("SELECT max(key) FROM room_inbox WHERE key BETWEEN ?1 AND ?2", key_of(room.id, 0),
                            key_of(room.id, 0xffffffffU));
    if (newest.next()) room.last = std::max(room.last, newest.count(0) & 0xffffffffU);
    room.last = std::max(room.last, room.position);
    return rooms_.emplace(std::string(jid), room).first->second.position;
}

SessionTable::Room& SessionTable::room(std::string_view jid) {
    if (!room_position(jid)) {
        db_.run("INSERT INTO room_state(jid, position, last) VALUES(?1, 0, 0)", jid);
        rooms_.emplace(std::string(jid), Room{db_.last_id(), 0, 0});
    }
    return rooms_.find(jid)->second;
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
        if (!co_targets.empty()) co_targets += separator;
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

std::uint64_t SessionTable::append(const RoomInput& input, bool once) {
    auto& target = room(input.room.to_string());
    if (!once && !take_origin(-target.id, input.origin)) return 0;
    const auto position = target.last + 1;
    insert_input_
        .with(key_of(target.id, position), input.origin.source, static_cast<std::int64_t>(input.origin.n),
              std::int64_t{input.origin.sub}, input.sid, input.from.to_string(),
              input.xml ? std::string_view(*input.xml) : std::string_view{})
        .run();
    target.last = position;
    return position;
}

void SessionTable::put(const OccupantPut& occupant) {
    const auto id = room(occupant.room.to_string()).id;
    if (occupant.removed) {
        db_.run("DELETE FROM room_occupant WHERE room=?1 AND sid=?2", id, occupant.sid);
    } else {
        db_.run("INSERT INTO room_occupant VALUES(?1,?2,?3) ON CONFLICT DO UPDATE SET bytes=excluded.bytes",
                id, occupant.sid, Blob{occupant.bytes});
    }
}

void SessionTable::advance_room(Room& room, std::uint64_t position) {
    room.position = position;
    room.last = std::max(room.last, position);
    db_.run("UPDATE room_state SET position=?2, last=?3 WHERE id=?1", room.id,
            static_cast<std::int64_t>(position), static_cast<std::int64_t>(room.last));
    db_.run("DELETE FROM room_inbox WHERE key BETWEEN ?1 AND ?2", key_of(room.id, 0),
            key_of(room.id, position));
}

void SessionTable::clear_room(std::string_view jid) {
    if (room_position(jid)) db_.run("DELETE FROM room_occupant WHERE room=?1", room(jid).id);
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
        const auto end = std::min(co_targets.find(separator), co_targets.size());
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
    put_offline(session.account, entry.stanza_id, {}, at, with_delay(*entry.xml, domain, at), true);
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

std::vector<SessionLog::RoomEntry> SessionTable::room_inbox(const Jid& jid, std::uint64_t position,
                                                            std::size_t limit) {
    std::vector<SessionLog::RoomEntry> out;
    if (!room_position(jid.to_string())) return out;
    const auto id = room(jid.to_string()).id;
    auto row = db_.query(
        "SELECT key, source, n, sub, sid, sender, xml FROM room_inbox WHERE key BETWEEN ?1 AND ?2 ORDER "
        "BY key LIMIT ?3",
        key_of(id, position + 1), key_of(id, 0xffffffffU), static_cast<std::int64_t>(limit));
    while (row.next()) {
        SessionLog::RoomEntry entry;
        entry.position = row.count(0) & 0xffffffffU;
        entry.input.room = jid;
        entry.input.origin = {row.string(1), row.count(2), static_cast<std::uint32_t>(row.integer(3))};
        entry.input.sid = row.string(4);
        if (const auto from = Jid::parse(row.text(5))) entry.input.from = *from;
        entry.input.xml = make_bytes(row.string(6));
        out.push_back(std::move(entry));
    }
    return out;
}

SessionLog::RoomState SessionTable::room_state(const Jid& jid) {
    SessionLog::RoomState state;
    const auto position = room_position(jid.to_string());
    if (!position) return state;
    state.position = *position;
    auto row = db_.query("SELECT sid, bytes FROM room_occupant WHERE room=?1", room(jid.to_string()).id);
    while (row.next()) state.occupants.push_back({jid, row.string(0), row.string(1), false});
    return state;
}

std::vector<Jid> SessionTable::active_rooms() {
    std::vector<Jid> out;
    auto row = db_.query(
        "SELECT jid FROM room_state r WHERE EXISTS(SELECT 1 FROM room_occupant WHERE room=r.id) OR "
        "EXISTS(SELECT 1 FROM room_inbox WHERE key BETWEEN r.id<<32 AND (r.id<<32)+4294967295)");
    while (row.next()) {
        if (const auto jid = Jid::parse(row.text(0))) out.push_back(*jid);
    }
    return out;
}

// Offline rows and ages.

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

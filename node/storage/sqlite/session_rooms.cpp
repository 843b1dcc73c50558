// Rooms: inboxes, positions, occupants.
#include <algorithm>

#include "storage/sql/values.hpp"
#include "storage/sqlite/session_keys.hpp"
#include "storage/sqlite/session_table.hpp"

namespace hexad::sqlite {

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

std::vector<std::string> SessionTable::missing(const std::vector<std::string>& sids) {
    std::vector<std::string> out;
    for (const auto& sid : sids) {
        if (find(sid) == nullptr) out.push_back(sid);
    }
    return out;
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

}  // namespace hexad::sqlite

#include "storage/sql/rooms.hpp"

#include "base/log.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/sql/accounts.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sql {
namespace {

StorageError corrupt(RoomId room) {
    log_error("store_row_corrupt", {{"what", "room"}, {"room", room}});
    return StorageError::corrupt;
}

#define ROOM_COLUMNS                                                                 \
    "r.id, r.localpart, h.name, r.home_node, r.epoch, r.hist, r.config, r.subject, " \
    "coalesce((SELECT m.source FROM room_move m WHERE m.room=r.id), '')"

/// From ROOM_COLUMNS.
template <class Rows>
Result<RoomRow> room_row(const Rows& row) {
    RoomRow out;
    out.id = row.integer(0);
    const auto jid = Jid::make(row.text(1), row.text(2));
    if (!jid) return corrupt(out.id);
    out.jid = *jid;
    out.home_node = row.string(3);
    out.epoch = row.count(4);
    out.hist = row.count(5);
    out.config = row.string(6);
    out.subject = row.string(7);
    out.moves_from = row.string(8);
    return out;
}

}  // namespace

template <class Db>
Result<std::optional<RoomRow>> load_room(Db& db, const Jid& room) {
    RoomRow out;
    {
        auto row = db.query("SELECT " ROOM_COLUMNS
                            " FROM room r JOIN host h ON h.id=r.host WHERE h.name=?1 AND "
                            "r.localpart=?2",
                            room.domain(), room.local());
        if (!row.next()) return std::optional<RoomRow>{};
        auto found = room_row(row);
        if (!found) return found.error();
        out = std::move(*found);
    }
    auto row = db.query(
        "SELECT jid, affiliation, nick, reason FROM room_affiliation WHERE room=?1 ORDER BY jid", out.id);
    while (row.next()) {
        const auto jid = Jid::parse(row.text(0));
        if (!jid) return corrupt(out.id);
        out.affiliations.push_back({out.id, *jid, row.string(1), row.string(2), row.string(3)});
    }
    return std::optional<RoomRow>(std::move(out));
}

template <class Db>
Result<Store::RoomFound> create_room(Db& db, const Jid& room, const std::string& home_node,
                                     const std::string& config) {
    const bool created =
        db.run(
            "INSERT INTO room(host, localpart, home_node, config) VALUES(?1,?2,?3,?4) ON CONFLICT DO "
            "NOTHING",
            host_id(db, room.domain()), room.local(), home_node, Blob{config}) > 0;
    auto row = load_room(db, room);
    if (!row) return row.error();
    if (!*row) return StorageError::corrupt;
    return Store::RoomFound{std::move(**row), created};
}

template <class Db>
Result<std::vector<RoomRow>> list_rooms(Db& db, const std::string& domain) {
    std::vector<RoomRow> out;
    auto row = db.query("SELECT " ROOM_COLUMNS
                        " FROM room r JOIN host h ON h.id=r.host WHERE h.name=?1 ORDER BY "
                        "r.localpart",
                        domain);
    while (row.next()) {
        auto one = room_row(row);
        if (!one) return one.error();
        out.push_back(std::move(*one));
    }
    return out;
}

template <class Db>
void write_rooms(Db& db, const Batch& batch) {
    for (const auto& room : batch.rooms) {
        db.run("UPDATE room SET config=?2, subject=?3 WHERE id=?1", room.room, Blob{room.config},
               room.subject);
    }
    for (const auto& one : batch.affiliations) {
        if (one.affiliation == "none") {
            db.run("DELETE FROM room_affiliation WHERE room=?1 AND jid=?2", one.room, one.jid.to_string());
        } else {
            db.run(
                "INSERT INTO room_affiliation VALUES(?1,?2,?3,?4,?5) ON CONFLICT(room, jid) DO UPDATE SET "
                "affiliation=excluded.affiliation, nick=excluded.nick, reason=excluded.reason",
                one.room, one.jid.to_string(), one.affiliation, one.nick, one.reason);
        }
    }
    for (const auto room : batch.destroyed_rooms) {
        db.run("DELETE FROM room_affiliation WHERE room=?1", room);
        db.run("DELETE FROM room_archive WHERE room=?1", room);
        db.run("DELETE FROM room_move WHERE room=?1", room);
        db.run("DELETE FROM room WHERE id=?1", room);
    }
}

#define HEXAD_INSTANTIATE(Db)                                                                               \
    template Result<std::optional<RoomRow>> load_room(Db&, const Jid&);                                     \
    template Result<Store::RoomFound> create_room(Db&, const Jid&, const std::string&, const std::string&); \
    template Result<std::vector<RoomRow>> list_rooms(Db&, const std::string&);                              \
    template void write_rooms(Db&, const Batch&);
HEXAD_INSTANTIATE(sqlite::Connection)
HEXAD_INSTANTIATE(postgres::Connection)

}  // namespace hexad::sql

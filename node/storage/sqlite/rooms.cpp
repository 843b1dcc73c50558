#include "storage/sqlite/rooms.hpp"

#include "base/log.hpp"
#include "storage/sqlite/accounts.hpp"

namespace hexad::sqlite {
namespace {

StorageError corrupt(RoomId room) {
    log_error("store_row_corrupt", {{"what", "room"}, {"room", room}});
    return StorageError::corrupt;
}

#define ROOM_COLUMNS "r.id, r.localpart, h.name, r.home_node, r.epoch, r.hist, r.config, r.subject"

/// From ROOM_COLUMNS.
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
    return out;
}

}  // namespace

Result<std::optional<RoomRow>> load_room(Connection& db, const Jid& room) {
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
    auto row = db.query("SELECT jid, affiliation, nick, reason FROM room_affiliation WHERE room=?1", out.id);
    while (row.next()) {
        const auto jid = Jid::parse(row.text(0));
        if (!jid) return corrupt(out.id);
        out.affiliations.push_back({out.id, *jid, row.string(1), row.string(2), row.string(3)});
    }
    return std::optional<RoomRow>(std::move(out));
}

Result<Store::RoomFound> create_room(Connection& db, const Jid& room, const std::string& home_node,
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

Result<std::vector<RoomRow>> list_rooms(Connection& db, const std::string& domain) {
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

}  // namespace hexad::sqlite

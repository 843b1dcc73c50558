#include "storage/sql/room_moves.hpp"

#include "storage/postgres/connection.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sql {
namespace {

#define MOVE_COLUMNS "m.room, r.localpart, h.name, m.source, m.target, m.epoch, m.began, m.run"

template <class Rows>
std::optional<RoomMove> move_of(const Rows& row) {
    const auto jid = Jid::make(row.text(1), row.text(2));
    if (!jid) return std::nullopt;
    RoomMove out;
    out.room = row.integer(0);
    out.jid = *jid;
    out.from = row.string(3);
    out.to = row.string(4);
    out.epoch = row.count(5);
    out.began = from_micros(row.integer(6));
    out.run = row.integer(7);
    return out;
}

template <class Db>
constexpr bool is_cluster = std::is_same_v<Db, postgres::Connection>;

/// The epoch of the new home's partition stays as it is until the move is true: whoever raises it raises the
/// room's with it, or the room comes under the raised one.
template <class Db>
void share_partition([[maybe_unused]] Db& db, [[maybe_unused]] const std::string& home) {
    if constexpr (is_cluster<Db>) db.query("SELECT epoch FROM partition WHERE home=?1 FOR SHARE", home);
}

/// A run that was stopped moves nothing any more; what it moves, it counts.
template <class Db>
bool count_in_run([[maybe_unused]] Db& db, [[maybe_unused]] const RoomMove& move) {
    if constexpr (is_cluster<Db>) {
        if (move.run == 0) return true;
        auto running =
            db.query("SELECT 1 FROM rebalance_run WHERE id=?1 AND state='running' FOR SHARE", move.run);
        if (!running.next()) return false;
        db.run(
            "UPDATE rebalance_flow SET moved=moved+1 WHERE run=?1 AND source=?2 AND target=?3 AND "
            "what='rooms'",
            move.run, move.from, move.to);
    }
    return true;
}

}  // namespace

template <class Db>
RoomMoved move_room(Db& db, const RoomMove& wanted) {
    share_partition(db, wanted.to);
    auto move = wanted;
    {
        auto row = db.query("SELECT source, target FROM room_move WHERE room=?1", wanted.room);
        if (row.next())
            return {"it is on its way from " + row.string(0) + " to " + row.string(1) + " already", 0};
    }
    {
        auto row = db.query("SELECT home_node FROM room WHERE id=?1 AND epoch=?2", wanted.room,
                            static_cast<std::int64_t>(wanted.epoch));
        if (!row.next()) return {"another node has taken it over, or it is gone", 0};
        move.from = row.string(0);
    }
    if (move.from == move.to) return {"it is at " + move.to + " already", 0};
    if (!count_in_run(db, move)) return {"the run has ended", 0};
    const auto moved = db.run("UPDATE room SET home_node=?3, epoch=epoch+1 WHERE id=?1 AND epoch=?2",
                              wanted.room, static_cast<std::int64_t>(wanted.epoch), move.to);
    if (moved == 0) return {"another node has taken it over, or it is gone", 0};
    move.epoch = wanted.epoch + 1;
    db.run("INSERT INTO room_move(room, source, target, epoch, began, run) VALUES(?1,?2,?3,?4,?5,?6)",
           move.room, move.from, move.to, static_cast<std::int64_t>(move.epoch), to_micros(wall_now()),
           move.run);
    return {"", move.epoch};
}

template <class Db>
std::vector<RoomMove> room_moves(Db& db) {
    std::vector<RoomMove> out;
    auto row = db.query("SELECT " MOVE_COLUMNS
                        " FROM room_move m JOIN room r ON r.id=m.room JOIN host h ON h.id=r.host ORDER BY "
                        "m.began, m.room");
    while (row.next()) {
        if (auto move = move_of(row)) out.push_back(std::move(*move));
    }
    return out;
}

template <class Db>
std::optional<RoomMove> end_room_move(Db& db, RoomId room, std::uint64_t epoch) {
    std::optional<RoomMove> out;
    {
        auto row = db.query("SELECT " MOVE_COLUMNS
                            " FROM room_move m JOIN room r ON r.id=m.room JOIN host h ON h.id=r.host WHERE "
                            "m.room=?1 AND m.epoch<=?2",
                            room, static_cast<std::int64_t>(epoch));
        if (row.next()) out = move_of(row);
    }
    // Of two who end it one is told so.
    const auto ended =
        db.run("DELETE FROM room_move WHERE room=?1 AND epoch<=?2", room, static_cast<std::int64_t>(epoch));
    return ended > 0 ? out : std::nullopt;
}

template <class Db>
std::map<std::string, std::uint64_t> room_counts(Db& db) {
    std::map<std::string, std::uint64_t> out;
    auto row = db.query("SELECT home_node, count(*) FROM room WHERE length(config) > 0 GROUP BY home_node");
    while (row.next()) out[row.string(0)] = row.count(1);
    return out;
}

template <class Db>
std::vector<Jid> rooms_of(Db& db, const std::string& home, std::size_t most) {
    std::vector<Jid> out;
    auto row = db.query(
        "SELECT r.localpart, h.name FROM room r JOIN host h ON h.id=r.host WHERE r.home_node=?1 AND "
        "length(r.config) > 0 AND NOT EXISTS(SELECT 1 FROM room_move m WHERE m.room=r.id) ORDER BY r.id "
        "LIMIT ?2",
        home, static_cast<std::int64_t>(most));
    while (row.next()) {
        if (const auto jid = Jid::make(row.text(0), row.text(1))) out.push_back(*jid);
    }
    return out;
}

#define HEXAD_INSTANTIATE(Db)                                                   \
    template RoomMoved move_room(Db&, const RoomMove&);                         \
    template std::vector<RoomMove> room_moves(Db&);                             \
    template std::optional<RoomMove> end_room_move(Db&, RoomId, std::uint64_t); \
    template std::map<std::string, std::uint64_t> room_counts(Db&);             \
    template std::vector<Jid> rooms_of(Db&, const std::string&, std::size_t);
HEXAD_INSTANTIATE(sqlite::Connection)
HEXAD_INSTANTIATE(postgres::Connection)

}  // namespace hexad::sql

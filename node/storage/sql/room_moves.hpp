#pragma once

#include <map>
#include <string>
#include <vector>

#include "storage/store.hpp"

namespace hexad::sql {

// Store's part about the home nodes of rooms, over one connection.
/// Inside a transaction.
template <class Db>
RoomMoved move_room(Db& db, const RoomMove& wanted);
template <class Db>
std::vector<RoomMove> room_moves(Db& db);
template <class Db>
std::optional<RoomMove> end_room_move(Db& db, RoomId room, std::uint64_t epoch);
template <class Db>
std::map<std::string, std::uint64_t> room_counts(Db& db);
template <class Db>
std::vector<Jid> rooms_of(Db& db, const std::string& home, std::size_t most);

}  // namespace hexad::sql

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/sqlite/connection.hpp"
#include "storage/store.hpp"

namespace hexad::sqlite {

Result<std::optional<RoomRow>> load_room(Connection& db, const Jid& room);
Result<Store::RoomFound> create_room(Connection& db, const Jid& room, const std::string& home_node,
                                     const std::string& config);
Result<std::vector<RoomRow>> list_rooms(Connection& db, const std::string& domain);

}  // namespace hexad::sqlite

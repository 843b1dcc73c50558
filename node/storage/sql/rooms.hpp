#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/store.hpp"

namespace hexad::sql {

template <class Db>
Result<std::optional<RoomRow>> load_room(Db& db, const Jid& room);
template <class Db>
Result<Store::RoomFound> create_room(Db& db, const Jid& room, const std::string& home_node,
                                     const std::string& config);
template <class Db>
Result<std::vector<RoomRow>> list_rooms(Db& db, const std::string& domain);

/// Configuration, subject, affiliations of rooms, and the rooms that are no more; not their archives.
template <class Db>
void write_rooms(Db& db, const Batch& batch);

}  // namespace hexad::sql

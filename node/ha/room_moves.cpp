// Rooms that change their home node: who is asked to give one away, and whether all agree on where they are.
#include <boost/json.hpp>

#include "base/text.hpp"
#include "ha/json_fields.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr seconds asked_for{20};
constexpr seconds under_way_at_most{10};  ///< before it is worth a look

}  // namespace

awaitable<std::string> HaManager::move_room(Jid room, std::string home, std::string to, std::int64_t run) {
    if (!move_room_here) co_return "this node has no rooms";
    if (!rooms_move())
        co_return "a room is moved only when every node reads protocol " + std::to_string(rooms_move_since) +
            "; hexactl topology shows which one does not";
    std::vector<std::string> homes{home};
    const auto partitions = co_await cluster_.partitions(std::move(homes));
    if (!partitions) co_return "Redis does not answer; try again";
    auto serving = partitions->at(home).serving;
    if (serving.empty()) serving = home;
    if (serving == node_) co_return co_await move_room_here(std::move(room), std::move(to), run);
    if (link_ && config_.node(serving) != nullptr && link_->view(serving).up) {
        json::object request{{"do", "move-room"}, {"room", room.to_string()}, {"to", to}, {"run", run}};
        const auto reply = co_await link_->ask(serving, std::move(request), asked_for);
        if (!reply) co_return serving + ", which has it, did not answer: hexactl room show tells where it is";
        co_return text(*reply, "error");
    }
    std::vector<std::string> owners{serving};
    const auto leases = co_await cluster_.leases(std::move(owners));
    if (!leases) co_return "Redis does not answer; try again";
    if (leases->at(serving)) co_return serving + " has it and cannot be asked; try again";
    // Nobody has it: whatever its last owner still tries is refused by Redis and by the store. But what it
    // left for the store is true.
    if (!co_await cluster_.drain_spill(serving))
        co_return "rows of " + serving + " wait for the store; try again";
    co_return co_await move_room_here(std::move(room), std::move(to), run);
}

awaitable<json::object> HaManager::answer_move_room(json::object request) {
    const auto room = Jid::parse(text(request, "room"));
    const auto to = text(request, "to");
    const auto& number = field(request, "run");
    if (!room || config_.node(to) == nullptr || !move_room_here)
        co_return json::object{{"error", node_ + " cannot move it to " + to}};
    auto why = co_await move_room_here(*room, to, number.is_number() ? number.to_number<std::int64_t>() : 0);
    if (!why.empty()) co_return json::object{{"error", std::move(why)}};
    co_return json::object{{"ok", true}};
}

awaitable<bool> HaManager::finish_room_move(RoomMove move) {
    const RoomHome home{move.to, move.room, move.epoch};
    const auto told = co_await cluster_.move_room(move.jid, home, std::nullopt);
    co_return told && *told;
}

std::map<std::string, std::string> HaManager::rooms_in_memory() const {
    return rooms_here ? rooms_here() : std::map<std::string, std::string>{};
}

/// A room's home is the same in the store and in Redis, and only the node that serves it has the room.
awaitable<void> HaManager::compare_rooms(Inspection& found) {
    for (const auto& host : config_.hosts) {
        const auto rooms = co_await router_.store().list_rooms("rooms." + host.name);
        if (!rooms) co_return;  // told by compare_store
        for (const auto& room : *rooms) {
            const auto seen = found.room_homes.find(room.jid.to_string());
            if (seen != found.room_homes.end() && !seen->second.empty() && seen->second != room.home_node)
                found.findings.insert({"room-home", room.jid.to_string(),
                                       "Redis has " + seen->second + ", the store " + room.home_node});
        }
    }
    const auto moves = co_await router_.store().room_moves();
    if (!moves) co_return;
    for (const auto& move : *moves) {
        if (wall_now() - move.began < under_way_at_most) continue;
        found.findings.insert(
            {"room-move", move.jid.to_string(),
             "on its way from " + move.from + " to " + move.to + " since " + format_time_s(move.began)});
    }
}

/// What one node has in memory.
void HaManager::compare_rooms_of(const std::string& node, const std::map<std::string, std::string>& rooms,
                                 Inspection& found) {
    for (const auto& [name, of] : rooms) {
        const auto [it, first] = found.room_holders.emplace(name, node);
        if (!first)
            found.findings.insert({"room-owners", name, it->second + " and " + node + " have it in memory"});
        const auto redis = found.room_homes.find(name);
        if (redis != found.room_homes.end() && !redis->second.empty() && redis->second != of)
            found.findings.insert({"room-memory", name,
                                   node + " has it with the home " + of + ", Redis says " + redis->second});
        const auto serving = found.serving.find(of);
        if (serving != found.serving.end() && serving->second != node)
            found.findings.insert(
                {"room-owner", name, node + " has it, " + serving->second + " serves its home " + of});
    }
}

}  // namespace hexad

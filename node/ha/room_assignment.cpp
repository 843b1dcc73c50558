// Where rooms live: moved by an administrator or by a rebalancing, and moves that somebody left half done.
#include <boost/json.hpp>

#include "base/log.hpp"
#include "ha/assignment.hpp"
#include "ha/json_fields.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

using Answer = AssignmentKeeper::Answer;

constexpr std::uint64_t most_at_once = 20;
constexpr int most_failures = 5;            ///< of moves in a row, until a run stops
constexpr seconds half_done_after{3};       ///< a move that is still under way then is told to Redis again
constexpr milliseconds shown_within{5000};  ///< an administrator waits for the new owner
constexpr milliseconds shown_pause{50};

Answer fault(int status, const std::string& text) { return {status, json::object{{"error", text}}}; }
Answer no_store() { return fault(503, "the store does not answer; see the events store_down and store_up"); }

}  // namespace

awaitable<Answer> AssignmentKeeper::room_command(json::object request) {
    const auto what = text(request, "command");
    if (what != "move") co_return fault(400, "command is move");
    const auto name = text(request, "jid");
    const auto jid = Jid::parse(name);
    if (!jid || jid->is_full() || jid->local().empty())
        co_return fault(400, "no room address: \"" + name + "\"; write name@rooms.host");
    auto node = text(request, "node");
    if (auto why = unknown_node(node); !why.empty()) co_return fault(400, why);
    co_return co_await move_room(*jid, std::move(node));
}

awaitable<Answer> AssignmentKeeper::move_room(Jid jid, std::string node) {
    const auto name = jid.to_string();
    const auto row = co_await store_.load_room(jid);
    if (!row) co_return no_store();
    if (!*row || (*row)->config.empty()) co_return fault(404, "no such room: " + name);
    const auto from = (*row)->home_node;
    if (!(*row)->moves_from.empty())
        co_return fault(409, name + " is on its way from " + (*row)->moves_from + " to " + from + " already");
    if (from == node) co_return fault(409, name + " is at " + node + " already");
    const auto seen = co_await look();
    if (!seen) co_return no_store();
    if (const auto trouble = seen->trouble.find(node); trouble != seen->trouble.end())
        co_return fault(409,
                        trouble->second + "; rooms are moved only to nodes that are normal or standalone");
    if (auto why = co_await ha_.move_room(jid, from, node, 0); !why.empty())
        co_return fault(409, name + ": " + why);
    // The rest is a matter of the new owner, who loads it.
    std::string state = "on its way";
    for (const auto end = SteadyClock::now() + shown_within; SteadyClock::now() < end;) {
        const auto now = co_await store_.load_room(jid);
        if (now && (!*now || (*now)->moves_from.empty())) {
            state = "moved";
            break;
        }
        asio::steady_timer pause(io_, shown_pause);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    log_info("room_assigned", {{"room", name}, {"from", from}, {"to", node}, {"state", state}});
    co_return Answer{200, json::object{{"room", name}, {"home", node}, {"was", from}, {"state", state}}};
}

RebalancePlan AssignmentKeeper::plan_of_rooms(const Seen& seen, std::uint64_t most) const {
    if (ha_.rooms_move()) return plan_rooms(seen.places, seen.rooms, most);
    RebalancePlan none;
    none.after = room_places(seen.places, seen.rooms);
    return none;
}

/// Rooms of a run, one after the other; the store counts each in the transaction that moves it.
awaitable<void> AssignmentKeeper::move_rooms(std::size_t at, std::uint64_t some) {
    const auto id = driving_->run.id;
    const auto flow = driving_->run.flows[at];
    some = std::min(some, most_at_once);
    const auto rooms = co_await store_.rooms_of(flow.from, some);
    if (!driving_ || driving_->run.id != id) co_return;
    if (!rooms) {
        co_await pause(seconds(1));  // the store is away; the next look reads how far the run is
        co_return;
    }
    driving_->dry[at] = rooms->size() < some;
    for (const auto& room : *rooms) {
        const auto why = co_await ha_.move_room(room, flow.from, flow.to, id);
        if (!driving_ || driving_->run.id != id || stopping_) co_return;
        driving_->credit -= 1;
        if (why.empty()) {
            ++driving_->run.flows[at].moved;
            driving_->failures = 0;
            continue;
        }
        log_warn("room_not_moved", {{"room", room.to_string()}, {"to", flow.to}, {"reason", why}});
        driving_->dry[at] = false;  // it is still there
        if (++driving_->failures >= most_failures) co_await end("stopped", room.to_string() + ": " + why);
        co_return;
    }
}

/// Whoever moved a room may have died between the store and Redis, or the new owner before it had the room.
awaitable<void> AssignmentKeeper::finish_room_moves() {
    const auto moves = co_await store_.room_moves();
    if (!moves) co_return;
    for (const auto& move : *moves) {
        if (wall_now() - move.began < half_done_after) continue;
        const bool told = co_await ha_.finish_room_move(move);
        log_info("room_move_finished",
                 {{"room", move.jid.to_string()}, {"from", move.from}, {"to", move.to}, {"told", told}});
    }
}

}  // namespace hexad

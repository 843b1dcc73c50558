// Whose a room is: it follows the partition of its home node, and its home may change (docs/assignment.md,
// "Rooms").
#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "muc/live_room.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr milliseconds handover_pause{200};
constexpr milliseconds rest_pause{10};
constexpr milliseconds store_pause{500};
constexpr seconds rest_within{5};   ///< steps under way become safe, or the room is not moved
constexpr seconds move_within{30};  ///< Redis hears of a move; after that whoever finds it half done tells it
constexpr seconds former_kept{600};  ///< at most: if its next owner does not tell that it has it

awaitable<void> pause(asio::io_context& io, milliseconds time) {
    asio::steady_timer timer(io, time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace

void MucModule::partition_moved(const std::string& home, bool ours) {
    if (ours) {
        served_.insert(home);
    } else {
        served_.erase(home);
    }
    // What is in memory of these rooms is from before the move.
    for (auto it = rooms_.begin(); it != rooms_.end();) {
        if (it->second->room.home == home) {
            if (!ours) keep_former(*it->second);
            lose(*it->second);
            it = rooms_.erase(it);
        } else {
            ++it;
        }
    }
    if (ours) asio::co_spawn(ctx_.cluster().io(), resume_rooms(home), asio::detached);
}

/// What is in memory of the room is old: whatever is under way for it ends without effects.
void MucModule::lose(Live& live) {
    live.lost = true;
    live.settled.cancel();
}

std::optional<CarriedRoom> MucModule::carried_of(const Live& live) {
    if (!live.loaded || live.lost) return std::nullopt;
    if (!live.room.exists && live.decided.empty() && live.inbox.empty()) return std::nullopt;
    CarriedRoom room;
    room.room = live.room.jid;
    if (live.room.id != 0) room.home = {live.room.home, live.room.id, live.room.epoch};
    room.position = live.safe;
    room.origins = live.taken;
    for (const auto* inputs : {&live.decided, &live.inbox}) {
        for (const auto& [position, input] : *inputs) {
            if (position <= live.safe) continue;
            room.origins.take(input.origin);
            room.inputs.emplace_back(position, input);
        }
    }
    for (const auto& [sid, bytes] : live.occupants) room.occupants.push_back({room.room, sid, bytes, false});
    return room;
}

/// Position and occupants are those of the last step that is known to be safe. If a later one became safe
/// too, Redis has a later position, and keeps its own.
void MucModule::keep_former(const Live& live) {
    auto room = carried_of(live);
    if (!room) return;
    room->former = true;
    former_[live.room.jid] = {std::move(*room), SteadyClock::now()};
}

Verdict MucModule::held_elsewhere(RoomHeldElsewhere& event) {
    former_.erase(event.room);
    return Verdict::pass;
}

Verdict MucModule::carried(RoomsCarried& event) {
    for (const auto& [jid, live] : rooms_) {
        if (auto room = carried_of(*live)) event.rooms.push_back(std::move(*room));
    }
    std::erase_if(former_,
                  [](const auto& one) { return SteadyClock::now() - one.second.since > former_kept; });
    for (const auto& [jid, former] : former_) event.rooms.push_back(former.room);
    return Verdict::pass;
}

Verdict MucModule::fenced(RoomsFenced&) {
    former_.clear();
    const auto served = served_;
    for (const auto& home : served) partition_moved(home, true);
    return Verdict::pass;
}

std::map<std::string, std::string> MucModule::rooms_here() const {
    std::map<std::string, std::string> out;
    for (const auto& [jid, live] : rooms_) {
        if (live->loaded && !live->lost && live->room.exists) out[jid.to_string()] = live->room.home;
    }
    return out;
}

bool MucModule::owns(const muc::Room& room) const {
    return !partitioned_ || room.id == 0 || served_.contains(room.home);
}

/// The room lives elsewhere, and what is in its inbox was announced to this node: the node that has it looks
/// into the inbox itself when it becomes its owner. If the input still lies there after a moment, it is told
/// to look; this node forgets the room.
awaitable<void> MucModule::not_ours(LivePtr live) {
    co_await pause(ctx_.cluster().io(), handover_pause);
    if (served_.contains(live->room.id != 0 ? live->room.home : live->home.node)) {
        // It has come here: what is in memory is read again.
        live->lost = live->loaded;
        live->stale = live->loaded;
        co_return;
    }
    live->lost = true;
    // Redis may not know the home yet: who moved it died midway.
    if (live->home.id != 0) co_await ctx_.cluster().session_log().move_room(live->room.jid, live->home, {});
    if (live->inbox.empty()) co_return;
    const auto newest = live->inbox.rbegin()->first;
    const auto waits = co_await ctx_.cluster().session_log().room_inbox(live->room.jid, newest - 1, 1);
    if (waits && (waits->empty() || waits->front().position != newest)) co_return;
    RoomInput poke;
    poke.room = live->room.jid;
    poke.origin = {"poke:" + random_id(8), 1, 0};
    poke.from = live->room.jid.domain_jid();
    poke.xml = make_bytes("<presence type='probe'/>");
    Batch batch;
    batch.room_inputs.push_back(std::move(poke));
    ctx_.cluster().submit(std::move(batch));
}

// ---- another home ----

Verdict MucModule::home_moved(RoomHomeMoved& event) {
    const auto it = rooms_.find(event.room);
    if (it != rooms_.end() && it->second->loaded && it->second->room.id != 0 &&
        it->second->room.home != event.home) {
        keep_former(*it->second);
        lose(*it->second);
        rooms_.erase(it);
    }
    if (served_.contains(event.home)) run(live(event.room));
    return Verdict::pass;
}

/// Nothing is decided any more, and all that was decided is safe and in the store. False: it does not come to
/// that.
awaitable<bool> MucModule::bring_to_rest(LivePtr live) {
    const auto end = SteadyClock::now() + rest_within;
    while ((live->running || live->in_flight > 0 || (rows_wait && rows_wait())) && !live->lost) {
        if (SteadyClock::now() > end) co_return false;
        co_await pause(ctx_.cluster().io(), rest_pause);
    }
    co_return true;
}

/// The store's part of a move: the row names the new home, under an epoch that its former owner does not
/// have. Once that is true it stays true, whoever dies; so an answer that was lost is looked for.
awaitable<RoomMoved> MucModule::store_move(LivePtr live, RoomMove wanted) {
    auto moved = co_await ctx_.store().move_room(wanted);
    while (!moved && !live->lost) {
        co_await pause(ctx_.cluster().io(), store_pause);
        const auto row = co_await ctx_.store().load_room(wanted.jid);
        if (!row) continue;
        if (*row && (*row)->home_node == wanted.to && (*row)->epoch > wanted.epoch)
            co_return RoomMoved{"", (*row)->epoch};
        co_return RoomMoved{"the store did not answer; try again", 0};
    }
    if (!moved) co_return RoomMoved{"its partition is on its way to another node; try again", 0};
    co_return std::move(*moved);
}

awaitable<std::string> MucModule::move_room(Jid room, std::string to, std::int64_t run_id) {
    const auto live = this->live(room);
    if (live->moving) co_return "it is being moved already";
    live->moving = true;
    auto why = co_await move_resting(live, std::move(to), run_id);
    live->moving = false;
    if (!why.empty() && !live->lost) {
        live->inbox.empty() ? unload(live) : run(live);
    }
    co_return why;
}

/// Store first, as with partitions; then Redis, from when on the new home's node is handed the inputs. Every
/// step can be repeated by anybody who finds the row and Redis disagree.
awaitable<std::string> MucModule::move_resting(LivePtr live, std::string to, std::int64_t run_id) {
    const bool was_here = live->loaded || live->running;
    if (!co_await bring_to_rest(live)) co_return "what is under way in it does not become safe; try again";
    if (live->lost) co_return "its partition is on its way to another node; try again";
    const auto row = co_await ctx_.store().load_room(live->room.jid);
    if (!row) co_return "the store does not answer; try again";
    if (!*row) co_return "there is no such room";
    if (live->loaded && live->room.id != 0 && live->room.epoch != (*row)->epoch)
        co_return "another node has taken it over; try again";
    fail_point("room-move-decided");
    RoomMove wanted;
    wanted.room = (*row)->id;
    wanted.jid = live->room.jid;
    wanted.to = to;
    wanted.epoch = (*row)->epoch;
    wanted.run = run_id;
    const auto moved = co_await store_move(live, std::move(wanted));
    if (!moved.refused.empty()) co_return moved.refused;
    fail_point("room-move-stored");
    const RoomHome home{std::move(to), (*row)->id, moved.epoch};
    std::optional<std::uint64_t> position;
    if (was_here && live->loaded && !live->lost) {
        position = live->safe;
        keep_former(*live);
        if (const auto it = former_.find(live->room.jid); it != former_.end()) it->second.room.home = home;
    }
    lose(*live);
    if (const auto it = rooms_.find(live->room.jid); it != rooms_.end() && it->second == live)
        rooms_.erase(it);
    log_info("room_moves", {{"room", live->room.jid.to_string()},
                            {"from", (*row)->home_node},
                            {"to", home.node},
                            {"position", position.value_or(0)}});
    for (const auto end = SteadyClock::now() + move_within; SteadyClock::now() < end;) {
        const auto told = co_await ctx_.cluster().session_log().move_room(live->room.jid, home, position);
        if (told && *told) break;
        if (told && !*told && !position) break;  // not a matter of Redis
        // Somebody else went on with the room meanwhile: all the same it is at its new home now.
        if (told) position.reset();
        if (!told) co_await pause(ctx_.cluster().io(), handover_pause);
    }
    fail_point("room-moved");
    co_return std::string();
}

/// The room has come here: its move is over.
awaitable<void> MucModule::end_move(Jid room, RoomId id, std::uint64_t epoch) {
    for (;;) {
        const auto ended = co_await ctx_.store().end_room_move(id, epoch);
        if (ended) {
            if (*ended && on_room_moved) on_room_moved(**ended);
            co_return;
        }
        co_await pause(ctx_.cluster().io(), store_pause);
    }
}

}  // namespace hexad

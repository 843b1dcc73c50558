#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "hooks/module.hpp"
#include "muc/step.hpp"

namespace hexad {

/// Rooms (XEP-0045): the service and the rooms that this node owns. Protocol thread.
///
/// A room's inputs are decided on one after another in the order of its inbox, each one a batch; a room that
/// nobody is in and nobody speaks to is not in memory.
class MucModule final : public Module {
public:
    explicit MucModule(ModuleContext& ctx);
    ~MucModule() override;

    /// Ends a room as its owner would, at whatever node it is. False: there is no such room.
    awaitable<bool> destroy_room(Jid room);
    /// Gives a room that this node has, or whose node is no more, to another home node (docs/assignment.md,
    /// "Rooms"). Empty, or why not. `run`: the rebalancing that wants it, 0 = an administrator.
    awaitable<std::string> move_room(Jid room, std::string to, std::int64_t run);
    /// Whether rows whose effects are true may not be in the store yet: it was away. They are of the epoch
    /// that a move ends.
    std::function<bool()> rows_wait;
    /// A room that was moved is at this node now.
    std::function<void(const RoomMove&)> on_room_moved;
    /// Rooms in memory that this node decides on, with the home that each has.
    std::map<std::string, std::string> rooms_here() const;
    /// In a cluster rooms follow the partitions of their home nodes; called once before the first move.
    void follow_partitions() { partitioned_ = true; }
    /// A partition came to this node, or left it.
    void partition_moved(const std::string& home, bool ours);
    std::size_t rooms_in_memory() const { return rooms_.size(); }

private:
    struct Live;
    using LivePtr = std::shared_ptr<Live>;

    Verdict carried(RoomsCarried& event);
    Verdict fenced(RoomsFenced& event);
    Verdict started(NodeStarted& event);
    Verdict arrived(RoomInputArrived& event);
    Verdict held_elsewhere(RoomHeldElsewhere& event);
    Verdict home_moved(RoomHomeMoved& event);
    IqResult service_info(IqRequest& request, Batch& batch);
    awaitable<IqResult> service_items(IqRequest& request);
    IqResult service_ping(IqRequest& request, Batch& batch);

    bool is_room(const Jid& room) const;
    LivePtr live(const Jid& room);
    bool owns(const muc::Room& room) const;
    awaitable<void> resume_rooms(std::string home);
    awaitable<bool> fill_gap(LivePtr room);
    awaitable<void> not_ours(LivePtr room);
    void run(const LivePtr& room);
    awaitable<void> work(LivePtr room);
    enum class Loaded { yes, later, elsewhere };  ///< later: store or session log are away
    awaitable<Loaded> load(LivePtr room);
    awaitable<void> prepare(LivePtr room, const RoomInput& input, const Element& stanza);
    awaitable<void> settle(LivePtr room);
    void decide(const LivePtr& room, muc::Step& step);
    awaitable<void> commit(LivePtr room, muc::Step& step);
    awaitable<void> answer_later(LivePtr room, std::function<awaitable<IqResult>(IqRequest&)> handler,
                                 RoomInput input, Element stanza);
    awaitable<bool> leave_missing(LivePtr room);
    void unload(const LivePtr& room);
    static std::optional<CarriedRoom> carried_of(const Live& room);
    void keep_former(const Live& room);
    static void lose(Live& room);
    awaitable<bool> bring_to_rest(LivePtr room);
    awaitable<RoomMoved> store_move(LivePtr room, RoomMove wanted);
    awaitable<std::string> move_resting(LivePtr room, std::string to, std::int64_t run);
    awaitable<void> end_move(Jid room, RoomId id, std::uint64_t epoch);

    ModuleContext& ctx_;
    bool partitioned_ = false;
    std::set<std::string> served_;  ///< home nodes whose partitions are here, if partitioned
    std::unordered_map<Jid, LivePtr> rooms_;
    /// Rooms that have left this node, as it had them: until the next owner has them in memory, a Redis that
    /// comes back empty has them from here.
    struct Former {
        CarriedRoom room;
        SteadyClock::time_point since;
    };
    std::unordered_map<Jid, Former> former_;
};

std::unique_ptr<MucModule> make_muc(ModuleContext& ctx);

}  // namespace hexad

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/result.hpp"
#include "storage/store.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// The nodes of the cluster, as far as the assignment of accounts needs them. Protocol thread.
class ClusterNodes {
public:
    virtual ~ClusterNodes() = default;
    /// Every node of the cluster as this one sees it; keys as in `lab status`.
    virtual awaitable<std::vector<boost::json::object>> nodes(
        std::map<std::string, std::uint64_t> assigned) = 0;
    /// Told as the events of redundancy groups are: log, metric, `hexactl events`.
    virtual void tell(std::string kind, boost::json::object fields) = 0;
    /// Clients of these accounts that can resume are sent to their new home node, from whichever node carries
    /// them; the others stay. How many.
    virtual awaitable<std::uint64_t> send_home(std::vector<Jid> accounts, std::string home) = 0;
    virtual bool is_high_availability_on() const = 0;
    /// Whether all nodes know rooms that move.
    virtual bool rooms_move() const = 0;
    /// Asks the node that has the room, which lives at `home`, to give it to another home node; does it
    /// itself if nobody has it. Empty, or why not. `run`: of the rebalancing that wants it, 0 = an
    /// administrator.
    virtual awaitable<std::string> move_room(Jid room, std::string home, std::string to,
                                             std::int64_t run) = 0;
    /// Somebody died midway: Redis hears of the move once more. False: it did not.
    virtual awaitable<bool> finish_room_move(RoomMove move) = 0;
    /// Why one node of this group could not carry both; empty = it could.
    virtual void set_overfull(std::string why) = 0;
};

}  // namespace hexad

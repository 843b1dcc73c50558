#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "placement/placement.hpp"

namespace hexad {

/// What has a home node.
enum class Homed { users, rooms };
inline std::string_view name_of(Homed what) { return what == Homed::users ? "users" : "rooms"; }

/// So many accounts, or rooms, change their home node from `from` to `to`.
struct Flow {
    std::string from;
    std::string to;
    std::uint64_t users = 0;
    std::string group{};            ///< that placement rules give them to; empty: no rule is for them
    std::set<std::string> rules{};  ///< that name another group than the one of `from`
    Homed what = Homed::users;
    friend bool operator==(const Flow&, const Flow&) = default;
};

struct RebalancePlan {
    std::vector<Flow> flows;  ///< by `from`, `to` and `group`
    Places after;             ///< as the cluster will be

    std::uint64_t moves() const;
};

/// What becomes of accounts in another group than a placement rule gives them to: that is for people to
/// decide.
enum class Misplaced { go, stay };

/// The fewest moves that make the shares (assigned ÷ capacity) of all nodes of a mode as even as they can be,
/// at most `most`. Who is pinned stays; nobody goes where there is no room, to a node of another mode, or out
/// of the group that a placement rule names; groups of mode *none* give and take nobody. Accounts on the
/// second node of an active-standby group, on nodes that the configuration does not name, and those whom a
/// rule gives to another group go first. A pure function.
RebalancePlan plan_rebalance(const Places& places,
                             std::uint64_t most = std::numeric_limits<std::uint64_t>::max(),
                             Misplaced misplaced = Misplaced::go);

/// The nodes of `places` as places for rooms: so many rooms are at each home node. No room is too many; a
/// tenth as many rooms as users go with a capacity, which is what `imbalance` measures by.
Places room_places(const Places& places, const std::map<std::string, std::uint64_t>& rooms);
/// The fewest moves that make the rooms of the nodes of one mode as even, in proportion to capacity, as they
/// can be, at most `most`; rooms of nodes that the configuration does not name, or that take no accounts, go
/// first.
RebalancePlan plan_rooms(const Places& places, const std::map<std::string, std::uint64_t>& rooms,
                         std::uint64_t most = std::numeric_limits<std::uint64_t>::max());

/// Percent of capacity between the most and the least loaded node of one mode, the largest of all modes.
std::uint64_t imbalance(const Places& places);

/// Whether a minute of the day lies in a window; `from` > `to` goes over midnight.
constexpr bool is_in_window(int minute, int from, int to) {
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

}  // namespace hexad

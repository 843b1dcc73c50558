#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "placement/placement.hpp"

namespace hexad {

/// So many accounts change their home node from `from` to `to`.
struct Flow {
    std::string from;
    std::string to;
    std::uint64_t users = 0;
    std::string group{};            ///< that placement rules give them to; empty: no rule is for them
    std::set<std::string> rules{};  ///< that name another group than the one of `from`
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

/// Percent of capacity between the most and the least loaded node of one mode, the largest of all modes.
std::uint64_t imbalance(const Places& places);

/// Whether a minute of the day lies in a window; `from` > `to` goes over midnight.
constexpr bool is_in_window(int minute, int from, int to) {
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

}  // namespace hexad

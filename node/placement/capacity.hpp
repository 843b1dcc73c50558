#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "placement/placement.hpp"

namespace hexad {

/// Sessions by node: several devices of a user count several times.
using SessionCounts = std::map<std::string, std::uint64_t>;

/// So many sessions go with a capacity of so many users: one and a half times as many.
constexpr std::uint64_t session_capacity(std::uint64_t users) { return users + users / 2; }
/// From here on it is an alarm, in percent.
constexpr std::uint64_t warning_percent = 80;

/// What decides how many sessions a node of a group may carry.
struct SessionShare {
    std::uint64_t capacity = 0;       ///< of the node, in users
    std::uint64_t peer_capacity = 0;  ///< of the other node of a redundant group; 0: there is none
    bool alone = false;               ///< the other one lets no clients in: this node has the users of both
    std::uint64_t peer_sessions = 0;  ///< what the other one carries
};
/// Above it a login is refused (docs/assignment.md, "How full it is"). A redundant group carries what one of
/// its nodes carries: half of it is each node's own, and what the other one leaves free.
std::uint64_t session_limit(const SessionShare& share);

/// How full something is.
struct Fill {
    std::string what;     ///< `group g1`, `node n1`, `cluster`
    std::string measure;  ///< `users` or `sessions`
    std::uint64_t used = 0;
    std::uint64_t capacity = 0;

    std::uint64_t percent() const { return capacity == 0 ? (used > 0 ? 100 : 0) : 100 * used / capacity; }
    bool is_high() const { return percent() >= warning_percent; }
};

/// Every group and the cluster; the nodes of a group too where each carries its own.
std::vector<Fill> fills(const Places& places, const SessionCounts& sessions);

/// Why one node of the group could not carry both; empty = it could, or the group is not redundant.
std::string too_full_for_one(const GroupPlace& group, const SessionCounts& sessions);

/// Turns a condition into an alarm: raised once it has held without a break for a time, over when it ends.
class LastingAlarm {
public:
    enum class Change { none, raised, over };
    Change look(bool condition, SteadyClock::time_point now, milliseconds after);
    bool is_raised() const { return raised_; }
    void reset() { *this = {}; }

private:
    bool holds_ = false, raised_ = false;
    SteadyClock::time_point since_{};
};

}  // namespace hexad

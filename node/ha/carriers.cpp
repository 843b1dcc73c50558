// Sessions and those who carry them, compared again and again: news of a session that was missed does no
// lasting harm.
#include <algorithm>
#include <iterator>

#include "base/log.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace {

/// What stands so at two looks, one after the other, is no change that is under way.
constexpr milliseconds between_looks{5000};

std::vector<std::string> seen_twice(std::vector<std::string> now, std::vector<std::string>& before) {
    std::sort(now.begin(), now.end());
    std::vector<std::string> both;
    std::set_intersection(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(both));
    before = std::move(now);
    return both;
}

}  // namespace

/// The peer died while its users were here already: its sessions have nobody else.
bool HaManager::inherits_from_peer() {
    if (state_ != NodeState::backup || !serving_.contains(peer_)) return false;
    const auto now = situation();
    return now.trust_leases && !now.peer_lease && !now.link;
}

awaitable<void> HaManager::watch_carriers() {
    std::vector<std::string> own, left, doubted;
    while (!stopping_) {
        co_await pause(between_looks);
        if (state_ == NodeState::initializing || busy_ || is_blind() || !redis_fresh()) {
            own.clear(), left.clear(), doubted.clear();
            continue;
        }
        // Each of these asks Redis once more: a replica of the routes that is late decides nothing.
        for (auto& sid : seen_twice(router_.in_doubt(), doubted))
            co_await cluster_.check_lost(std::move(sid));
        co_await adopt_left(node_, seen_twice(router_.without_carrier(node_), own));
        if (inherits_from_peer()) {
            co_await adopt_left(peer_, seen_twice(router_.without_carrier(peer_), left));
        } else {
            left.clear();
        }
    }
}

awaitable<void> HaManager::adopt_left(std::string from, std::vector<std::string> sids) {
    std::uint64_t adopted = 0;
    for (const auto& sid : sids) {
        // What is over by the store, and came back with a Redis that lost its last writes, only ends.
        const auto over = co_await cluster_.end_if_over(sid, from);
        if (!over || *over) continue;
        co_await router_.adopt(sid, from);
        if (router_.find_session(sid)) ++adopted;
    }
    if (adopted > 0)
        log_warn("left_sessions_adopted",
                 {{"node", node_}, {"of", from}, {"sessions", std::uint64_t{adopted}}});
}

}  // namespace hexad

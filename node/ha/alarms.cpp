#include <algorithm>

#include <boost/json.hpp>

#include "ha/elapsed.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

/// Tells what begins and what is over, once each.
void HaManager::alarm(bool now, bool& told, const char* kind, const char* over, json::object fields) {
    if (now == told) return;
    told = now;
    if (now) {
        log_.add(kind, std::move(fields));
    } else if (over != nullptr) {
        log_.add(over, fields.contains("peer") ? json::object{{"peer", fields["peer"]}} : json::object{});
    }
}

void HaManager::alarms(const Situation& s) {
    if (s.state == NodeState::initializing) return;
    const auto now = SteadyClock::now();
    service_alarms(now);
    back_end_alarms(s, now);

    if (s.paired && link_) {
        const auto& view = link_->view(peer_);
        const bool down =
            !s.link && s.peer_lease && s.redis && elapsed(view.since, now) > 2 * timers_.heartbeat;
        if (down || s.link) alarm(down, told_link_down_, "PeerLinkDown", "PeerLinkUp", {{"peer", peer_}});
    }
    auto willing = s;
    willing.budget = true;
    const bool spent = !s.budget && decide(willing, timers_) != decide(s, timers_);
    alarm(spent, told_budget_, "FlapBudgetSpent", nullptr,
          {{"moves", budget_.spent()}, {"do", "hexactl ha fallback " + node_ + ", or wait an hour"}});
    if (s.paired && s.enabled && serves_own(s.state) && !is_moving(s.state)) {
        const bool redundant =
            s.state == NodeState::normal && s.peer_lease && s.link && s.peer_healthy && overfull_.empty();
        if (redundant || s.in_state > timers_.peer_timeout)
            alarm(!redundant, told_alone_, "NotRedundant", "Redundant",
                  {{"peer", peer_},
                   {"peer_state", name_of(s.peer_state)},
                   {"link", s.link},
                   {"room", overfull_.empty() ? "enough" : overfull_}});
    }
}

/// What clients of the peer and of this node are refused.
void HaManager::service_alarms(SteadyClock::time_point now) {
    const auto verdict = canary_.verdict();
    if (verdict == CanaryJudge::Verdict::not_serving || verdict == CanaryJudge::Verdict::serves) {
        json::object what{{"peer", peer_}, {"why", canary_.last().why}};
        what["failing_ms"] = std::int64_t{canary_.failing(now).count()};
        alarm(verdict == CanaryJudge::Verdict::not_serving, told_not_serving_, "NotServing", "Serving",
              std::move(what));
    }
    const bool refusing = login_refused_at_ != SteadyClock::time_point{} &&
                          elapsed(login_refused_at_, now) < 6 * timers_.peer_timeout;
    alarm(refusing, told_sessions_, "SessionLimitReached", "SessionLimitOver",
          {{"sessions", router_.attached()}, {"limit", sessions_limit()}});
}

/// Redis, PostgreSQL and the directories, as this node reaches them.
void HaManager::back_end_alarms(const Situation& s, SteadyClock::time_point now) {
    const bool frozen = !s.redis && (!s.paired || (s.link && !s.peer_redis));
    if (s.redis) redis_fresh_at_ = now;
    // A moment later the others have told whether they have lost it as well.
    if (s.redis || now - redis_fresh_at_ > timers_.heartbeat)
        alarm(!s.redis, told_redis_down_, "StateStoreDown", "StateStoreUp", {{"frozen", frozen}});

    // Either rows wait to be written, or it does not answer when it is read.
    const auto silent = elapsed(store_answered_, now);
    const bool store_down =
        !cluster_.store_up() || silent > std::max(2 * timers_.heartbeat, milliseconds(3000));
    alarm(store_down, told_store_down_, "StoreDown", "StoreUp",
          {{"silent_ms", std::int64_t{silent.count()}}});

    if (!directories_down) return;
    const auto down = directories_down();
    for (const auto& [agreement, why] : down) {
        if (told_directories_.insert(agreement).second)
            log_.add("DirectoryDown", {{"agreement", agreement}, {"why", why}});
    }
    std::erase_if(told_directories_, [&](const std::string& agreement) {
        if (down.contains(agreement)) return false;
        log_.add("DirectoryUp", {{"agreement", agreement}});
        return true;
    });
}

}  // namespace hexad

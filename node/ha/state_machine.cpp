#include "ha/state_machine.hpp"

namespace hexad {

namespace {

constexpr Decision stay{};

Decision enter(NodeState to, Reason reason, int transition) { return {Step::enter, to, reason, transition}; }

bool peer_gone(const Situation& s, const HaTimers& timers) {
    // Never on heartbeat evidence alone: the lease must be over, and leases must mean something again.
    if (!s.trust_leases || s.peer_lease) return false;
    return peer_silent(s, timers);
}

/// T2 to T4: what a node finds when it (re)starts.
Decision starting(const Situation& s, const HaTimers& timers) {
    if (!s.redis || !s.store) return stay;
    const auto at_home = s.paired && s.enabled ? NodeState::normal : NodeState::standalone;
    const auto reason = at_home == NodeState::normal ? Reason::normal : Reason::ha_not_enabled;
    if (s.own != Owner::peer) return {Step::take_own, at_home, reason, 2};
    if (s.held) return enter(NodeState::idle, Reason::admin_request, 4);
    if (s.peer_lease) return enter(NodeState::failed_over, Reason::peer_down, 3);
    if (!s.trust_leases) return stay;
    // The one who serves this partition is gone as well: nobody does.
    if (peer_gone(s, timers)) return {Step::take_own, at_home, reason, 2};
    return stay;
}

/// T16, and what a node does that cannot renew its lease.
std::optional<Decision> without_redis(const Situation& s, const HaTimers& timers) {
    if (s.redis || !s.paired || !s.enabled) return std::nullopt;  // a group of one goes on
    if (s.link && s.peer_redis) {
        // The peer may take over at lease end. After a freeze it waits for lease + 10 % since Redis came back
        // to it, and the first to be back is nobody's reason to move.
        const bool over = s.was_frozen ? s.peer_only >= timers.lease * 9 / 10 : s.lease_over;
        if (over) return Decision{Step::fence, NodeState::fenced, Reason::state_store_lost, 16};
        const auto patience = s.was_frozen ? timers.lease / 2 : timers.heartbeat;
        if (s.state == NodeState::normal && !s.asked_take_over && s.peer_only >= patience)
            return Decision{Step::hand_over, NodeState::failed_over, Reason::state_store_lost, 7};
        return std::nullopt;
    }
    if (s.link) return is_moving(s.state) ? std::nullopt : std::optional(stay);  // freeze: roles stay
    if (s.lease_over) return Decision{Step::fence, NodeState::fenced, Reason::isolated, 16};
    return std::nullopt;
}

/// The way to the store is lost here and not at the peer. Both must have had the time to notice: when a store
/// comes back, one of the two always sees it first, and that is no reason to move.
bool store_lost_alone(const Situation& s, const HaTimers& timers) {
    return s.services_up && s.link && s.store_alone >= timers.service_down;
}

Decision while_normal(const Situation& s, const HaTimers& timers) {
    if (s.own == Owner::peer) return {Step::fence, NodeState::fenced, Reason::isolated, 16};
    if (s.redis && peer_gone(s, timers) && !s.peer_held) {
        // A peer that this node has never seen may still be starting (T5).
        if (!s.peer_seen && s.uptime < timers.init_timeout) return stay;
        if (s.peer_state == NodeState::initializing && s.link && s.peer_lease_gone < timers.init_timeout)
            return stay;
        const auto reason = s.peer_stopping ? Reason::peer_reboot
                            : s.peer_seen   ? Reason::peer_down
                                            : Reason::peer_down_during_initialization;
        return {Step::take_over, NodeState::backup, reason, s.peer_seen ? 6 : 5};
    }
    const bool database = s.services_up;  // what is left to be down is the path to the store
    if (s.unhealthy >= timers.service_down && s.link && s.peer_healthy && s.budget && s.redis &&
        s.peer_state == NodeState::normal && s.peer_version_fits &&
        (!database || store_lost_alone(s, timers))) {
        return {Step::hand_over, NodeState::failed_over_down,
                database ? Reason::database_failure : Reason::critical_service_down, 7};
    }
    return stay;
}

Decision while_failed_over(const Situation& s, const HaTimers& timers) {
    if (s.own == Owner::self) return {Step::restart, NodeState::initializing, Reason::initialization, 1};
    if (s.held) return enter(NodeState::idle, Reason::admin_request, 4);
    const bool able = s.unhealthy == milliseconds(0) && s.redis && s.store;
    if (!able && s.unhealthy >= timers.service_down)
        return enter(NodeState::failed_over_down,
                     s.services_up ? Reason::database_failure : Reason::critical_service_down, 7);
    // The backup is gone, or says that it cannot go on (T12).
    const bool backup_down = peer_gone(s, timers) && s.redis;
    const bool backup_unfit = s.link && s.peer_lease && s.peer_unhealthy >= timers.service_down &&
                              s.healthy >= timers.service_down && s.peer_state == NodeState::backup;
    if (able && (backup_down || backup_unfit)) {
        return {
            Step::take_both, NodeState::backup,
            backup_unfit ? Reason::auto_recover_database_failure : Reason::auto_recover_critical_service_down,
            12};
    }
    if (able && s.peer_lease && timers.automatic_fallback && s.healthy >= timers.fallback_delay && s.budget &&
        s.peer_version_fits && s.in_state >= timers.heartbeat)
        return {Step::take_back, NodeState::normal, Reason::automatic_fallback, 11};
    return stay;
}

Decision while_backup(const Situation& s, const HaTimers& timers) {
    if (s.own == Owner::peer) {
        // The other node took both (T12): because this one said it was unfit, or because it was silent.
        if (s.unhealthy > milliseconds(0))
            return enter(NodeState::failed_over_down,
                         s.services_up ? Reason::database_failure : Reason::critical_service_down, 12);
        return {Step::fence, NodeState::fenced, Reason::isolated, 16};
    }
    if (s.peers == Owner::peer) return enter(NodeState::normal, Reason::normal, 10);
    const bool peer_can = s.link ? s.peer_healthy && s.peer_state == NodeState::failed_over : s.peer_lease;
    if (s.unhealthy >= 2 * timers.service_down && !peer_can &&
        (!s.services_up || store_lost_alone(s, timers)))
        return enter(NodeState::failed,
                     s.services_up ? Reason::database_failure : Reason::critical_service_down, 13);
    return stay;
}

}  // namespace

bool peer_silent(const Situation& s, const HaTimers& timers) {
    if (s.link) return s.peer_lease_gone >= timers.peer_timeout;  // it speaks, but cannot hold its lease
    // A closed link is a process that ended; its lease was given back. Otherwise the clocks of two machines
    // may differ a little: a tenth of the lease on top.
    return s.link_closed || s.peer_stopping || s.peer_lease_gone >= timers.lease / 10;
}

Decision decide(const Situation& s, const HaTimers& timers) {
    if (s.state == NodeState::initializing) return starting(s, timers);
    if (s.state == NodeState::fenced) {
        if (s.redis && s.store && !s.lease_over)
            return {Step::restart, NodeState::initializing, Reason::initialization, 16};
        return stay;
    }
    // A hand-over that the peer has not carried out protects nobody.
    if (serves_own(s.state) || (s.state == NodeState::failing_over && s.own != Owner::peer)) {
        if (const auto cut = without_redis(s, timers)) return *cut;
    }
    if (s.state == NodeState::falling_back && s.peers == Owner::peer)
        return enter(NodeState::normal, Reason::normal, 10);
    if (is_moving(s.state)) {
        if (std::min(s.in_state, s.since_progress) < timers.step_limit) return stay;
        const bool back = s.state == NodeState::taking_back || s.state == NodeState::falling_back;
        return enter(NodeState::failed,
                     back ? Reason::take_back_users_failed : Reason::take_over_users_failed, 14);
    }
    switch (s.state) {
        case NodeState::standalone:
            if (s.own == Owner::peer) return {Step::fence, NodeState::fenced, Reason::isolated, 16};
            if (s.paired && s.enabled) return enter(NodeState::normal, Reason::admin_request, 17);
            return stay;
        case NodeState::normal:
            if (!s.enabled || !s.paired) return enter(NodeState::standalone, Reason::ha_not_enabled, 17);
            return while_normal(s, timers);
        case NodeState::backup:
            return while_backup(s, timers);
        case NodeState::failed_over:
            return while_failed_over(s, timers);
        case NodeState::idle:
            if (s.own == Owner::self)
                return {Step::restart, NodeState::initializing, Reason::initialization, 1};
            return stay;
        case NodeState::failed_over_down:
            if (s.own == Owner::self)
                return {Step::restart, NodeState::initializing, Reason::initialization, 1};
            if (s.unhealthy == milliseconds(0) && s.redis && s.store)
                return enter(NodeState::failed_over, Reason::peer_down, 9);
            return stay;
        case NodeState::failed:
            if (s.redis && s.store && s.services_up && s.recoveries < 3 &&
                s.since_recovery >= timers.recovery_pause)
                return {Step::restart, NodeState::initializing, Reason::initialization, 15};
            return stay;
        default:
            return stay;
    }
}

}  // namespace hexad

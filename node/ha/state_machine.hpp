#pragma once

#include "base/config.hpp"
#include "ha/node_state.hpp"

namespace hexad {

enum class Owner { nobody, self, peer };

/// What a node knows at one instant. Times are durations measured on the monotonic clock, so that deciding
/// needs none.
struct Situation {
    NodeState state = NodeState::initializing;
    Reason reason = Reason::initialization;
    milliseconds in_state{0};
    milliseconds since_progress = milliseconds::max();  ///< since a session was adopted or sent on
    milliseconds uptime{0};
    bool paired = false;   ///< the group has two nodes
    bool enabled = false;  ///< high availability is on

    // Redis and the store, as this node reaches them
    bool redis = false;         ///< the lease was renewed lately
    bool lease_over = true;     ///< nobody believes this node any more
    bool store = false;         ///< answered lately
    bool trust_leases = false;  ///< Redis has been there long enough for everybody to renew

    // the other node of the group
    bool peer_lease = false;
    milliseconds peer_lease_gone{0};              ///< for how long it has been without
    bool peer_seen = false;                       ///< it held a lease since this node started
    bool link = false;                            ///< its heartbeats arrive
    bool link_closed = false;                     ///< its end of the link was closed: the process ended
    bool peer_redis = false, peer_store = false;  ///< what its last heartbeat said
    bool peer_healthy = false;
    milliseconds peer_only{0};    ///< for how long it has Redis and this node has not
    milliseconds store_alone{0};  ///< for how long it has the store and this node has not
    bool was_frozen = false;      ///< both were without since this node lost it
    milliseconds peer_unhealthy{0};
    bool peer_stopping = false;
    bool peer_version_fits = true;
    NodeState peer_state = NodeState::unknown;

    // ownership
    Owner own = Owner::nobody;    ///< who serves this node's partition
    Owner peers = Owner::nobody;  ///< who serves the peer's
    bool held = false;            ///< an administrator moved this node's partition away
    bool peer_held = false;

    // own health: critical services and the path to the store
    milliseconds unhealthy{0};     ///< 0 = healthy
    bool services_up = true;       ///< all critical services but the store's path
    milliseconds healthy{0};       ///< without a break
    bool budget = true;            ///< automatic moves left
    bool asked_take_over = false;  ///< the peer was asked because of Redis and did not do it
    int recoveries = 0;            ///< automatic ones since the group failed (T15)
    milliseconds since_recovery{0};
};

/// What is to be done now. Carried out by the HaManager; what it answers by is the next situation.
enum class Step {
    stay,
    enter,      ///< only the name changes: `to`, `reason`
    take_own,   ///< T2: serve the own partition
    take_over,  ///< T5, T6: the peer's partition; the peer is silent
    hand_over,  ///< T7, §split brain: ask the peer to take this node over, then `to`
    take_back,  ///< T11
    take_both,  ///< T12
    fence,      ///< T16: stop client service
    restart,    ///< T15, T16: read who owns what again
};

struct Decision {
    Step step = Step::stay;
    NodeState to = NodeState::unknown;
    Reason reason = Reason::normal;
    int transition = 0;  ///< the number in docs/redundancy-groups.md; 0 = none
    friend bool operator==(const Decision&, const Decision&) = default;
};

/// One node's next step (transitions T2 to T16). Plain function: same situation, same answer. The
/// administrator's wishes (T8, T10, T15, T17) do not pass here; they change what is true.
Decision decide(const Situation& s, const HaTimers& timers);

/// The peer cannot be heard: its link is down long enough, or its process ended.
bool peer_silent(const Situation& s, const HaTimers& timers);

}  // namespace hexad

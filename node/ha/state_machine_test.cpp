#include "ha/state_machine.hpp"

#include <ostream>

#include <catch2/catch.hpp>

#include "ha/flap_budget.hpp"

namespace hexad {

std::ostream& operator<<(std::ostream& out, const Decision& d) {
    return out << static_cast<int>(d.step) << " to " << name_of(d.to) << " (" << name_of(d.reason) << ", T"
               << d.transition << ')';
}

namespace {

HaTimers lab() {
    HaTimers t;
    t.heartbeat = seconds(1), t.peer_timeout = seconds(5), t.init_timeout = seconds(15);
    t.lease = seconds(5), t.service_down = seconds(5), t.fallback_delay = seconds(30);
    return t;
}

/// A pair in which everything is well.
Situation well() {
    Situation s;
    s.state = NodeState::normal;
    s.reason = Reason::normal;
    s.in_state = s.uptime = s.healthy = std::chrono::minutes(5);
    s.paired = s.enabled = s.redis = s.store = s.trust_leases = true;
    s.lease_over = false;
    s.peer_lease = s.peer_seen = s.link = s.peer_redis = s.peer_store = s.peer_healthy = true;
    s.peer_state = NodeState::normal;
    s.own = Owner::self;
    s.peers = Owner::peer;
    return s;
}

/// The peer's machine is gone: silent, and its lease over.
Situation alone() {
    auto s = well();
    s.link = s.peer_lease = s.peer_redis = s.peer_store = s.peer_healthy = false;
    s.peer_state = NodeState::unknown;
    s.peer_lease_gone = seconds(1);
    return s;
}

Situation failed_over() {
    auto s = well();
    s.state = NodeState::failed_over;
    s.own = s.peers = Owner::peer;
    s.peer_state = NodeState::backup;
    s.healthy = s.in_state = seconds(3);
    return s;
}

const Decision nothing{};
Decision next(const Situation& s) { return decide(s, lab()); }

}  // namespace

TEST_CASE("a pair that is well stays as it is", "[ha]") { CHECK(next(well()) == nothing); }

TEST_CASE("a node that starts takes its own partition if nobody else serves it", "[ha][T2]") {
    auto s = well();
    s.state = NodeState::initializing;
    s.own = Owner::nobody;
    CHECK(next(s) == Decision{Step::take_own, NodeState::normal, Reason::normal, 2});
    SECTION("without a peer it is standalone") {
        s.paired = false;
        CHECK(next(s) == Decision{Step::take_own, NodeState::standalone, Reason::ha_not_enabled, 2});
    }
    SECTION("not before it reaches Redis and the store") {
        s.redis = false;
        CHECK(next(s) == nothing);
        s.redis = true, s.store = false;
        CHECK(next(s) == nothing);
    }
    SECTION("if its peer serves it, it waits") {
        s.own = Owner::peer;
        CHECK(next(s) == Decision{Step::enter, NodeState::failed_over, Reason::peer_down, 3});
        s.held = true;
        CHECK(next(s) == Decision{Step::enter, NodeState::idle, Reason::admin_request, 4});
    }
    SECTION("a hold keeps it idle even when the peer is gone") {
        s = alone();
        s.state = NodeState::initializing;
        s.own = Owner::peer;
        s.held = true;
        CHECK(next(s).to == NodeState::idle);
        s.held = false;
        CHECK(next(s).step == Step::take_own);
    }
}

TEST_CASE("a silent peer is taken over when its lease is over", "[ha][T6]") {
    CHECK(next(alone()) == Decision{Step::take_over, NodeState::backup, Reason::peer_down, 6});
    auto s = alone();
    SECTION("not on heartbeat evidence alone") {
        s.peer_lease = true;
        s.peer_lease_gone = seconds(0);
        CHECK(next(s) == nothing);
    }
    SECTION("not before a tenth of the lease has passed on top") {
        s.peer_lease_gone = milliseconds(100);
        CHECK(next(s) == nothing);
        s.link_closed = true;  // the process ended: its lease was handed back
        CHECK(next(s).step == Step::take_over);
    }
    SECTION("not while Redis has just come back") {
        s.trust_leases = false;
        CHECK(next(s) == nothing);
    }
    SECTION("one that announced its stop reboots") {
        s.peer_stopping = true;
        CHECK(next(s).reason == Reason::peer_reboot);
    }
    SECTION("one that speaks but cannot hold its lease, after the heartbeat timeout") {
        s.link = true;
        CHECK(next(s) == nothing);
        s.peer_lease_gone = seconds(5);
        CHECK(next(s).step == Step::take_over);
    }
    SECTION("not one that an administrator holds") {
        s.peer_held = true;
        CHECK(next(s) == nothing);
    }
}

TEST_CASE("a peer that never came gets the initialisation timeout", "[ha][T5]") {
    auto s = alone();
    s.peer_seen = false;
    s.uptime = seconds(14);
    CHECK(next(s) == nothing);
    s.uptime = seconds(15);
    CHECK(next(s) ==
          Decision{Step::take_over, NodeState::backup, Reason::peer_down_during_initialization, 5});
}

TEST_CASE("a node with a critical service down is handed over", "[ha][T7]") {
    auto s = well();
    s.unhealthy = seconds(5);
    s.services_up = false;
    s.healthy = seconds(0);
    CHECK(next(s) ==
          Decision{Step::hand_over, NodeState::failed_over_down, Reason::critical_service_down, 7});
    SECTION("to a healthy peer only") {
        s.peer_healthy = false;
        CHECK(next(s) == nothing);
    }
    SECTION("with the flap budget spent only by hand") {
        s.budget = false;
        CHECK(next(s) == nothing);
    }
    SECTION("a lost store counts only if the peer has had it for a while") {
        s.services_up = true;
        s.store = false;
        s.store_alone = seconds(5);
        CHECK(next(s).reason == Reason::database_failure);
        s.store_alone = seconds(1);  // it has just come back, and the peer saw it first
        CHECK(next(s) == nothing);
    }
    SECTION("it waits until its services are up") {
        s.state = NodeState::failed_over_down;
        s.own = Owner::peer;
        CHECK(next(s) == nothing);
        s.unhealthy = seconds(0);
        s.services_up = true;
        CHECK(next(s) == Decision{Step::enter, NodeState::failed_over, Reason::peer_down, 9});
    }
}

TEST_CASE("a failed-over node falls back after the delay in good health", "[ha][T11]") {
    auto s = failed_over();
    CHECK(next(s) == nothing);
    s.healthy = s.in_state = seconds(30);
    CHECK(next(s) == Decision{Step::take_back, NodeState::normal, Reason::automatic_fallback, 11});
    SECTION("not under a hold") {
        s.held = true;
        CHECK(next(s).to == NodeState::idle);
    }
    SECTION("not without budget, or with another version") {
        s.budget = false;
        CHECK(next(s) == nothing);
        s.budget = true, s.peer_version_fits = false;
        CHECK(next(s) == nothing);
    }
}

TEST_CASE("a failed-over node takes both partitions when its backup is lost", "[ha][T12]") {
    auto s = failed_over();
    s.link = s.peer_lease = false;
    s.link_closed = true;
    CHECK(next(s) ==
          Decision{Step::take_both, NodeState::backup, Reason::auto_recover_critical_service_down, 12});
    SECTION("or says that it is unfit") {
        s = failed_over();
        s.peer_healthy = false;
        s.peer_unhealthy = seconds(5);
        s.healthy = seconds(1);  // the store has just come back to this one
        CHECK(next(s) == nothing);
        s.healthy = seconds(5);
        CHECK(next(s) ==
              Decision{Step::take_both, NodeState::backup, Reason::auto_recover_database_failure, 12});
    }
    SECTION("not if it is unfit itself") {
        s.store = false;
        CHECK(next(s) == nothing);
    }
    SECTION("the other side sees it") {
        auto b = well();
        b.state = NodeState::backup;
        b.own = b.peers = Owner::peer;
        b.unhealthy = seconds(6);
        CHECK(next(b) == Decision{Step::enter, NodeState::failed_over_down, Reason::database_failure, 12});
    }
}

TEST_CASE("a backup that gave back what it served is normal", "[ha][T10]") {
    auto s = well();
    s.state = NodeState::falling_back;
    s.peer_state = NodeState::taking_back;
    CHECK(next(s) == Decision{Step::enter, NodeState::normal, Reason::normal, 10});
    s.peers = Owner::self;
    s.in_state = seconds(1);
    CHECK(next(s) == nothing);
}

TEST_CASE("a backup that cannot go on, with a peer that cannot either, has failed", "[ha][T13]") {
    auto s = well();
    s.state = NodeState::backup;
    s.peers = Owner::self;
    s.peer_state = NodeState::failed_over_down;
    s.peer_healthy = false;
    s.services_up = false;
    s.unhealthy = seconds(10);
    CHECK(next(s) == Decision{Step::enter, NodeState::failed, Reason::critical_service_down, 13});
}

TEST_CASE("a step that does not end fails", "[ha][T14]") {
    auto s = well();
    s.state = NodeState::taking_over;
    s.in_state = seconds(59);
    CHECK(next(s) == nothing);
    s.in_state = seconds(600);
    s.since_progress = seconds(59);  // many sessions take their time
    CHECK(next(s) == nothing);
    s.since_progress = seconds(60);
    CHECK(next(s) == Decision{Step::enter, NodeState::failed, Reason::take_over_users_failed, 14});
    s.state = NodeState::falling_back;
    s.peers = Owner::self;
    CHECK(next(s).reason == Reason::take_back_users_failed);
}

TEST_CASE("a failed group recovers by itself three times once the cause is gone", "[ha][T15]") {
    auto s = well();
    s.state = NodeState::failed;
    s.since_recovery = seconds(60);
    CHECK(next(s).step == Step::restart);
    s.since_recovery = seconds(30);
    CHECK(next(s) == nothing);
    s.since_recovery = seconds(60), s.recoveries = 3;
    CHECK(next(s) == nothing);
    s.recoveries = 0, s.store = false;
    CHECK(next(s) == nothing);
}

TEST_CASE("a node without Redis", "[ha][split-brain]") {
    auto s = well();
    s.redis = false;
    SECTION("asks a peer that has it to take over in order") {
        CHECK(next(s) == nothing);  // it may be about to say that it lost it as well
        s.peer_only = seconds(1);
        CHECK(next(s) == Decision{Step::hand_over, NodeState::failed_over, Reason::state_store_lost, 7});
        s.asked_take_over = true;
        CHECK(next(s) == nothing);
        s.lease_over = true;
        CHECK(next(s) == Decision{Step::fence, NodeState::fenced, Reason::state_store_lost, 16});
    }
    SECTION("freezes when nobody has it") {
        s.peer_redis = false;
        s.lease_over = true;
        CHECK(next(s) == nothing);
        s.peer_redis = s.was_frozen = true;  // the peer is the first to have it again
        s.peer_only = seconds(1);
        CHECK(next(s) == nothing);
        s.peer_only = milliseconds(2500);
        CHECK(next(s).step == Step::hand_over);
        s.peer_only = milliseconds(4500);  // before the peer takes over, at 5.5 s
        CHECK(next(s).step == Step::fence);
    }
    SECTION("and without its peer is fenced when its lease ends") {
        s.link = s.peer_redis = false;
        CHECK(next(s) == nothing);
        s.lease_over = true;
        CHECK(next(s) == Decision{Step::fence, NodeState::fenced, Reason::isolated, 16});
    }
    SECTION("is fenced in the middle of a hand-over that its peer has not carried out") {
        s.state = NodeState::failing_over;
        s.in_state = seconds(2);
        CHECK(next(s) == nothing);
        s.lease_over = true;
        CHECK(next(s).step == Step::fence);
        s.own = Owner::peer;
        CHECK(next(s) == nothing);
    }
    SECTION("goes on if it is alone in its group") {
        s.paired = false;
        s.link = s.peer_redis = false;
        s.lease_over = true;
        s.state = NodeState::standalone;
        CHECK(next(s) == nothing);
    }
}

TEST_CASE("a fenced node starts anew when store and lease are back", "[ha][T16]") {
    auto s = well();
    s.state = NodeState::fenced;
    CHECK(next(s).step == Step::restart);
    s.store = false;
    CHECK(next(s) == nothing);
}

TEST_CASE("a node whose partition was taken fences itself", "[ha][T16]") {
    auto s = well();
    s.own = Owner::peer;
    CHECK(next(s) == Decision{Step::fence, NodeState::fenced, Reason::isolated, 16});
}

TEST_CASE("high availability on and off", "[ha][T17]") {
    auto s = well();
    s.enabled = false;
    CHECK(next(s) == Decision{Step::enter, NodeState::standalone, Reason::ha_not_enabled, 17});
    s.state = NodeState::standalone;
    CHECK(next(s) == nothing);
    s.enabled = true;
    CHECK(next(s).to == NodeState::normal);
}

TEST_CASE("the flap budget counts the moves of the last hour", "[ha]") {
    FlapBudget budget(2);
    const auto now = SteadyClock::now();
    budget.spend(now);
    CHECK(budget.left(now));
    budget.spend(now + std::chrono::minutes(10));
    CHECK_FALSE(budget.left(now + std::chrono::minutes(59)));
    CHECK(budget.left(now + std::chrono::minutes(60)));
}

TEST_CASE("names of states and reasons are read back", "[ha]") {
    for (int i = 0; i <= static_cast<int>(NodeState::fenced); ++i) {
        const auto state = static_cast<NodeState>(i);
        CHECK(node_state_of(name_of(state)) == state);
    }
    for (int i = 0; i <= static_cast<int>(Reason::version_mismatch); ++i) {
        const auto reason = static_cast<Reason>(i);
        CHECK(reason_of(name_of(reason)) == reason);
    }
    CHECK_FALSE(node_state_of("drunk"));
}

}  // namespace hexad

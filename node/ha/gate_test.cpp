#include "ha/gate.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace std::chrono_literals;
using Tells = Gate::Tells;

namespace {

const SteadyClock::time_point start = SteadyClock::time_point{} + 1h;

Gate::Conditions all_met() {
    Gate::Conditions c;
    c.store = c.state_store = c.replica = true;
    c.bootstrap = false;
    return c;
}
Gate::Conditions unsynced(std::optional<bool> bootstrap) {
    auto c = all_met();
    c.never_synced = {"staff"};
    c.bootstrap = bootstrap;
    return c;
}

}  // namespace

TEST_CASE("a node that cannot read what the others write waits, whatever the time", "[ha][gate]") {
    const auto begin = SteadyClock::now();
    Gate gate(seconds(60), begin);
    Gate::Conditions c;
    c.store = true;
    c.versions = false;
    c.overridden = true;
    CHECK(gate.look(c, begin + std::chrono::hours(1)).reason == "version-mismatch");
    CHECK_FALSE(gate.passed());
}

TEST_CASE("a gate opens without a word when everything is there", "[gate]") {
    Gate gate(60s, start);
    CHECK_FALSE(gate.passed());
    CHECK(gate.look(all_met(), start + 1s).tells == Tells::nothing);
    CHECK(gate.passed());
    CHECK(gate.reason().empty());
}

TEST_CASE("store, Redis and routes are waited for without limit, override or not", "[gate]") {
    for (auto missing :
         {&Gate::Conditions::store, &Gate::Conditions::state_store, &Gate::Conditions::replica}) {
        auto c = all_met();
        c.*missing = false;
        c.overridden = true;
        c.bootstrap = true;
        Gate gate(60s, start);
        gate.look(c, start + 24h);
        CHECK_FALSE(gate.passed());
    }
}

TEST_CASE("what delays a start is told after a moment, when it changes, and every five minutes", "[gate]") {
    Gate gate(60s, start);
    Gate::Conditions c;
    CHECK(gate.look(c, start + 4s).tells == Tells::nothing);
    auto look = gate.look(c, start + 5s);
    CHECK(look.tells == Tells::waiting);
    CHECK(look.reason == "store");
    CHECK(gate.look(c, start + 100s).tells == Tells::nothing);
    c.store = true;
    look = gate.look(c, start + 101s);
    CHECK(look.tells == Tells::waiting);
    CHECK(look.reason == "state-store");
    CHECK(gate.look(c, start + 400s).tells == Tells::nothing);
    CHECK(gate.look(c, start + 401s).tells == Tells::waiting);
}

TEST_CASE("only the bootstrap node waits for the directory, until its time-out", "[gate]") {
    Gate other(60s, start);
    other.look(unsynced(false), start + 1s);
    CHECK(other.passed());

    Gate bootstrap(60s, start);
    bootstrap.look(unsynced(std::nullopt), start + 1s);  // not known yet who that is
    CHECK(bootstrap.look(unsynced(true), start + 59s).reason == "directory staff");
    CHECK_FALSE(bootstrap.passed());
    CHECK(bootstrap.look(unsynced(true), start + 60s).tells == Tells::timeout);
    CHECK(bootstrap.passed());
}

TEST_CASE("an administrator opens a gate that waits for the directory", "[gate]") {
    Gate gate(600s, start);
    auto c = unsynced(true);
    gate.look(c, start + 2s);
    CHECK_FALSE(gate.passed());
    c.overridden = true;
    const auto look = gate.look(c, start + 3s);
    CHECK(look.tells == Tells::overridden);
    CHECK(look.reason == "directory staff");
    CHECK(gate.passed());
}

TEST_CASE("an override that nothing needed is not told", "[gate]") {
    Gate gate(600s, start);
    auto c = all_met();
    c.overridden = true;
    CHECK(gate.look(c, start).tells == Tells::nothing);
    CHECK(gate.passed());
}

TEST_CASE("no time-out makes a read-only data base writable", "[gate]") {
    Gate gate(60s, start);
    auto c = all_met();
    c.standby = true;
    c.bootstrap = true;
    CHECK(gate.look(c, start + 2h).reason == "store-read-only");
    CHECK_FALSE(gate.passed());
}

#include "ldap/host_states.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace hexad::ldap;
using namespace std::chrono_literals;

TEST_CASE("a host that failed is left alone until the pause is over or a probe succeeds",
          "[ldap][directory-sync-9]") {
    HostStates hosts("staff", {"ldap://a", "ldap://b"}, 30s);
    const auto start = SteadyClock::now();
    CHECK(hosts.next(0, start) == 0u);
    hosts.failed(0, "refused", start);
    CHECK(hosts.next(0, start) == 1u);
    CHECK(hosts.next(0, start + 29s) == 1u);
    CHECK(hosts.next(0, start + 30s) == 0u);
    hosts.failed(1, "slow", start);
    CHECK_FALSE(hosts.next(0, start + 1s));
    CHECK_FALSE(hosts.health()[0].is_up);
    CHECK(hosts.health()[1].reason == "slow");
    hosts.succeeded(0, 3ms);
    CHECK(hosts.next(0, start + 1s) == 0u);
    CHECK(hosts.health()[0].is_up);
    CHECK(hosts.health()[0].latency == 3ms);
}

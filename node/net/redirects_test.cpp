#include "net/redirects.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace std::chrono_literals;

namespace {

const SteadyClock::time_point start = SteadyClock::time_point{} + 1h;

}  // namespace

TEST_CASE("a client is sent on once, and stays if it comes back", "[redirect][rfc6120-4.9.3.19]") {
    Redirects redirects;
    CHECK(redirects.may_send("romeo", start));
    CHECK(redirects.may_send("juliet", start));
    CHECK_FALSE(redirects.may_send("romeo", start + 2s));
    CHECK_FALSE(redirects.may_send("romeo", start + 50min));
}

TEST_CASE("a client that went where it was sent may be sent again at its next login", "[redirect]") {
    Redirects redirects;
    CHECK(redirects.may_send("romeo", start));
    CHECK(redirects.may_send("romeo", start + 61s));
    CHECK_FALSE(redirects.may_send("romeo", start + 62s));
}

TEST_CASE("an hour after it came back a client is tried once more", "[redirect]") {
    Redirects redirects;
    CHECK(redirects.may_send("romeo", start));
    CHECK_FALSE(redirects.may_send("romeo", start + 1s));
    CHECK(redirects.may_send("romeo", start + 1s + 1h));
}

TEST_CASE("clients are forgotten when nothing depends on them", "[redirect]") {
    Redirects redirects;
    for (int i = 0; i < 1000; ++i) CHECK(redirects.may_send(std::to_string(i), start));
    CHECK_FALSE(redirects.may_send("0", start + 1s));
    CHECK(redirects.may_send("somebody", start + 2min));
    CHECK(redirects.size() == 2);
    CHECK(redirects.may_send("somebody", start + 3h));
    CHECK(redirects.size() == 1);
}

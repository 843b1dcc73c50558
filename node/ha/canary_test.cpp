#include "ha/canary.hpp"

#include <catch2/catch.hpp>

namespace hexad {

namespace {

using Verdict = CanaryJudge::Verdict;
using Found = CanaryLook::Found;

/// Looks of one second each, one after the other.
class Looks {
public:
    Verdict see(Found found) {
        const auto began = now;
        now += seconds(1);
        judge.add({found, "why", milliseconds(1)}, began, now);
        return judge.verdict();
    }
    CanaryJudge judge{seconds(5)};
    SteadyClock::time_point now{std::chrono::hours(1)};
};

}  // namespace

TEST_CASE("a node that stops to serve is found after three looks and the time a service may be down",
          "[ha][canary]") {
    Looks looks;
    CHECK(looks.judge.verdict() == Verdict::unknown);
    CHECK(looks.see(Found::serves) == Verdict::serves);
    for (int i = 0; i < 4; ++i) CHECK(looks.see(Found::fails) == Verdict::serves);
    CHECK(looks.judge.failing(looks.now) == milliseconds(0));
    CHECK(looks.see(Found::fails) == Verdict::not_serving);
    CHECK(looks.judge.failing(looks.now) == seconds(5));
    SECTION("one login that works is enough") { CHECK(looks.see(Found::serves) == Verdict::serves); }
    SECTION("what cannot be judged is no evidence") {
        CHECK(looks.see(Found::unclear) == Verdict::unclear);
        CHECK(looks.judge.failing(looks.now) == milliseconds(0));
    }
    SECTION("a pause forgets") {
        looks.judge.pause();
        CHECK(looks.judge.verdict() == Verdict::unknown);
        CHECK(looks.see(Found::fails) == Verdict::unknown);
    }
}

TEST_CASE("few looks that last long are not enough", "[ha][canary]") {
    Looks looks;
    looks.see(Found::serves);
    looks.judge.add({Found::fails, "no answer", seconds(30)}, looks.now, looks.now + seconds(30));
    looks.judge.add({Found::fails, "no answer", seconds(30)}, looks.now + seconds(30),
                    looks.now + seconds(60));
    CHECK(looks.judge.verdict() == Verdict::serves);
}

TEST_CASE("failures count in a row", "[ha][canary]") {
    Looks looks;
    for (int i = 0; i < 20; ++i)
        CHECK(looks.see(i % 4 == 0 ? Found::serves : Found::fails) == Verdict::serves);
}

TEST_CASE("a node at which no login ever worked is not said to have stopped", "[ha][canary]") {
    Looks looks;
    for (int i = 0; i < 5; ++i) looks.see(Found::fails);
    CHECK(looks.judge.verdict() == Verdict::unclear);
    SECTION("afterwards it is judged") {
        looks.see(Found::serves);
        for (int i = 0; i < 5; ++i) looks.see(Found::fails);
        CHECK(looks.judge.verdict() == Verdict::not_serving);
    }
}

}  // namespace hexad

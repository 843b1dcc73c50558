#include "routing/admission_line.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace std::chrono_literals;

namespace {

using Call = AdmissionLine::Call;
using Called = std::vector<std::pair<AdmissionLine::Ticket, Call>>;

const SteadyClock::time_point start = SteadyClock::time_point{} + 1h;
bool nobody(AdmissionLine::Ticket) { return false; }

}  // namespace

TEST_CASE("a quiet bucket gives a second's tokens at once, then one at a time", "[admission]") {
    TokenBucket bucket(4);
    for (int i = 0; i < 4; ++i) CHECK(bucket.take(start));
    CHECK_FALSE(bucket.take(start));
    CHECK_FALSE(bucket.take(start + 249ms));
    CHECK(bucket.take(start + 250ms));
    CHECK_FALSE(bucket.take(start + 250ms));
}

TEST_CASE("a bucket holds no more than a second's tokens, however long it was quiet", "[admission]") {
    TokenBucket bucket(3);
    CHECK(bucket.take(start));
    int taken = 0;
    while (bucket.take(start + 1h)) ++taken;
    CHECK(taken == 3);
}

TEST_CASE("a bucket that waits until `next` finds its token", "[admission]") {
    for (const double rate : {1.0, 3.0, 7.0, 100.0, 333.0}) {
        TokenBucket bucket(rate);
        auto now = start;
        while (bucket.take(now)) {
        }
        for (int i = 0; i < 1000; ++i) {
            now = bucket.next(now);
            REQUIRE(bucket.take(now));
        }
        const auto took = std::chrono::duration<double>(now - start).count();
        CHECK(took == Approx(1000 / rate).epsilon(0.01));
    }
}

TEST_CASE("a clock that goes back gives nothing away", "[admission]") {
    TokenBucket bucket(1);
    CHECK(bucket.take(start));
    CHECK_FALSE(bucket.take(start - 10s));
    CHECK_FALSE(bucket.take(start + 900ms));
    CHECK(bucket.take(start + 1s));
}

TEST_CASE("who waits comes before who arrives, in order", "[admission]") {
    AdmissionLine line(1);
    CHECK(line.passes(start));
    const auto first = line.stand(start + 30s), second = line.stand(start + 30s);
    CHECK_FALSE(line.passes(start + 5s));  // there is a token, but others were here before
    CHECK(line.call(start + 1s, nobody) == Called{{first, Call::enters}});
    CHECK(line.call(start + 1500ms, nobody).empty());
    CHECK(line.next_look(start + 1500ms) > start + 1900ms);
    CHECK(line.call(start + 2s, nobody) == Called{{second, Call::enters}});
    CHECK(line.size() == 0);
}

TEST_CASE("who has waited too long is told so, wherever he stands", "[admission]") {
    AdmissionLine line(0.01);
    CHECK(line.passes(start));
    const auto patient = line.stand(start + 60s), hasty = line.stand(start + 10s);
    CHECK(line.next_look(start) == start + 10s);
    CHECK(line.call(start + 10s, nobody) == Called{{hasty, Call::too_long}});
    CHECK(line.call(start + 60s, nobody) == Called{{patient, Call::too_long}});
    CHECK(line.next_look(start + 60s) == SteadyClock::time_point::max());
}

TEST_CASE("a client that has gone away costs no token", "[admission]") {
    AdmissionLine line(1);
    CHECK(line.passes(start));
    const auto gone = line.stand(start + 30s), there = line.stand(start + 30s);
    const auto is_gone = [gone](AdmissionLine::Ticket ticket) { return ticket == gone; };
    CHECK(line.call(start + 1s, is_gone) == Called{{gone, Call::gone}, {there, Call::enters}});
}

TEST_CASE("who finds no place waits, and costs no token", "[admission]") {
    AdmissionLine line(10);
    const auto gone = line.stand(start + 30s), first = line.stand(start + 30s),
               second = line.stand(start + 30s);
    const auto is_gone = [gone](AdmissionLine::Ticket ticket) { return ticket == gone; };
    CHECK(line.call(start, is_gone, 1) == Called{{gone, Call::gone}, {first, Call::enters}});
    CHECK(line.call(start, is_gone, 0).empty());
    CHECK(line.call(start, is_gone, 5) == Called{{second, Call::enters}});
}

TEST_CASE("who leaves the line is not called", "[admission]") {
    AdmissionLine line(1);
    CHECK(line.passes(start));
    const auto left = line.stand(start + 30s);
    line.leave(left);
    line.leave(left);
    CHECK(line.call(start + 40s, nobody).empty());
    CHECK(line.size() == 0);
}

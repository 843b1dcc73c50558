#include "placement/capacity.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

using namespace hexad;

namespace {

Places pair(std::uint64_t first, std::uint64_t second, bool redundant) {
    Places out;
    GroupPlace group;
    group.name = "g1";
    group.redundant = redundant;
    group.nodes = {{"n1", 100, first}, {"n2", 100, second}};
    out.groups.push_back(group);
    return out;
}
Fill find(const std::vector<Fill>& all, const std::string& what, const std::string& measure) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Fill& fill) {
        return fill.what == what && fill.measure == measure;
    });
    REQUIRE(found != all.end());
    return *found;
}

}  // namespace

TEST_CASE("a redundant group is measured by what one node carries", "[capacity]") {
    const auto all = fills(pair(40, 40, true), {{"n1", 60}, {"n2", 60}});
    CHECK(find(all, "group g1", "users").percent() == 80);
    CHECK(find(all, "group g1", "users").is_high());
    CHECK(find(all, "group g1", "sessions").capacity == 150);
    CHECK(find(all, "group g1", "sessions").percent() == 80);
    CHECK(std::none_of(all.begin(), all.end(), [](const Fill& fill) { return fill.what == "node n1"; }));
}

TEST_CASE("without redundancy each node is measured too", "[capacity]") {
    const auto all = fills(pair(85, 0, false), {{"n2", 119}});
    CHECK_FALSE(find(all, "group g1", "users").is_high());
    CHECK(find(all, "node n1", "users").is_high());
    CHECK_FALSE(find(all, "node n2", "sessions").is_high());  // 79 % of 150
}

TEST_CASE("one node is too small for both by users or by sessions", "[capacity]") {
    CHECK(too_full_for_one(pair(50, 50, true).groups[0], {{"n1", 150}}).empty());
    CHECK(too_full_for_one(pair(50, 51, true).groups[0], {}) ==
          "group g1 has 101 users, one node carries 100");
    CHECK(too_full_for_one(pair(50, 50, true).groups[0], {{"n1", 150}, {"n2", 1}}) ==
          "group g1 has 151 sessions, one node carries 150");
    CHECK(too_full_for_one(pair(90, 90, false).groups[0], {}).empty());
}

TEST_CASE("a node alone carries one and a half sessions for each user", "[capacity]") {
    CHECK(session_limit({25000, 0, false, 0}) == 37500);
    CHECK(session_limit({25000, 0, true, 0}) == 37500);
}

TEST_CASE("of a redundant group each node has half, and what the other one leaves", "[capacity]") {
    CHECK(session_limit({25000, 25000, false, 18750}) == 18750);
    CHECK(session_limit({25000, 25000, false, 10000}) == 27500);
    CHECK(session_limit({25000, 25000, false, 0}) == 37500);
    // The other one has more than its half, as after a fallback; the own half stays.
    CHECK(session_limit({25000, 25000, false, 30000}) == 18750);
    CHECK(session_limit({25000, 25000, false, 90000}) == 18750);
    CHECK(session_limit({25000, 10000, false, 7500}) == 7500);
}

TEST_CASE("a node that has the users of both has the sessions of both", "[capacity]") {
    CHECK(session_limit({25000, 25000, true, 37500}) == 37500);
    CHECK(session_limit({25000, 10000, true, 0}) == 15000);
}

TEST_CASE("an alarm is raised once its condition has lasted, and is over at once", "[capacity]") {
    using Change = LastingAlarm::Change;
    const auto start = SteadyClock::now();
    LastingAlarm alarm;
    CHECK(alarm.look(true, start, seconds(10)) == Change::none);
    CHECK(alarm.look(true, start + seconds(9), seconds(10)) == Change::none);
    CHECK(alarm.look(false, start + seconds(9), seconds(10)) == Change::none);  // a break: it begins anew
    CHECK(alarm.look(true, start + seconds(10), seconds(10)) == Change::none);
    CHECK(alarm.look(true, start + seconds(20), seconds(10)) == Change::raised);
    CHECK(alarm.look(true, start + seconds(30), seconds(10)) == Change::none);
    CHECK(alarm.look(false, start + seconds(31), seconds(10)) == Change::over);
    CHECK_FALSE(alarm.is_raised());
}

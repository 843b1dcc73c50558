#include "sync-agent/plan.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace hexad::sync;

namespace {

Person person(int number) {
    Person p;
    p.uuid = "uuid" + std::to_string(number);
    p.localpart = "u" + std::to_string(number);
    p.hash = "h";
    return p;
}
std::map<std::string, Mirrored> mirror_of(int count) {
    std::map<std::string, Mirrored> out;
    for (int i = 0; i < count; ++i) {
        Mirrored row;
        row.uuid = "uuid" + std::to_string(i);
        row.localpart = "u" + std::to_string(i);
        row.hash = "h";
        out[row.uuid] = row;
    }
    return out;
}
std::vector<Person> people(int from, int to) {
    std::vector<Person> out;
    for (int i = from; i < to; ++i) out.push_back(person(i));
    return out;
}
const SyncConfig config;

}  // namespace

TEST_CASE("4 % removed passes, 6 % is held while additions are applied", "[sync][safety]") {
    auto four = make_plan(people(12, 301), mirror_of(300), true, true, 300, 0, config);
    CHECK(four.held.empty());
    CHECK(four.miss.size() == 12);
    CHECK(four.add.size() == 1);
    auto six = make_plan(people(18, 302), mirror_of(300), true, true, 300, 0, config);
    CHECK_FALSE(six.held.empty());
    CHECK(six.held_users.size() == 18);
    CHECK(six.miss.empty());
    CHECK(six.add.size() == 2);
}

TEST_CASE("an incomplete read, an incremental one and an empty one remove nobody", "[sync][complete]") {
    CHECK(make_plan(people(1, 10), mirror_of(10), true, false, 10, 0, config).miss.empty());
    CHECK(make_plan(people(1, 10), mirror_of(10), false, true, 10, 0, config).miss.empty());
    const auto none = make_plan({}, mirror_of(10), true, true, 10, 0, config);
    CHECK(none.miss.empty());
    CHECK_FALSE(none.complete);
}

TEST_CASE("missing after one complete read, deactivated after the second past the grace", "[sync][leaving]") {
    auto mirror = mirror_of(100);
    auto first = make_plan(people(1, 100), mirror, true, true, 100, 1000000, config);
    REQUIRE(first.miss.size() == 1);
    CHECK(first.miss[0].state == MirrorState::missing);
    mirror["uuid0"] = first.miss[0];
    const std::int64_t later = 1000000 + (config.grace.count() + 1) * 1000000;
    CHECK(make_plan(people(1, 100), mirror, true, true, 99, 2000000, config).deactivate.empty());
    CHECK(make_plan(people(1, 100), mirror, true, true, 99, later, config).deactivate.size() == 1);
    CHECK(make_plan(people(0, 100), mirror, true, true, 99, later, config).update.size() == 1);
}

TEST_CASE("two entries with one address: the older owner keeps it", "[sync][conflict]") {
    auto newcomer = person(200);
    newcomer.localpart = "u1";
    const auto plan = make_plan({person(0), person(1), newcomer}, mirror_of(2), true, true, 2, 0, config);
    CHECK(plan.add.empty());
    REQUIRE(plan.skipped.size() == 1);
}

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

/// A read that finds these people.
Reading reading(std::vector<Person> found, bool full = true, bool complete = true) {
    Reading out;
    out.people = std::move(found);
    out.full = full;
    out.complete = complete;
    out.unmentioned_are_gone = full && complete;
    return out;
}
Plan plan_of(std::vector<Person> found, const std::map<std::string, Mirrored>& mirror, bool full,
             bool complete, std::size_t last_count, std::int64_t now) {
    return make_plan(reading(std::move(found), full, complete), mirror, {last_count, false, {}}, now, config);
}

}  // namespace

TEST_CASE("4 % removed passes, 6 % is held while additions are applied", "[sync][safety]") {
    auto four = plan_of(people(12, 301), mirror_of(300), true, true, 300, 0);
    CHECK(four.held.empty());
    CHECK(four.miss.size() == 12);
    CHECK(four.add.size() == 1);
    auto six = plan_of(people(18, 302), mirror_of(300), true, true, 300, 0);
    CHECK_FALSE(six.held.empty());
    CHECK(six.held_items.size() == 18);
    CHECK(six.miss.empty());
    CHECK(six.add.size() == 2);
}

TEST_CASE("an incomplete read, an incremental one and an empty one remove nobody", "[sync][complete]") {
    CHECK(plan_of(people(1, 10), mirror_of(10), true, false, 10, 0).miss.empty());
    CHECK(plan_of(people(1, 10), mirror_of(10), false, true, 10, 0).miss.empty());
    const auto none = plan_of({}, mirror_of(10), true, true, 10, 0);
    CHECK(none.miss.empty());
    CHECK_FALSE(none.complete);
}

TEST_CASE("missing after one complete read, deactivated after the second past the grace", "[sync][leaving]") {
    auto mirror = mirror_of(100);
    auto first = plan_of(people(1, 100), mirror, true, true, 100, 1000000);
    REQUIRE(first.miss.size() == 1);
    CHECK(first.miss[0].state == MirrorState::missing);
    mirror["uuid0"] = first.miss[0];
    const std::int64_t later = 1000000 + (config.grace.count() + 1) * 1000000;
    CHECK(plan_of(people(1, 100), mirror, true, true, 99, 2000000).deactivate.empty());
    CHECK(plan_of(people(1, 100), mirror, true, true, 99, later).deactivate.size() == 1);
    CHECK(plan_of(people(0, 100), mirror, true, true, 99, later).update.size() == 1);
}

TEST_CASE("two entries with one address: the older owner keeps it", "[sync][conflict]") {
    auto newcomer = person(200);
    newcomer.localpart = "u1";
    const auto plan = plan_of({person(0), person(1), newcomer}, mirror_of(2), true, true, 2, 0);
    CHECK(plan.add.empty());
    REQUIRE(plan.skipped.size() == 1);
}

TEST_CASE("an entry that cannot be mapped is there all the same", "[sync][skipped]") {
    auto found = reading(people(1, 100));
    found.skipped.push_back({"uid=u0", "no uid", "uuid0"});
    const auto plan = make_plan(found, mirror_of(100), {}, 0, config);
    CHECK(plan.miss.empty());
    CHECK(plan.skipped.size() == 1);
}

TEST_CASE("content synchronisation says who is gone; grace begins, full reads count", "[sync][syncrepl]") {
    Reading told;
    told.complete = true;
    told.deleted.insert("uuid0");
    auto plan = make_plan(told, mirror_of(100), {}, 1000, config);
    REQUIRE(plan.miss.size() == 1);
    CHECK(plan.miss[0].missed == 0);
    CHECK(plan.deactivate.empty());
    // A present phase names everybody who is unchanged.
    Reading present;
    present.complete = present.unmentioned_are_gone = true;
    for (int i = 1; i < 100; ++i) present.present.insert("uuid" + std::to_string(i));
    CHECK(make_plan(present, mirror_of(100), {}, 1000, config).newly_missing == 1);
    present.present.clear();
    CHECK_FALSE(make_plan(present, mirror_of(100), {}, 1000, config).complete);
}

TEST_CASE("other settings: a removal, however small, is held", "[sync][safety]") {
    const Past past{100, true, {}};
    CHECK_FALSE(make_plan(reading(people(1, 100)), mirror_of(100), past, 0, config).held.empty());
    CHECK(make_plan(reading(people(0, 101)), mirror_of(100), past, 0, config).held.empty());
}

TEST_CASE("who waits for a decision is not taken out bit by bit", "[sync][safety]") {
    auto locked = person(0);
    locked.disabled = true;
    const Past past{100, false, {"uuid0"}};
    const auto plan = make_plan(reading({locked}, false), mirror_of(100), past, 0, config);
    CHECK(plan.disable.empty());
    CHECK(plan.held_items.size() == 1);
    CHECK(make_plan(reading({locked}, false), mirror_of(100), {}, 0, config).disable.size() == 1);
    // A full read asks anew.
    auto all = people(1, 100);
    all.push_back(locked);
    CHECK(make_plan(reading(all), mirror_of(100), past, 0, config).disable.size() == 1);
}

TEST_CASE("shares are of those who are there", "[sync][safety]") {
    auto mirror = mirror_of(400);
    for (int i = 200; i < 400; ++i) mirror["uuid" + std::to_string(i)].state = MirrorState::deactivated;
    CHECK_FALSE(make_plan(reading(people(12, 200)), mirror, {}, 0, config).held.empty());
}

#include "placement/placement.hpp"

#include <algorithm>
#include <ostream>

#include <catch2/catch.hpp>

using namespace hexad;

namespace {

GroupPlace group(const std::string& name, std::vector<NodePlace> nodes,
                 AssignmentMode mode = AssignmentMode::balanced, bool redundant = true) {
    GroupPlace out;
    out.name = name;
    out.mode = mode;
    out.redundant = redundant && nodes.size() == 2;
    out.nodes = std::move(nodes);
    return out;
}
Places places(std::vector<GroupPlace> groups) {
    Places out;
    out.groups = std::move(groups);
    return out;
}
/// The nodes alone.
std::vector<std::string> nodes(const std::vector<Home>& homes) {
    std::vector<std::string> out;
    for (const auto& home : homes) out.push_back(home.node);
    return out;
}
std::ptrdiff_t count(const std::vector<Home>& homes, const std::string& node) {
    return std::count_if(homes.begin(), homes.end(), [&](const Home& home) { return home.node == node; });
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("1,001 accounts on two equal nodes are split 501 and 500", "[placement]") {
    const auto homes = place(places({group("g1", {{"n2", 25000}, {"n1", 25000}})}), 1001);
    CHECK(count(homes, "n1") == 501);
    CHECK(count(homes, "n2") == 500);
    CHECK(homes.front().rule == "balanced");
}

TEST_CASE("capacity weighs, and what is there counts", "[placement]") {
    const auto two = [](NodePlace a, NodePlace b) {
        return places({group("g1", {std::move(a)}), group("g2", {std::move(b)})});
    };
    CHECK(count(place(two({"n1", 100}, {"n2", 300}), 40), "n2") == 30);
    CHECK(place(two({"n1", 100, 10}, {"n2", 100}), 1).front().node == "n2");
}

TEST_CASE("without room an account stays unassigned", "[placement]") {
    const auto homes = place(places({group("g1", {{"n1", 2, 1}}), group("g2", {{"n2", 2, 2}})}), 2);
    CHECK(nodes(homes) == Names{"n1", ""});
}

TEST_CASE("a redundant group takes what its smaller node carries alone", "[placement]") {
    auto pair = group("g1", {{"n1", 10}, {"n2", 6}});
    CHECK(pair.capacity() == 6);
    CHECK(count(place(places({pair}), 8), "") == 2);
    pair.redundant = false;
    CHECK(pair.capacity() == 16);
    CHECK(count(place(places({pair}), 20), "") == 4);
}

TEST_CASE("active-standby uses the first node of each group; the second adds no room", "[placement]") {
    const auto mode = AssignmentMode::active_standby;
    auto first = group("g1", {{"n1", 3}, {"n2", 3}}, mode);
    const auto second = group("g2", {{"n3", 3}, {"n4", 3}}, mode);
    const auto homes = place(places({first, second}), 8);
    CHECK(nodes(homes) == Names{"n1", "n3", "n1", "n3", "n1", "n3", "", ""});
    CHECK(homes.front().rule == "active-standby");
    first.redundant = false;
    CHECK(first.capacity() == 3);
}

TEST_CASE("in mode none nobody is assigned; a group may have a mode of its own", "[placement]") {
    const auto closed = group("g1", {{"n1", 9}, {"n2", 9}}, AssignmentMode::none);
    CHECK(nodes(place(places({closed}), 2)) == Names{"", ""});
    CHECK(nodes(place(places({closed, group("g2", {{"n3", 9}})}), 2)) == Names{"n3", "n3"});
}

TEST_CASE("the cluster has a limit of its own, which homes that are gone count for", "[placement]") {
    auto all = places({group("g1", {{"n1", 100, 1}})});
    all.limit = 4;
    all.strangers.push_back({"n9", 0, 1});
    CHECK(all.capacity() == 4);
    CHECK(nodes(place(all, 3)) == Names{"n1", "n1", ""});
}

TEST_CASE("a rule narrows the candidates to its group", "[placement]") {
    const auto all =
        places({group("g1", {{"n1", 10, 4}, {"n2", 10, 3}}), group("g2", {{"n3", 10}, {"n4", 10}})});
    const PlacementRule berlin{"Berlin", "", "g1"};
    const auto homes = place(all, {&berlin, nullptr, &berlin, nullptr});
    CHECK(nodes(homes) == Names{"n2", "n3", "n1", "n4"});
    CHECK(homes[0].rule == "balanced; site Berlin -> g1");
    CHECK(homes[1].rule == "balanced");
}

TEST_CASE("a full group leaves its people unassigned though another has room", "[placement]") {
    const auto all = places({group("g1", {{"n1", 2, 1}, {"n2", 2, 0}}), group("g2", {{"n3", 10}})});
    const PlacementRule berlin{"Berlin", "", "g1"};
    CHECK(nodes(place(all, {&berlin, &berlin, nullptr, &berlin})) == Names{"n2", "", "n3", ""});
    auto closed = all;
    closed.groups[0].mode = AssignmentMode::none;
    CHECK(nodes(place(closed, {&berlin, nullptr})) == Names{"", "n3"});
}

TEST_CASE("who waits for room is told by rule; whom only an administrator assigns does not", "[placement]") {
    auto all = places({group("g1", {{"n1", 2, 2}}), group("g2", {{"n2", 2, 0}}),
                       group("g3", {{"n3", 2, 0}}, AssignmentMode::none)});
    all.waiting = {{"g1", 5}, {"g3", 7}};
    auto told = waiting_for_room(all);
    CHECK(told.users == 5);
    CHECK(told.groups == Names{"g1"});
    CHECK_FALSE(told.somebody_fits);
    all.waiting[""] = 1;
    told = waiting_for_room(all);
    CHECK(told.users == 5);
    CHECK(told.somebody_fits);
    all.groups[1].nodes[0].assigned = 2;
    CHECK(waiting_for_room(all).users == 6);
}

TEST_CASE("places know whom rules give where", "[placement]") {
    Config config;
    config.groups = {{"g1", {{"n1", "a", "", "", 10}}, ""}, {"g2", {{"n2", "b", "", "", 10}}, ""}};
    const PlacementRules rules({{"Berlin", "", "g1"}, {"Porto", "", "g1"}});
    const std::vector<AssignmentStore::Load> loads{
        {"", {"porto", {}}, 2, 0},    {"", {}, 1, 0},
        {"n1", {"Berlin", {}}, 4, 1}, {"n2", {}, 5, 2},
        {"n2", {"PORTO", {}}, 3, 1},  {"old", {"Berlin", {}}, 1, 0}};
    const auto all = places_of(config, {{{"", 3}, {"n1", 4}, {"n2", 8}, {"old", 1}}, ""}, loads, rules);
    CHECK(all.waiting == std::map<std::string, std::uint64_t>{{"", 1}, {"g1", 2}});
    const auto& n2 = all.groups[1].nodes[0];
    CHECK(n2.assigned == 8);
    CHECK(n2.pinned == 3);
    CHECK(n2.ruled == std::vector<RuledPeople>{{"g1", 3, 1, {"site Porto -> g1"}}});
    CHECK(all.strangers[0].ruled.size() == 1);
    CHECK(all.misplaced() == 3);
}

TEST_CASE("places follow the configuration, its overrides and the switch of high availability",
          "[placement]") {
    Config config;
    config.assignment = "active-standby";
    config.groups = {{"g1", {{"n1", "a", "", "", 10}, {"n2", "b", "", "", 20}}, ""},
                     {"g2", {{"n3", "c", "", "", 30}}, "none"}};
    const auto on = places_of(config, {{{"", 2}, {"n1", 3}, {"old", 1}}, ""});
    REQUIRE(on.groups.size() == 2);
    CHECK(on.groups[0].mode == AssignmentMode::active_standby);
    CHECK(on.groups[1].mode == AssignmentMode::none);
    CHECK(on.groups[0].redundant);
    CHECK_FALSE(on.groups[1].redundant);
    CHECK(on.groups[0].nodes[0].assigned == 3);
    CHECK(on.unassigned == 2);
    REQUIRE(on.strangers.size() == 1);
    CHECK(on.assigned() == 4);
    CHECK_FALSE(places_of(config, {{}, "off"}).groups[0].redundant);
    config.high_availability = false;
    CHECK_FALSE(places_of(config, {{}, ""}).groups[0].redundant);
    CHECK(places_of(config, {{}, "on"}).groups[0].redundant);
}

TEST_CASE("an administrator's move is told what it would overload", "[placement]") {
    const auto all = places({group("g1", {{"n1", 5, 5}, {"n2", 5, 0}}), group("g2", {{"n3", 5, 1}})});
    CHECK(overload(all, "n1", "n2", 5).empty());  // inside the group nothing is added
    CHECK(overload(all, "n3", "n2", 1) == "group g1 has 5 users and carries 5");
    CHECK(overload(all, "n2", "n1", 1) == "node n1 has 5 users and carries 5");
    CHECK(overload(all, "n1", "n3", 4).empty());
    CHECK_FALSE(overload(all, "n1", "n3", 5).empty());
    CHECK_FALSE(overload(all, "n1", "n7", 1).empty());
}

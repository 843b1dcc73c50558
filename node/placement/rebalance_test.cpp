#include "placement/rebalance.hpp"

#include <ostream>

#include <catch2/catch.hpp>

using namespace hexad;

namespace hexad {
std::ostream& operator<<(std::ostream& out, const Flow& flow) {
    return out << flow.from << "->" << flow.to << ' ' << flow.users << ' ' << flow.group;
}
}  // namespace hexad

namespace {

GroupPlace group(const std::string& name, std::vector<NodePlace> nodes,
                 AssignmentMode mode = AssignmentMode::balanced) {
    GroupPlace out;
    out.name = name;
    out.mode = mode;
    out.redundant = nodes.size() == 2;
    out.nodes = std::move(nodes);
    return out;
}
Places places(std::vector<GroupPlace> groups) {
    Places out;
    out.groups = std::move(groups);
    return out;
}
using Flows = std::vector<Flow>;

}  // namespace

TEST_CASE("what is even stays as it is", "[rebalance]") {
    CHECK(plan_rebalance(places({group("g1", {{"n1", 100, 50}, {"n2", 100, 50}})})).flows.empty());
    CHECK(plan_rebalance(places({group("g1", {{"n1", 100, 20}, {"n2", 100, 21}})})).flows.empty());
}

TEST_CASE("a new node gets its share, by capacity", "[rebalance]") {
    const auto plan = plan_rebalance(
        places({group("g1", {{"n1", 100, 40}, {"n2", 100, 40}}), group("g2", {{"n3", 200, 0}})}));
    CHECK(plan.flows == Flows{{"n1", "n3", 20}, {"n2", "n3", 20}});
    CHECK(plan.moves() == 40);
    CHECK(plan.after.groups[1].nodes[0].assigned == 40);
}

TEST_CASE("the pinned stay", "[rebalance]") {
    const auto plan = plan_rebalance(places({group("g1", {{"n1", 100, 40, 35}, {"n2", 100, 0}})}));
    CHECK(plan.flows == Flows{{"n1", "n2", 5}});
}

TEST_CASE("a run moves no more than it may", "[rebalance]") {
    CHECK(plan_rebalance(places({group("g1", {{"n1", 100, 40}, {"n2", 100, 0}})}), 3).flows ==
          Flows{{"n1", "n2", 3}});
    CHECK(plan_rebalance(places({group("g1", {{"n1", 100, 40}, {"n2", 100, 0}})}), 0).flows.empty());
}

TEST_CASE("nobody goes to a group that could not carry a failure any more", "[rebalance]") {
    // g1 has room for two more, though its nodes are half empty.
    const auto plan =
        plan_rebalance(places({group("g1", {{"n1", 20, 9}, {"n2", 20, 9}}), group("g2", {{"n3", 20, 20}})}));
    CHECK(plan.moves() == 2);
    CHECK(plan.after.groups[0].assigned() == 20);
}

TEST_CASE("a standby node and a node that is gone give everybody away", "[rebalance]") {
    const auto standby =
        places({group("g1", {{"n1", 50, 4}, {"n2", 50, 3, 1}}, AssignmentMode::active_standby)});
    CHECK(plan_rebalance(standby).flows == Flows{{"n2", "n1", 2}});
    auto gone = places({group("g1", {{"n1", 50, 4}, {"n2", 50, 4}})});
    gone.strangers.push_back({"n9", 0, 4});
    CHECK(plan_rebalance(gone).flows == Flows{{"n9", "n1", 2}, {"n9", "n2", 2}});
}

TEST_CASE("modes do not mix, and mode none neither gives nor takes", "[rebalance]") {
    const auto all =
        places({group("g1", {{"n1", 50, 40}}, AssignmentMode::none), group("g2", {{"n2", 50, 30}}),
                group("g3", {{"n3", 50, 0}}, AssignmentMode::active_standby)});
    CHECK(plan_rebalance(all).flows.empty());
}

TEST_CASE("whom a rule gives to another group goes there, also into another mode", "[rebalance]") {
    const std::set<std::string> why{"site Berlin -> g2"};
    NodePlace first{"n1", 100, 30, 2};
    first.ruled = {{"g2", 10, 2, why}};
    const auto all = places({group("g1", {first, {"n2", 100, 30}}),
                             group("g2", {{"n3", 100, 22}, {"n4", 100, 0}}, AssignmentMode::active_standby)});
    const auto plan = plan_rebalance(all);
    CHECK(plan.flows == Flows{{"n1", "n3", 8, "g2", why}, {"n2", "n1", 4}});
    CHECK(plan.after.misplaced() == 2);  // the pinned
    // By itself nobody is moved there.
    CHECK(plan_rebalance(all, 100, Misplaced::stay).flows.empty());
}

TEST_CASE("nobody is moved out of the group that a rule names", "[rebalance]") {
    NodePlace first{"n1", 100, 60};
    first.ruled = {{"g1", 56, 0, {}}};
    const auto all = places({group("g1", {first, {"n2", 100, 20}}), group("g2", {{"n3", 100, 0}})});
    const auto plan = plan_rebalance(all);
    std::uint64_t left = 0;
    for (const auto& flow : plan.flows) {
        CHECK((flow.group.empty() || flow.to != "n3"));
        left += flow.to == "n3" ? flow.users : 0;
    }
    CHECK(left == 24);  // all who may
    CHECK(plan.after.groups[0].nodes[0].assigned == 28);
    CHECK(plan.after.groups[0].nodes[1].assigned == 28);
}

TEST_CASE("who finds no room in the group of his rule stays where he is", "[rebalance]") {
    NodePlace first{"n1", 100, 30};
    first.ruled = {{"g2", 10, 0, {"site Berlin -> g2"}}};
    const auto plan = plan_rebalance(places({group("g1", {first}), group("g2", {{"n2", 10, 7, 7}})}));
    CHECK(plan.moves() == 3);
    CHECK(plan.after.groups[1].nodes[0].assigned == 10);
}

TEST_CASE("a home that is gone is left for the group of the rule", "[rebalance]") {
    auto all = places({group("g1", {{"n1", 100, 0}}), group("g2", {{"n2", 100, 50}})});
    all.strangers.push_back({"n9", 0, 4});
    all.strangers.back().ruled = {{"g2", 3, 0, {"site Berlin -> g2"}}};
    const auto plan = plan_rebalance(all, 4, Misplaced::stay);
    CHECK(plan.flows == Flows{{"n9", "n1", 1}, {"n9", "n2", 3, "g2"}});
}

TEST_CASE("imbalance is in percent of capacity, inside one mode", "[rebalance]") {
    CHECK(imbalance(places({group("g1", {{"n1", 100, 50}, {"n2", 200, 20}})})) == 40);
    CHECK(imbalance(places(
              {group("g1", {{"n1", 100, 50}}), group("g2", {{"n2", 100, 0}}, AssignmentMode::none)})) == 0);
    CHECK(imbalance(
              places({group("g1", {{"n1", 100, 90}, {"n2", 100, 0}}, AssignmentMode::active_standby)})) == 0);
}

TEST_CASE("a maintenance window may go over midnight", "[rebalance]") {
    CHECK(is_in_window(60, 0, 1440));
    CHECK(is_in_window(23 * 60, 22 * 60, 5 * 60));
    CHECK(is_in_window(4 * 60, 22 * 60, 5 * 60));
    CHECK_FALSE(is_in_window(5 * 60, 22 * 60, 5 * 60));
    CHECK_FALSE(is_in_window(59, 60, 120));
}

TEST_CASE("rooms are spread in proportion to capacity, those of unknown nodes first", "[placement][rooms]") {
    Places all;
    GroupPlace group;
    group.name = "g1";
    group.nodes = {{"n1", 100, 90}, {"n2", 300, 0}};
    all.groups = {group};
    const std::map<std::string, std::uint64_t> rooms{{"n1", 6}, {"old", 2}};
    const auto plan = plan_rooms(all, rooms);
    CHECK(plan.moves() == 6);
    for (const auto& flow : plan.flows) {
        CHECK(flow.what == Homed::rooms);
        CHECK(flow.to == "n2");
        CHECK(flow.users == (flow.from == "old" ? 2 : 4));
    }
    const auto first = plan_rooms(all, rooms, 2);
    REQUIRE(first.flows.size() == 1);
    CHECK(first.flows[0].from == "old");
}

TEST_CASE("no node is full of rooms, and an even cluster moves none", "[placement][rooms]") {
    Places all;
    GroupPlace group;
    group.name = "g1";
    group.redundant = true;
    group.nodes = {{"n1", 10, 10}, {"n2", 10, 10}};
    all.groups = {group};
    CHECK(plan_rooms(all, {{"n1", 1000}}).moves() == 500);
    CHECK(plan_rooms(all, {{"n1", 7}, {"n2", 6}}).flows.empty());
    CHECK(imbalance(room_places(all, {{"n1", 1}})) == 100);
}

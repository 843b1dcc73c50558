// What an administrator is told who has to wait, or to do something else first (docs/assignment.md).
#include "ha/assignment.hpp"

#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "storage/sqlite/engine.hpp"
#include "storage/testing/backend.hpp"

using namespace hexad;
using hexad::testing::jid;
using hexad::testing::wait_for;

namespace json = boost::json;

namespace {

struct FakeAssignments final : AssignmentStore {
    template <class T>
    awaitable<Result<T>> tell(T value) {
        if (!up) co_return StorageError::unavailable;
        co_return value;
    }
    awaitable<Result<std::vector<Load>>> loads() override { return tell(load); }
    awaitable<Result<std::string>> set_home(SetHome, RoomCheck) override { return tell(refusal); }
    awaitable<Result<bool>> clear_pin(AccountId) override { return tell(false); }
    awaitable<Result<std::vector<Moved>>> place_unassigned(std::size_t) override {
        return tell(std::vector<Moved>{});
    }
    awaitable<Result<bool>> hold_job(std::string, std::string, milliseconds) override { return tell(true); }
    awaitable<Result<std::int64_t>> start_run(RebalanceRun) override { return tell(next_run); }
    awaitable<Result<std::vector<RebalanceRun>>> runs(std::size_t) override { return tell(known); }
    awaitable<Result<bool>> end_run(std::int64_t, std::string, std::string, std::uint64_t) override {
        return tell(true);
    }
    awaitable<Result<MovedSome>> move_some(MoveSome, RoomCheck) override { return tell(MovedSome{}); }

    bool up = true;
    std::vector<Load> load{{"n1", {}, 10, 0}};
    std::string refusal;
    std::int64_t next_run = 7;
    std::vector<RebalanceRun> known;
};

struct FakeNodes final : ClusterNodes {
    awaitable<std::vector<json::object>> nodes(std::map<std::string, std::uint64_t>) override {
        std::vector<json::object> out;
        for (const auto& [name, state] : states)
            out.push_back({{"name", name}, {"state", state}, {"draining", name == draining}});
        co_return out;
    }
    void tell(std::string kind, json::object) override { told.push_back(kind); }
    awaitable<std::uint64_t> send_home(std::vector<Jid>, std::string) override { co_return 0; }
    void set_overfull(std::string) override {}
    bool is_high_availability_on() const override { return true; }
    bool rooms_move() const override { return can_move; }
    awaitable<std::string> move_room(Jid, std::string from, std::string to, std::int64_t) override {
        moved.push_back(from + "->" + to);
        co_return refusal;
    }
    awaitable<bool> finish_room_move(RoomMove) override { co_return true; }

    std::map<std::string, std::string> states{{"n1", "normal"}, {"n2", "normal"}};
    std::string draining;
    bool can_move = true;
    std::string refusal;
    std::vector<std::string> moved;
    std::vector<std::string> told;
};

Config pair() {
    Config config;
    GroupConfig group;
    group.name = "g1";
    for (const std::string name : {"n1", "n2"}) {
        NodeConfig node;
        node.name = name;
        group.nodes.push_back(node);
    }
    config.groups = {group};
    return config;
}

struct World {
    World()
        : rows(SqliteEngine::open(io, ":memory:").value()),
          keeper({io, config, "n1", rows->store(), homes, nodes, [](const Jid&) {}}) {
        AccountRow row;
        row.jid = jid("romeo@montague.lit");
        row.home_node = "n1";
        REQUIRE(wait_for(io, rows->store().create_account(row, {})));
    }
    AssignmentKeeper::Answer rebalance(json::object request) {
        return wait_for(io, keeper.rebalance(std::move(request)));
    }
    AssignmentKeeper::Answer command(json::object request) {
        return wait_for(io, keeper.command(std::move(request)));
    }

    asio::io_context io;
    Config config = pair();
    std::unique_ptr<SqliteEngine> rows;
    FakeAssignments homes;
    FakeNodes nodes;
    AssignmentKeeper keeper;
};

std::string error_of(const AssignmentKeeper::Answer& answer) {
    return std::string(answer.value.as_object().at("error").as_string());
}

const json::object apply{{"command", "apply"}, {"rate", 20}};
const json::object assign{{"command", "assign"}, {"jid", "romeo@montague.lit"}, {"node", "n2"}};

}  // namespace

TEST_CASE("while the store is away every command is answered with 503", "[assignment]") {
    World w;
    w.homes.up = false;
    const auto says = [](const AssignmentKeeper::Answer& answer) {
        CHECK(answer.status == 503);
        CHECK_THAT(error_of(answer), Catch::Contains("the store does not answer"));
    };
    says(w.rebalance(apply));
    says(w.rebalance({{"command", "stop"}}));
    says(wait_for(w.io, w.keeper.plan()));
    says(wait_for(w.io, w.keeper.status(3)));
    says(w.command(assign));
    says(w.command({{"command", "unpin"}, {"jid", "romeo@montague.lit"}}));
    CHECK(w.nodes.told.empty());
}

TEST_CASE("a rebalancing waits for the one that runs, and for nodes that are not well", "[assignment]") {
    World w;
    SECTION("one runs") {
        w.homes.next_run = 0;
        const auto answer = w.rebalance(apply);
        CHECK(answer.status == 409);
        CHECK_THAT(error_of(answer), Catch::Contains("hexactl rebalance status"));
        CHECK(w.nodes.told.empty());
    }
    SECTION("a node is away") {
        w.nodes.states["n2"] = "unknown";
        const auto answer = w.rebalance(apply);
        CHECK(answer.status == 409);
        CHECK_THAT(error_of(answer), Catch::StartsWith("n2 is unknown"));
    }
    SECTION("a node drains") {
        w.nodes.draining = "n1";
        CHECK_THAT(error_of(w.rebalance(apply)), Catch::StartsWith("n1 is draining"));
    }
    SECTION("nothing stands in the way") {
        const auto answer = w.rebalance(apply);
        CHECK(answer.status == 202);
        CHECK(answer.value.at("planned") == 5);
        CHECK(w.nodes.told == std::vector<std::string>{"RebalanceStarted"});
    }
}

TEST_CASE("there is nothing to stop unless a rebalancing runs", "[assignment]") {
    World w;
    CHECK(w.rebalance({{"command", "stop"}}).status == 409);
    RebalanceRun run;
    run.state = "running";
    w.homes.known = {run};
    CHECK(w.rebalance({{"command", "stop"}}).status == 200);
}

TEST_CASE("an account that may not be moved now is refused with what to do", "[assignment]") {
    World w;
    w.homes.refusal = "it is pinned to n1: hexactl user unpin it first";
    auto answer = w.command(assign);
    CHECK(answer.status == 409);
    CHECK_THAT(error_of(answer), Catch::Contains("user unpin") && !Catch::Contains("--force"));
    w.homes.refusal = "n2 is full";
    CHECK_THAT(error_of(w.command(assign)), Catch::EndsWith("(--force goes on)"));
    CHECK(w.command({{"command", "unpin"}, {"jid", "romeo@montague.lit"}}).status == 409);
    w.homes.refusal = "";
    CHECK(w.command(assign).status == 200);
}

namespace {

/// Three rooms at n1, none at n2.
struct Rooms : World {
    Rooms() {
        homes.load = {{"n1", {}, 5, 0}, {"n2", {}, 5, 0}};
        for (const std::string name : {"hall", "garden", "tomb"})
            wait_for(io, rows->store().create_room(jid(name + "@rooms.montague.lit"), "n1", "config"))
                .value();
    }
    AssignmentKeeper::Answer move(const std::string& room, const std::string& node) {
        return wait_for(io, keeper.room_command({{"command", "move"}, {"jid", room}, {"node", node}}));
    }
};

}  // namespace

TEST_CASE("a room that cannot be moved is refused with the reason", "[assignment]") {
    Rooms w;
    const std::string hall = "hall@rooms.montague.lit";
    CHECK(w.move("hall", "n2").status == 400);
    CHECK_THAT(error_of(w.move(hall, "n9")), Catch::EndsWith("the nodes are n1, n2"));
    CHECK(w.move("attic@rooms.montague.lit", "n2").status == 404);
    CHECK_THAT(error_of(w.move(hall, "n1")), Catch::EndsWith("is at n1 already"));
    w.nodes.states["n2"] = "failed-over";
    CHECK_THAT(error_of(w.move(hall, "n2")), Catch::StartsWith("n2 is failed-over"));
    w.nodes.states["n2"] = "normal";
    w.nodes.draining = "n2";
    CHECK_THAT(error_of(w.move(hall, "n2")), Catch::StartsWith("n2 is draining"));
    w.nodes.draining.clear();
    CHECK(w.nodes.moved.empty());
    w.nodes.refusal = "n1 has it and cannot be asked";
    const auto answer = w.move(hall, "n2");
    CHECK(answer.status == 409);
    CHECK_THAT(error_of(answer), Catch::Contains("cannot be asked"));
    CHECK(w.nodes.moved == std::vector<std::string>{"n1->n2"});

    RoomMove under_way;
    under_way.room = wait_for(w.io, w.rows->store().load_room(jid(hall))).value()->id;
    under_way.epoch = 1;
    under_way.to = "n2";
    REQUIRE(wait_for(w.io, w.rows->store().move_room(under_way)).value().refused.empty());
    CHECK_THAT(error_of(w.move(hall, "n1")), Catch::EndsWith("is on its way from n1 to n2 already"));
    w.nodes.refusal.clear();
    CHECK(w.move("garden@rooms.montague.lit", "n2").value.at("was") == "n1");
}

TEST_CASE("a plan has the rooms too, unless a node does not know that rooms move", "[assignment]") {
    Rooms w;
    auto plan = wait_for(w.io, w.keeper.plan()).value;
    CHECK(plan.at("users_to_move") == 0);
    CHECK(plan.at("rooms_to_move") == 1);
    CHECK(plan.at("moves").at(0).at("rooms") == 1);
    CHECK(plan.at("nodes").at(0).at("rooms") == 3);
    CHECK(plan.at("nodes").at(0).at("rooms_after") == 2);
    CHECK(w.rebalance(apply).value.at("planned") == 1);
    w.nodes.can_move = false;
    plan = wait_for(w.io, w.keeper.plan()).value;
    CHECK(plan.at("rooms_to_move") == 0);
    CHECK(plan.at("nodes").at(0).at("rooms_after") == 3);
}

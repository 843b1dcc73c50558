// Home nodes of accounts that exist (docs/assignment.md), against a real server.
#include <catch2/catch.hpp>

#include "storage/postgres/connection.hpp"
#include "storage/postgres/store.hpp"
#include "storage/testing/postgres_server.hpp"

using namespace hexad;
using namespace hexad::testing;

namespace {

struct World {
    World()
        : conninfo(PostgresServer::shared().create_database()),
          store(PostgresStore::open(io, conninfo, {}).value()) {}

    template <class T>
    T run(awaitable<T> what) {
        return wait_for(io, std::move(what));
    }
    AccountId add(const std::string& name, const std::string& home) {
        AccountRow row;
        row.jid = jid(name + "@example.test");
        row.home_node = home;
        return run(store->store().create_account(row, {})).value();
    }
    AccountRow row(const std::string& name) {
        return *run(store->store().find_account(jid(name + "@example.test"))).value();
    }
    std::string set_home(AccountId account, const std::string& node, bool pin, RoomCheck check = {}) {
        AssignmentStore::SetHome wanted;
        wanted.account = account;
        wanted.node = node;
        wanted.pin = pin;
        return run(homes().set_home(wanted, std::move(check))).value();
    }
    AssignmentStore::MovedSome move(std::int64_t run_id, const std::string& holder, std::uint64_t count,
                                    RoomCheck check) {
        AssignmentStore::MoveSome wanted;
        wanted.run = run_id;
        wanted.holder = holder;
        wanted.from = "n1";
        wanted.to = "n2";
        wanted.count = count;
        return run(homes().move_some(wanted, std::move(check))).value();
    }
    /// As the directory agent writes it.
    void says(const std::string& name, const std::string& site, const std::string& groups = {}) {
        postgres::Connection db(conninfo);
        db.connect();
        db.run("UPDATE account SET site=?2, directory_groups=?3 WHERE localpart=?1", name, site, groups);
    }
    std::int64_t number(const std::string& sql) {
        postgres::Connection db(conninfo);
        db.connect();
        auto rows = db.query(sql);
        rows.next();
        return rows.integer(0);
    }
    AssignmentStore& homes() { return store->assignment(); }

    asio::io_context io;
    std::string conninfo;
    std::unique_ptr<PostgresStore> store;
};

std::string fits(const Assignments&, const std::string&, const std::string&, std::uint64_t) { return {}; }
std::string full(const Assignments&, const std::string&, const std::string&, std::uint64_t) { return "full"; }

RebalanceRun planned(std::uint64_t users) {
    RebalanceRun run;
    run.cause = "apply";
    run.rate = 2.5;
    run.flows = {{"n1", "n2", users, 0}};
    return run;
}

}  // namespace

TEST_CASE("a moved account has a new generation, a reason, and all nodes are told",
          "[assignment][postgres]") {
    World w;
    const auto id = w.add("romeo", "n1");
    CHECK(w.set_home(id, "n2", false, full) == "full");
    CHECK(w.row("romeo").home_node == "n1");
    CHECK(w.set_home(id, "n2", false, fits).empty());
    CHECK(w.row("romeo").home_node == "n2");
    CHECK(w.row("romeo").rule == "administrator");
    CHECK(w.row("romeo").assigned > w.row("romeo").created);
    CHECK(w.number("SELECT generation FROM account") == 1);
    CHECK(w.number("SELECT count(*) FROM account_event WHERE jid='romeo@example.test' AND state=0") == 1);
    // Where he is already nothing happens.
    CHECK(w.set_home(id, "n2", false, full).empty());
    CHECK(w.number("SELECT generation FROM account") == 1);
}

TEST_CASE("who is pinned is moved by a pin only", "[assignment][postgres]") {
    World w;
    const auto id = w.add("romeo", "n1");
    CHECK(w.set_home(id, "n1", true).empty());
    CHECK(w.row("romeo").pinned);
    CHECK(w.set_home(id, "n2", false).starts_with("it is pinned to n1"));
    CHECK(w.set_home(id, "n2", true).empty());
    CHECK(w.row("romeo").home_node == "n2");
    const auto loads = w.run(w.homes().loads()).value();
    REQUIRE(loads.size() == 1);
    CHECK(loads.front().node == "n2");
    CHECK(loads.front().pinned == 1);
    CHECK(w.run(w.homes().clear_pin(id)).value());
    CHECK_FALSE(w.run(w.homes().clear_pin(id)).value());
    CHECK_FALSE(w.row("romeo").pinned);
}

TEST_CASE("the unassigned are placed, oldest first, as far as there is room", "[assignment][postgres]") {
    World w;
    w.add("first", "");
    w.add("second", "");
    w.store->store().place_by([](const Assignments&, const std::vector<PlacingFacts>& accounts) {
        std::vector<Home> homes(accounts.size());
        homes.front() = {"n3", "balanced"};
        return homes;
    });
    const auto moved = w.run(w.homes().place_unassigned(10)).value();
    REQUIRE(moved.size() == 1);
    CHECK(moved.front().account == jid("first@example.test"));
    CHECK(w.row("first").home_node == "n3");
    CHECK(w.row("second").home_node.empty());
}

TEST_CASE("whoever there is no room for keeps nobody behind him waiting", "[assignment][postgres]") {
    World w;
    for (const auto* name : {"first", "second", "third"}) w.add(name, "");
    w.says("first", "Berlin");
    w.says("second", "",
           "cn=a\x1f"
           "cn=b");
    std::vector<PlacingFacts> asked;
    w.store->store().place_by([&asked](const Assignments&, const std::vector<PlacingFacts>& accounts) {
        asked = accounts;
        std::vector<Home> homes(accounts.size(), Home{"n3", "balanced"});
        homes.front() = {};
        return homes;
    });
    CHECK(w.run(w.homes().place_unassigned(1)).value().size() == 1);
    CHECK(asked == std::vector<PlacingFacts>{{"Berlin", {}}, {"", {"cn=a", "cn=b"}}, {}});
    CHECK(w.row("first").home_node.empty());
    CHECK(w.row("second").home_node == "n3");
    CHECK(w.row("second").facts == PlacingFacts{"", {"cn=a", "cn=b"}});
    CHECK(w.row("third").home_node.empty());
}

TEST_CASE("a run moves those that it is about", "[assignment][postgres]") {
    World w;
    for (const auto* name : {"a", "b", "c", "d"}) w.add(name, "n1");
    w.says("a", "Berlin");
    w.says("b", "Berlin", "cn=sales");
    w.set_home(w.row("b").id, "n1", true);
    w.says("c", "", "cn=sales");
    auto run = planned(1);
    run.flows.push_back({"n1", "n2", 3, 0, "g2"});
    const auto id = w.run(w.homes().start_run(run)).value();
    REQUIRE(w.run(w.homes().hold_job("assignment", "n1", seconds(60))).value());
    AssignmentStore::MoveSome wanted;
    wanted.run = id;
    wanted.holder = "n1";
    wanted.from = "n1";
    wanted.to = "n2";
    wanted.count = 9;
    wanted.group = "g2";
    wanted.whom = [](const PlacingFacts& facts) { return facts.site == "Berlin" || !facts.groups.empty(); };
    CHECK(w.run(w.homes().move_some(wanted, fits)).value().moved.size() == 2);  // b is pinned
    CHECK(w.row("a").home_node == "n2");
    CHECK(w.row("c").home_node == "n2");
    CHECK(w.row("d").home_node == "n1");
    const auto flows = w.run(w.homes().runs(1)).value().front().flows;
    REQUIRE(flows.size() == 2);
    CHECK(flows[0].group.empty());
    CHECK(flows[0].moved == 0);
    CHECK(flows[1].group == "g2");
    CHECK(flows[1].moved == 2);
    wanted.whom = [](const PlacingFacts& facts) { return facts.site == "Lyon"; };
    CHECK(w.run(w.homes().move_some(wanted, fits)).value().moved.empty());
}

TEST_CASE("a job has one holder until its time is over", "[assignment][postgres]") {
    World w;
    CHECK(w.run(w.homes().hold_job("assignment", "n1", seconds(60))).value());
    CHECK_FALSE(w.run(w.homes().hold_job("assignment", "n2", seconds(60))).value());
    CHECK(w.run(w.homes().hold_job("assignment", "n1", milliseconds(-1000))).value());
    CHECK(w.run(w.homes().hold_job("assignment", "n2", seconds(60))).value());
}

TEST_CASE("a run moves whom it may, by its holder alone, until it ends", "[assignment][postgres]") {
    World w;
    for (const auto* name : {"a", "b", "c"}) w.add(name, "n1");
    w.set_home(w.row("a").id, "n1", true);
    const auto id = w.run(w.homes().start_run(planned(3))).value();
    REQUIRE(id > 0);
    CHECK(w.run(w.homes().start_run(planned(1))).value() == 0);  // one at a time
    REQUIRE(w.run(w.homes().hold_job("assignment", "n2", seconds(60))).value());
    CHECK_FALSE(w.move(id, "n1", 1, fits).refused.empty());
    CHECK(w.move(id, "n2", 1, full).refused == "full");
    CHECK(w.move(id, "n2", 1, fits).moved.size() == 1);
    CHECK(w.move(id, "n2", 5, fits).moved.size() == 1);  // the pinned one stays
    CHECK(w.row("a").home_node == "n1");
    CHECK(w.row("b").rule == "rebalance " + std::to_string(id));
    auto run = w.run(w.homes().runs(5)).value().front();
    CHECK(run.moved() == 2);
    CHECK(run.planned() == 3);
    CHECK(run.rate == 2.5);
    CHECK(run.state == "running");
    CHECK(w.run(w.homes().end_run(id, "stopped", "enough", 4)).value());
    CHECK_FALSE(w.run(w.homes().end_run(id, "done", "", 0)).value());
    CHECK_FALSE(w.move(id, "n2", 1, fits).refused.empty());
    run = w.run(w.homes().runs(5)).value().front();
    CHECK(run.state == "stopped");
    CHECK(run.reason == "enough");
    CHECK(run.sessions == 4);
    CHECK(w.run(w.homes().start_run(planned(1))).value() > id);
}

// What PostgreSQL alone does for a cluster: fences, offline batches, epochs, loss of the server (delivery
// protocol).
#include <catch2/catch.hpp>

#include "storage/migrations.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/postgres/offline.hpp"
#include "storage/postgres/store.hpp"
#include "storage/postgres/transaction.hpp"
#include "storage/testing/postgres_server.hpp"

using namespace hexad;
using namespace hexad::testing;

namespace {

struct World {
    explicit World(PostgresServer& server = PostgresServer::shared(), PostgresStore::Options options = {})
        : conninfo(server.create_database()), store(PostgresStore::open(io, conninfo, options).value()) {
        AccountRow row;
        row.jid = jid("juliet@example.test");
        juliet = run(store->store().create_account(row, {})).value();
    }
    template <class T>
    T run(awaitable<T> what) {
        return wait_for(io, std::move(what));
    }
    std::vector<CommitStatus> write(const std::vector<Batch>& batches) {
        std::vector<const Batch*> group;
        for (const auto& batch : batches) group.push_back(&batch);
        std::vector<CommitStatus> out;
        store->writer().write(std::move(group), [&out](std::vector<CommitStatus> s) { out = std::move(s); });
        io.restart();
        io.run();
        return out;
    }
    CommitStatus write(const Batch& batch) { return write(std::vector{batch}).front(); }
    OfflineStore& offline() { return store->offline(); }
    EpochStore& epochs() { return store->epochs(); }
    Batch offline_message(const std::string& id, int s) const {
        Batch batch;
        batch.archive.push_back(archived(juliet, id, "romeo@example.test", s));
        batch.offline.push_back(
            {juliet, id, jid("romeo@example.test/r"), at(s), make_bytes("<message id='" + id + "'/>")});
        return batch;
    }
    std::vector<std::string> archive() {
        std::vector<std::string> out;
        for (const auto& item : run(store->store().archive_page(juliet, {})).value().items)
            out.push_back(item.stanza_id);
        return out;
    }

    asio::io_context io;
    std::string conninfo;
    std::unique_ptr<PostgresStore> store;
    AccountId juliet = 0;
};

Batch input(std::uint64_t n, Epoch epoch) {
    Batch batch;
    batch.origin = {"session", n, 0};
    batch.epoch = epoch;
    batch.advances = true;
    batch.previous = n - 1;
    return batch;
}

Batch add_contact(const World& w, std::uint64_t n, Epoch epoch, std::uint64_t version,
                  std::string_view contact) {
    auto batch = input(n, epoch);
    AccountChange change;
    change.account = w.juliet;
    change.base_version = version;
    RosterItem item;
    item.jid = jid(contact);
    change.put.push_back(item);
    batch.accounts.push_back(change);
    return batch;
}

std::vector<std::string> ids(const std::vector<OfflineRow>& rows) {
    std::vector<std::string> out;
    for (const auto& row : rows) out.push_back(row.stanza_id);
    return out;
}

using Ids = std::vector<std::string>;

}  // namespace

static OfflineStore::Row withdrawn(World& w, const std::string& id) {
    const auto rows = w.run(w.offline().withdraw({"sender", {1, 1}}, {{w.juliet, id}}));
    return rows.value().at(0);
}

TEST_CASE("a group gives each batch its own status", "[postgres]") {
    World w;
    const auto stale = add_contact(w, 1, {1, 1}, 9, "paris@example.test");
    auto refused = stale;
    refused.archive.push_back(archived(w.juliet, "refused", "romeo@example.test", 1));
    CHECK(w.write({w.offline_message("a", 1), refused, w.offline_message("b", 2)}) ==
          std::vector{CommitStatus::ok, CommitStatus::version_moved, CommitStatus::ok});
    CHECK(w.archive() == Ids{"a", "b"});
    CHECK(w.write(std::vector<Batch>{}).empty());
}

TEST_CASE("rows that cannot be written cost only their own batch", "[postgres]") {
    World w;
    auto bad = w.offline_message("bad", 1);
    bad.archive[0].xml = make_bytes(std::string("\xff\xfe", 2));  // no UTF-8
    CHECK(w.write({w.offline_message("a", 1), bad, w.offline_message("b", 2)}) ==
          std::vector{CommitStatus::ok, CommitStatus::not_owner, CommitStatus::ok});
    CHECK(w.archive() == Ids{"a", "b"});
}

TEST_CASE("a repeated account change is known as the same one", "[postgres][delivery-2]") {
    World w;
    const auto change = add_contact(w, 1, {1, 1}, 0, "romeo@example.test");
    REQUIRE(w.write(change) == CommitStatus::ok);
    CHECK(w.write(change) == CommitStatus::ok);  // the answer to the first was lost
    CHECK(w.run(w.store->store().load_account(jid("juliet@example.test"))).value()->version == 1);
    CHECK(w.write(add_contact(w, 2, {1, 1}, 0, "nurse@example.test")) == CommitStatus::version_moved);
    // Decided again, as the same stanza.
    CHECK(w.write(add_contact(w, 2, {1, 1}, 1, "nurse@example.test")) == CommitStatus::ok);
    CHECK(w.write(change) == CommitStatus::ok);  // very late: a later stanza of the session was there
    const auto account = *w.run(w.store->store().load_account(jid("juliet@example.test"))).value();
    CHECK(account.version == 2);
    CHECK(account.roster.size() == 2);
}

TEST_CASE("a carrier that has lost the session changes nothing any more", "[postgres][delivery-6]") {
    World w;
    REQUIRE(w.write(add_contact(w, 1, {1, 2}, 0, "romeo@example.test")) == CommitStatus::ok);
    CHECK(w.write(add_contact(w, 2, {1, 1}, 1, "paris@example.test")) == CommitStatus::not_owner);
    auto document = input(3, {1, 1});
    document.documents.push_back({w.juliet, "vcard", "", "<vCard/>"});
    CHECK(w.write(document) == CommitStatus::not_owner);
    CHECK(w.run(w.store->store().document(w.juliet, "vcard", "")).value().empty());
    document.epoch = {2, 0};  // another generation is newer, whatever its e
    CHECK(w.write(document) == CommitStatus::ok);
    CHECK(w.run(w.store->store().document(w.juliet, "vcard", "")).value() == "<vCard/>");
    document.origin.n = 2;
    document.documents[0].bytes = "<old/>";
    CHECK(w.write(document) == CommitStatus::ok);  // done before
    CHECK(w.run(w.store->store().document(w.juliet, "vcard", "")).value() == "<vCard/>");
}

TEST_CASE("an effect that does not count may come after later stanzas", "[postgres]") {
    World w;
    REQUIRE(w.write(add_contact(w, 5, {1, 1}, 0, "romeo@example.test")) == CommitStatus::ok);
    auto document = input(3, {1, 1});
    document.advances = false;
    document.documents.push_back({w.juliet, "vcard", "", "<vCard/>"});
    CHECK(w.write(document) == CommitStatus::ok);
    CHECK(w.run(w.store->store().document(w.juliet, "vcard", "")).value() == "<vCard/>");
    CHECK(w.write(add_contact(w, 4, {1, 1}, 1, "paris@example.test")) ==
          CommitStatus::ok);  // the fence stands at 5
    CHECK(w.run(w.store->store().load_account(jid("juliet@example.test"))).value()->roster.size() == 1);
}

TEST_CASE("an archive page ends where a transaction is still open", "[postgres][delivery-2]") {
    World w;
    REQUIRE(w.write(w.offline_message("a", 1)) == CommitStatus::ok);
    postgres::Connection slow(w.conninfo);
    slow.begin();
    slow.run(
        "INSERT INTO archive(owner, stanza_id, dir, ts, with_bare, with_resource, xml) "
        "VALUES(?1,'slow',0,2,'','','x')",
        w.juliet);
    REQUIRE(w.write(w.offline_message("b", 3)) == CommitStatus::ok);
    CHECK(w.archive() == Ids{"a"});
    ArchiveQuery query;
    query.after_id = "b";  // a client may know it from the live message
    CHECK_FALSE(w.run(w.store->store().archive_page(w.juliet, query)).value().id_not_found);
    slow.commit();
    CHECK(w.archive() == Ids{"a", "slow", "b"});
}

TEST_CASE("the backlog is taken in batches that survive a crash of their taker", "[postgres][delivery-5]") {
    World w;
    std::vector<Batch> group;
    for (int i = 1; i <= 150; ++i) group.push_back(w.offline_message("o" + std::to_string(1000 + i), i));
    w.write(group);
    auto taken = w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 0)).value();
    REQUIRE(taken.rows.size() == 100);
    CHECK(taken.batch == 1);
    CHECK(taken.rows[0].stanza_id == "o1001");
    CHECK(taken.rows[99].stanza_id == "o1100");
    CHECK(taken.rows[0].at == at(1));
    CHECK(*taken.rows[0].xml == "<message id='o1001'/>");
    CHECK(taken.rows[0].from == jid("romeo@example.test/r"));
    CHECK(w.run(w.offline().take(w.juliet, {"other", {1, 1}}, 0)).value().rows.size() == 50);
    // Taken, but the crash came before they were filled: the same again.
    taken = w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 0)).value();
    CHECK(taken.batch == 1);
    CHECK(taken.rows.size() == 100);
    CHECK(taken.rows[0].stanza_id == "o1001");
    // Filled, but the crash came before they were done.
    taken = w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 1)).value();
    CHECK(taken.rows.empty());
    CHECK(taken.batch == 2);
    CHECK(withdrawn(w, "o1001") == OfflineStore::Row::taken);
    // The other one ends without having filled its part.
    CHECK(w.run(w.offline().put_back(w.juliet, {"other", {1, 1}}, jid("juliet@example.test/o"), 7, 0, {}))
              .value());
    taken = w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 1)).value();
    CHECK(taken.rows.size() == 50);
    CHECK(taken.rows[0].stanza_id == "o1101");
    CHECK(w.run(w.offline().done("j", 2)).value());
    CHECK(w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 2)).value().rows.empty());
    CHECK(w.run(w.store->store().offline_count(w.juliet)).value() == 0);
}

TEST_CASE("an ended session gives back what is due, in the place of its archive row",
          "[postgres][delivery-5]") {
    World w;
    w.write({w.offline_message("a", 1), w.offline_message("b", 2)});
    auto taken = w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 0)).value();
    w.run(w.offline().done("j", 1));
    Batch live;
    live.archive.push_back(archived(w.juliet, "c", "romeo@example.test", 3));
    w.write(live);
    w.write(w.offline_message("d", 4));
    std::vector<OfflineRow> due{{w.juliet, "c", jid("romeo@example.test"), at(3), make_bytes("<c/>")},
                                {w.juliet, "b", jid("romeo@example.test"), at(2), make_bytes("<b/>")}};
    const auto full = jid("juliet@example.test/j");
    REQUIRE(w.run(w.offline().put_back(w.juliet, {"j", {1, 1}}, full, 17, 1, due)).value());
    REQUIRE(
        w.run(w.offline().put_back(w.juliet, {"j", {1, 1}}, full, 17, 1, due)).value());  // by another node
    const auto tomb = w.run(w.offline().tomb("j")).value();
    REQUIRE(tomb);
    CHECK(tomb->jid == full);
    CHECK(tomb->in == 17);
    CHECK_FALSE(w.run(w.offline().tomb("zz")).value());
    taken = w.run(w.offline().take(w.juliet, {"k", {1, 1}}, 0)).value();
    CHECK(ids(taken.rows) == Ids{"b", "c", "d"});
    CHECK(*taken.rows[0].xml == "<b/>");
}

TEST_CASE("a row of an earlier attempt is withdrawn unless a login has it", "[postgres][delivery-3]") {
    World w;
    w.write(w.offline_message("a", 1));
    CHECK(withdrawn(w, "zz") == OfflineStore::Row::none);
    CHECK(withdrawn(w, "a") == OfflineStore::Row::queued);
    CHECK(withdrawn(w, "a") == OfflineStore::Row::none);
    w.write(w.offline_message("a", 1));
    w.run(w.offline().take(w.juliet, {"j", {1, 1}}, 0));
    CHECK(withdrawn(w, "a") == OfflineStore::Row::taken);
    w.run(w.offline().done("j", 1));
    CHECK(withdrawn(w, "a") == OfflineStore::Row::taken);
    CHECK(w.write(w.offline_message("a", 1)) == CommitStatus::ok);
    CHECK(w.run(w.store->store().offline_count(w.juliet)).value() == 0);
}

TEST_CASE("what a former carrier of a session asks for late changes nothing", "[postgres][delivery-6]") {
    World w;
    const SessionToken former{"session", {1, 3}}, now{"session", {2, 1}};
    auto late = w.offline_message("late", 1);
    late.origin = {"session", 1, 0};
    late.epoch = former.epoch;
    auto early = w.offline_message("early", 2);
    early.origin = {"session#", 2, 0};  // from before it counted
    early.epoch = former.epoch;
    CHECK(w.write(early) == CommitStatus::ok);
    CHECK(w.run(w.offline().withdraw(now, {{w.juliet, "late"}})).value() ==
          std::vector{OfflineStore::Row::none});
    // Its archive row is the same row; who gets the message is decided elsewhere now.
    w.write(late);
    CHECK(w.archive() == Ids{"early", "late"});
    CHECK(w.run(w.store->store().offline_count(w.juliet)).value() == 1);
    const auto fenced = make_error_code(StorageError::fenced);
    CHECK(w.run(w.offline().withdraw(former, {{w.juliet, "early"}})).error() == fenced);
    CHECK(w.run(w.offline().take(w.juliet, former, 0)).error() == fenced);
    CHECK(w.run(w.offline().put_back(w.juliet, former, jid("juliet@example.test/j"), 1, 0, {})).error() ==
          fenced);
    CHECK(w.run(w.store->store().offline_count(w.juliet)).value() == 1);
    // Who carries it now goes on, and the rows of nobody's session are nobody's to refuse.
    late.epoch = now.epoch;
    w.write(late);
    CHECK(ids(w.run(w.offline().take(w.juliet, now, 0)).value().rows) == Ids{"early", "late"});
    w.write(w.offline_message("free", 3));
    CHECK(w.run(w.store->store().offline_count(w.juliet)).value() == 1);
}

TEST_CASE("who shuts a former carrier out waits for the rows it is writing", "[postgres][delivery-6]") {
    World w;
    postgres::Connection writer(w.conninfo, milliseconds(3000));
    writer.connect();
    postgres::Transaction writing(writer);
    postgres::share_session(writer, "session");
    postgres::put_offline_unless_fenced(
        writer, {w.juliet, "x", jid("romeo@example.test/r"), at(1), make_bytes("<message/>")},
        {"session", {1, 1}});
    writer.collect();
    std::thread ends([&] {
        std::this_thread::sleep_for(milliseconds(200));
        writing.commit();
    });
    const auto found = w.run(w.offline().withdraw({"session", {1, 2}}, {{w.juliet, "x"}}));
    ends.join();
    CHECK(found.value() == std::vector{OfflineStore::Row::queued});
}

TEST_CASE("generation, partition and incarnation rise by compare and set", "[postgres][delivery-7]") {
    World w;
    CHECK(w.run(w.epochs().generation()).value().g == 0);
    CHECK(w.run(w.epochs().raise_generation(0, "run1")).value().g == 1);
    const auto late = w.run(w.epochs().raise_generation(0, "run2")).value();  // another node was first
    CHECK(late.g == 1);
    CHECK(late.run == "run1");
    CHECK(w.run(w.epochs().raise_generation(1, "run2")).value().g == 2);

    auto p = w.run(w.epochs().ensure_partition("n1")).value();
    CHECK(p.serving == "n1");
    CHECK(p.epoch == 1);
    p = w.run(w.epochs().move_partition("n1", "n2", 1)).value();
    CHECK(p.serving == "n2");
    CHECK(p.epoch == 2);
    p = w.run(w.epochs().move_partition("n1", "n3", 1)).value();
    CHECK(p.serving == "n2");
    CHECK(p.epoch == 2);
    CHECK(w.run(w.epochs().ensure_partition("n1")).value().serving == "n2");
    CHECK(w.run(w.epochs().partitions()).value().size() == 1);
    CHECK(w.run(w.epochs().next_incarnation("n1")).value() == 1);
    CHECK(w.run(w.epochs().next_incarnation("n1")).value() == 2);
    CHECK(w.run(w.epochs().next_incarnation("n2")).value() == 1);
}

TEST_CASE("holds, the switch of high availability and events are kept", "[postgres][ha]") {
    World w;
    auto& kept = w.store->redundancy();
    CHECK_FALSE(w.run(kept.settings()).value().changed);
    w.run(kept.set_high_availability(false));
    CHECK(w.run(kept.settings()).value().changed);
    CHECK_FALSE(w.run(kept.settings()).value().high_availability);
    CHECK_FALSE(w.run(kept.set_hold("n1", true)).value());  // there is no such partition yet
    w.run(w.epochs().ensure_partition("n1"));
    CHECK(w.run(kept.set_hold("n1", true)).value());
    w.run(w.epochs().move_partition("n1", "n2", 1));  // a move keeps the hold
    CHECK(w.run(kept.settings()).value().held == std::vector<std::string>{"n1"});
    w.run(kept.set_hold("n1", false));
    CHECK(w.run(kept.settings()).value().held.empty());

    CHECK(w.run(kept.settings()).value().gate_overrides.empty());
    w.run(kept.set_gate_override("n3", at(4)));
    w.run(kept.set_gate_override("n3", at(5)));  // the last word counts
    CHECK(w.run(kept.settings()).value().gate_overrides == std::map<std::string, Timestamp>{{"n3", at(5)}});

    const auto event = [](int n, const char* kind) { return HaEvent{0, at(n), "n1", kind, "{}"}; };
    w.run(kept.add_events({event(1, "NodeFenced"), event(2, "PeerLinkDown")}));
    w.run(kept.add_events({event(3, "NodeFenced")}));
    const auto all = w.run(kept.events(0, "", 10)).value();
    REQUIRE(all.size() == 3);
    CHECK(all.front().at == at(1));
    CHECK(w.run(kept.events(0, "", 2)).value().front().id == all[1].id);
    CHECK(w.run(kept.events(all[0].id, "NodeFenced", 10)).value().size() == 1);
}

TEST_CASE("the store tells how it is, and which agreements nobody has read", "[postgres][ha]") {
    World w;
    auto& kept = w.store->redundancy();
    const auto health = w.run(kept.health()).value();
    CHECK(health.schema == health.wanted_schema);
    CHECK(health.schema > 3);
    CHECK_FALSE(health.standby);
    CHECK_FALSE(health.lag);
    CHECK(health.replicas.empty());
    CHECK(w.run(kept.never_synced({"staff", "guests"})).value() ==
          std::vector<std::string>{"staff", "guests"});
    postgres::Connection db(w.conninfo);
    db.run("INSERT INTO sync_state(agreement, last_good) VALUES('staff', 1), ('guests', 0)");
    CHECK(w.run(kept.never_synced({"staff", "guests"})).value() == std::vector<std::string>{"guests"});
}

TEST_CASE("after a partition has moved, its old server writes no room row", "[postgres][muc][delivery-6]") {
    World w;
    w.run(w.epochs().ensure_partition("n1"));
    const auto room = w.run(w.store->store().create_room(jid("hall@rooms.test"), "n1", "c")).value().room;
    Batch step;
    step.origin = {"room:hall@rooms.test", 1, 0};
    step.epoch = {1, room.epoch};
    step.room_step = true;
    step.room_position = 1;
    step.room_archive.push_back(
        {room.id, 1, "r1", jid("hall@rooms.test/J"), at(1), make_bytes("<message/>")});
    CHECK(w.write(step) == CommitStatus::ok);
    w.run(w.epochs().move_partition("n1", "n2", 1));
    step.origin.n = step.room_position = step.room_archive[0].hist = 2;
    step.room_archive[0].stanza_id = "r2";
    CHECK(w.write({w.offline_message("a", 1), step}) ==
          std::vector{CommitStatus::ok, CommitStatus::not_owner});
    const auto now = w.run(w.store->store().load_room(jid("hall@rooms.test"))).value();
    CHECK(now->hist == 1);
    CHECK(now->epoch == room.epoch + 1);
    step.epoch.e = now->epoch;
    CHECK(w.write(step) == CommitStatus::ok);
}

TEST_CASE("a login to fall back on is kept for who may log in, and forgotten",
          "[postgres][directory-sync-9]") {
    World w;
    auto& logins = w.store->offline_logins();
    CHECK_FALSE(w.run(logins.offline_login(w.juliet)).value());
    const OfflineLogin login{std::string("\0salt", 5), "hash", at(5)};
    CHECK(w.run(logins.set_offline_login(w.juliet, login)).value());
    const auto kept = w.run(logins.offline_login(w.juliet)).value();
    REQUIRE(kept);
    CHECK(kept->salt == login.salt);
    CHECK(kept->hash == "hash");
    CHECK(kept->last_login == at(5));
    CHECK(w.run(logins.set_offline_login(w.juliet, std::nullopt)).value());
    CHECK_FALSE(w.run(logins.offline_login(w.juliet)).value());
    REQUIRE(w.run(w.store->store().set_account_state(w.juliet, AccountState::disabled)).value());
    CHECK_FALSE(w.run(logins.set_offline_login(w.juliet, login)).value());
    CHECK_FALSE(w.run(logins.offline_login(w.juliet)).value());
}

TEST_CASE("accounts and runs of an older schema are kept when it is brought up to date",
          "[postgres][schema]") {
    asio::io_context io;
    const auto conninfo = PostgresServer::shared().create_database();
    {
        postgres::Connection db(conninfo);
        db.connect();
        db.script("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)");
        for (const auto& migration : postgres_migrations()) {
            if (migration.number <= 5) db.script(std::string(migration.sql));
        }
        db.script(
            "INSERT INTO meta VALUES('jid_profile', 'nodeprep'), ('schema', '5');"
            "INSERT INTO host(name) VALUES('example.test');"
            "INSERT INTO account(host, localpart, source, home_node, created, rule) SELECT id, 'romeo', 1, "
            "'n1', "
            "1, 'balanced' FROM host;"
            "INSERT INTO rebalance_run(cause, state, rate, started) VALUES('apply', 'done', 1000, 1);"
            "INSERT INTO rebalance_flow(run, source, target, planned, moved) SELECT id, 'n1', 'n2', 3, 2 "
            "FROM "
            "rebalance_run");
    }
    CHECK(PostgresStore::open(io, conninfo).error().text.find("--migrate") != std::string::npos);
    PostgresStore::Options options;
    options.migrate = true;
    auto store = PostgresStore::open(io, conninfo, options).value();
    const auto row = *wait_for(io, store->store().find_account(jid("romeo@example.test"))).value();
    CHECK(row.home_node == "n1");
    CHECK(row.rule == "balanced");
    CHECK(row.facts == PlacingFacts{});
    const auto runs = wait_for(io, store->assignment().runs(1)).value();
    REQUIRE(runs.size() == 1);
    CHECK(runs.front().planned() == 3);
    CHECK(runs.front().flows.front().group.empty());
}

TEST_CASE("a schema that does not fit is refused with a reason", "[postgres][schema]") {
    asio::io_context io;
    const auto conninfo = PostgresServer::shared().create_database();
    postgres::Connection db(conninfo);
    SECTION("too new") {
        REQUIRE(PostgresStore::open(io, conninfo).has_value());
        db.run("UPDATE meta SET value='99' WHERE key='schema'");
        const auto refused = PostgresStore::open(io, conninfo);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().error == StorageError::schema);
        CHECK(refused.error().text.find("too new") != std::string::npos);
    }
    SECTION("another program's") {
        db.script("CREATE TABLE t(x int)");
        CHECK(PostgresStore::open(io, conninfo).error().error == StorageError::schema);
    }
    SECTION("no server") {
        CHECK(PostgresStore::open(io, "host=/nonexistent").error().error == StorageError::unavailable);
    }
}

TEST_CASE("groups are kept while the server is away, and written in order when it is back",
          "[postgres][fault]") {
    PostgresServer server;
    World w(server);
    REQUIRE(w.write(w.offline_message("a", 1)) == CommitStatus::ok);
    std::vector<bool> states;
    w.store->writer().on_state = [&](bool up) {
        states.push_back(up);
        if (!up && states.size() == 1) server.start();
    };
    server.crash();
    CHECK(w.run(w.store->store().offline_count(w.juliet)).error() == StorageError::unavailable);
    std::vector<std::string> order;
    const auto b = w.offline_message("b", 2);
    const auto c = w.offline_message("c", 3);
    w.store->writer().write(
        {&b}, [&](std::vector<CommitStatus> s) { order.push_back(s[0] == CommitStatus::ok ? "b" : "-"); });
    w.store->writer().write(
        {&c}, [&](std::vector<CommitStatus> s) { order.push_back(s[0] == CommitStatus::ok ? "c" : "-"); });
    w.io.restart();
    w.io.run();
    CHECK(order == std::vector<std::string>{"b", "c"});
    // On a slow disk the first commits after the recovery take long enough to be told as down once more.
    REQUIRE(states.size() >= 2);
    for (std::size_t i = 0; i < states.size(); ++i) CHECK(states[i] == (i % 2 == 1));
    CHECK(states.back());
    for (int i = 0; i < 40 && !w.run(w.store->store().offline_count(w.juliet)); ++i) ::usleep(100'000);
    CHECK(w.archive() == Ids{"a", "b", "c"});  // what was told to be committed survived the crash
}

TEST_CASE("a restart of the server is not seen by a read", "[postgres][fault]") {
    PostgresServer server;
    World w(server);
    for (int i = 0; i < 8; ++i) REQUIRE(w.run(w.store->store().offline_count(w.juliet)).has_value());
    server.crash();
    server.start();
    for (int i = 0; i < 8; ++i) CHECK(w.run(w.store->store().offline_count(w.juliet)).has_value());
    CHECK(w.write(w.offline_message("a", 1)) == CommitStatus::ok);
}

TEST_CASE("a frozen server is unavailable in time, not for ever", "[postgres][fault]") {
    PostgresServer server;
    PostgresStore::Options options;
    options.patience = milliseconds(3000);  // a slow disk takes its time for the schema
    World w(server, options);
    REQUIRE(w.write(w.offline_message("a", 1)) == CommitStatus::ok);
    server.freeze();
    CHECK(w.run(w.store->store().offline_count(w.juliet)).error() == StorageError::unavailable);
    server.thaw();
    for (int i = 0; i < 40 && !w.run(w.store->store().offline_count(w.juliet)); ++i) ::usleep(100'000);
    CHECK(w.write(w.offline_message("b", 2)) == CommitStatus::ok);
    CHECK(w.archive() == Ids{"a", "b"});
}

TEST_CASE("a store that ends with unwritten groups does not wait for the server", "[postgres][fault]") {
    PostgresServer server;
    World w(server);
    server.crash();
    const auto b = w.offline_message("b", 2);
    bool done = false;
    w.store->writer().write({&b}, [&](std::vector<CommitStatus>) { done = true; });
    ::usleep(100'000);
    w.store.reset();
    CHECK_FALSE(done);
}

TEST_CASE("cost of a chat message in the PostgreSQL writer", "[.bench]") {
    World w;
    const std::size_t size = GENERATE(1U, 10U, 100U);
    constexpr std::size_t count = 20'000;
    std::vector<Batch> batches;
    for (std::size_t n = 0; n < count; ++n) {
        const auto id = "stanza-" + std::to_string(n * 2654435761U) + std::to_string(size);
        Batch batch;
        for (const auto owner : {w.juliet + static_cast<AccountId>(n % 1000), w.juliet + 1000}) {
            batch.archive.push_back(archived(owner, id, "romeo@example.test/orchard", static_cast<int>(n)));
            batch.archive.back().xml = make_bytes("<message>" + std::string(350, 'x') + "</message>");
        }
        batches.push_back(std::move(batch));
    }
    const auto cpu = std::clock();
    const auto start = SteadyClock::now();
    std::size_t done = 0;
    for (std::size_t from = 0; from < count; from += size) {
        std::vector<Batch> none;
        std::vector<const Batch*> group;
        for (auto i = from; i < from + size; ++i) group.push_back(&batches[i]);
        w.store->writer().write(std::move(group), [&done](std::vector<CommitStatus> s) { done += s.size(); });
        w.io.restart();
        w.io.run();
    }
    CHECK(done == count);
    WARN("groups of " << size << ": "
                      << static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC * 1e6 /
                             static_cast<double>(count)
                      << " us of CPU a message (client), "
                      << static_cast<double>(count) /
                             std::chrono::duration<double>(SteadyClock::now() - start).count()
                      << " messages/s");
}

// The file itself: durability, permissions, schema, faults, cost.
#include "storage/sqlite/engine.hpp"

#include <csignal>
#include <ctime>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "storage/migrations.hpp"
#include "storage/sqlite/group_writer.hpp"
#include "storage/testing/backend.hpp"

using namespace hexad;
using namespace hexad::testing;
using sqlite::Connection;
using sqlite::Durability;

namespace {

Batch chat(AccountId from, AccountId to, std::uint64_t n) {
    Batch batch;
    batch.origin = {"sender-session-0123456789abcd", n, 0};
    batch.epoch = {1, 1};
    batch.advances = true;
    batch.previous = n - 1;
    const auto xml = make_bytes(
        "<message from='romeo@example.test/orchard' to='juliet@example.test' type='chat' id='a'><body>" +
        std::string(250, 'x') + "</body></message>");
    const auto id = "stanza-id-" + std::to_string(n * 2654435761U) + "-" + std::to_string(n);
    for (const auto owner : {from, to}) {
        ArchiveRow row;
        row.owner = owner;
        row.stanza_id = id;
        row.direction = owner == from ? Direction::out : Direction::in;
        row.with = jid(owner == from ? "juliet@example.test" : "romeo@example.test/orchard");
        row.origin_id = "origin-" + std::to_string(n);
        row.content_hash = std::string(20, 'h');
        row.at = at(static_cast<std::int64_t>(n));
        row.xml = xml;
        batch.archive.push_back(std::move(row));
    }
    LogAppend append;
    append.sid = "target-session-0123456789abcd";
    append.origin = batch.origin;
    append.stanza_id = id;
    append.owner = to;
    append.xml = xml;
    append.number = static_cast<std::uint32_t>(n);
    batch.appends.push_back(std::move(append));
    return batch;
}

Batch binding(AccountId from, AccountId to) {
    Batch batch;
    for (const auto& [sid, account, name] :
         {std::tuple{"sender-session-0123456789abcd", from, "romeo@example.test/orchard"},
          std::tuple{"target-session-0123456789abcd", to, "juliet@example.test/balcony"}}) {
        SessionRecord record;
        record.sid = sid;
        record.account = account;
        record.jid = jid(name);
        record.epoch = {1, 1};
        record.mode = SessionMode::live;
        batch.sessions.push_back(std::move(record));
    }
    return batch;
}

}  // namespace

TEST_CASE("the file is for its owner alone, and for one process", "[sqlite]") {
    const TempDir dir;
    asio::io_context io;
    const auto path = (dir.path() / "hexad.db").string();
    const auto engine = SqliteEngine::open(io, path).value();
    for (const std::string suffix : {"", "-wal", "-shm"}) {
        struct stat info{};
        REQUIRE(::stat((path + suffix).c_str(), &info) == 0);
        CHECK((info.st_mode & 0777) == 0600);
    }
    const auto second = SqliteEngine::open(io, path);
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().error == StorageError::unavailable);
}

TEST_CASE("a file that does not fit is refused with a reason", "[sqlite][schema]") {
    const TempDir dir;
    asio::io_context io;
    const auto path = (dir.path() / "hexad.db").string();
    SECTION("of a later version") {
        SqliteEngine::open(io, path).value().reset();
        Connection(path, Connection::Mode::writer, Durability::strict)
            .script("UPDATE meta SET value='99' WHERE key='schema'");
        const auto engine = SqliteEngine::open(io, path);
        REQUIRE_FALSE(engine.has_value());
        CHECK(engine.error().error == StorageError::schema);
        CHECK(engine.error().text.find("too new") != std::string::npos);
    }
    SECTION("of the next version is taken") {
        SqliteEngine::open(io, path).value().reset();
        Connection(path, Connection::Mode::writer, Durability::strict)
            .script("UPDATE meta SET value=value+1 WHERE key='schema'");
        CHECK(SqliteEngine::open(io, path).has_value());
    }
    SECTION("of another program") {
        Connection(path, Connection::Mode::writer, Durability::strict).script("CREATE TABLE t(x)");
        CHECK(SqliteEngine::open(io, path).error().error == StorageError::schema);
    }
    SECTION("no data base at all") {
        std::ofstream(path) << std::string(8192, 'x');
        CHECK(SqliteEngine::open(io, path).error().error == StorageError::corrupt);
    }
    SECTION("in no folder") {
        CHECK(SqliteEngine::open(io, (dir.path() / "no" / "hexad.db").string()).error().error ==
              StorageError::unavailable);
    }
}

TEST_CASE("accounts of an older file are kept when it is brought up to date", "[sqlite][schema]") {
    const TempDir dir;
    asio::io_context io;
    const auto path = (dir.path() / "hexad.db").string();
    {
        Connection db(path, Connection::Mode::writer, Durability::strict);
        db.script("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)");
        for (const auto& migration : sqlite_migrations()) {
            if (migration.number <= 5) db.script(std::string(migration.sql));
        }
        db.script(
            "INSERT INTO meta VALUES('jid_profile', 'nodeprep'), ('schema', '5');"
            "INSERT INTO host(name) VALUES('example.test');"
            "INSERT INTO account(host, localpart, created) SELECT id, 'romeo', 1 FROM host");
    }
    CHECK(SqliteEngine::open(io, path).error().text.find("--migrate") != std::string::npos);
    SqliteEngine::Options options;
    options.migrate = true;
    const auto engine = SqliteEngine::open(io, path, options).value();
    const auto row = *wait_for(io, engine->store().find_account(jid("romeo@example.test"))).value();
    CHECK(row.facts == PlacingFacts{});
}

TEST_CASE("what was committed survives kill -9", "[sqlite][delivery-10]") {
    const TempDir dir;
    const auto path = (dir.path() / "hexad.db").string();
    int told[2];
    REQUIRE(::pipe(told) == 0);
    const auto child = ::fork();
    if (child == 0) {
        ::alarm(30);
        asio::io_context io;
        auto engine = SqliteEngine::open(io, path).value();
        AccountRow row;
        row.jid = jid("romeo@example.test");
        const auto from = wait_for(io, engine->store().create_account(row, {})).value();
        row.jid = jid("juliet@example.test");
        const auto to = wait_for(io, engine->store().create_account(row, {})).value();
        engine->committer().submit(binding(from, to), [](const CommitOutcome&, Batch&) {});
        for (std::uint64_t n = 1; n <= 2000; ++n) {
            engine->committer().submit(chat(from, to, n), [&told](const CommitOutcome&, Batch& batch) {
                const auto safe = batch.origin.n;
                if (::write(told[1], &safe, sizeof safe) < 0) ::_exit(1);
                if (safe == 500) ::kill(::getpid(), SIGKILL);
            });
        }
        io.restart();
        io.run();
        ::_exit(1);
    }
    ::close(told[1]);
    std::uint64_t safe = 0;
    for (std::uint64_t n = 0; ::read(told[0], &n, sizeof n) == sizeof n;) safe = n;
    ::close(told[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(safe == 500);

    asio::io_context io;
    auto engine = SqliteEngine::open(io, path).value();
    const auto to = *wait_for(io, engine->store().find_account(jid("juliet@example.test"))).value();
    const auto claimed =
        must(wait_for(io, engine->session_log().claim("target-session-0123456789abcd", to.id, "n1")));
    const auto from = *wait_for(io, engine->store().find_account(jid("romeo@example.test"))).value();
    const auto sender =
        must(wait_for(io, engine->session_log().claim("sender-session-0123456789abcd", from.id, "n1")));
    CHECK(sender.record.in >= safe);
    CHECK(claimed.entries.size() == sender.record.in);
    CHECK(wait_for(io, engine->store().archive_page(to.id, {})).value().count == sender.record.in);
}

TEST_CASE("a full disk holds everything back, and nothing is lost when there is room again",
          "[sqlite][fault]") {
    const TempDir dir;
    asio::io_context io;
    const auto path = (dir.path() / "w.db").string();
    Connection db(path, Connection::Mode::writer, Durability::strict);
    db.script("CREATE TABLE t(x TEXT); PRAGMA max_page_count=4");
    struct Insert final : sqlite::Job {
        Insert(std::vector<int>& l, int n) : log(l), number(n) {}
        void run(Connection& c) override {
            ++runs;
            if (runs > 2) c.script("PRAGMA max_page_count=100000");  // somebody made room
            if (number == 2) c.run("INSERT INTO nowhere VALUES(1)");
            c.run("INSERT INTO t VALUES(?1)", std::string(9000, 'x'));
        }
        void committed() override { log.push_back(number); }
        void failed(const sqlite::Failure&) override { log.push_back(-number); }
        std::vector<int>& log;
        int number;
        int runs = 0;
    };
    std::vector<int> log;
    int rollbacks = 0;
    {
        sqlite::GroupWriter writer(io, db,
                                   {.retry = milliseconds(20), .rolled_back = [&rollbacks] { ++rollbacks; }});
        for (int n = 1; n <= 3; ++n) writer.submit(std::make_unique<Insert>(log, n));
        io.run();
        CHECK(writer.healthy());
    }
    CHECK(log == std::vector<int>{1, -2, 3});  // the one that can never be written is told so in its place
    CHECK(rollbacks >= 2);
    Connection reader(path, Connection::Mode::reader, Durability::strict);
    auto count = reader.query("SELECT count(*) FROM t");
    REQUIRE(count.next());
    CHECK(count.integer(0) == 2);
}

TEST_CASE("a row that makes no sense is an error of that account, not of the server", "[sqlite][fault]") {
    const TempDir dir;
    asio::io_context io;
    const auto path = (dir.path() / "hexad.db").string();
    auto engine = SqliteEngine::open(io, path).value();
    AccountRow row;
    row.jid = jid("romeo@example.test");
    REQUIRE(wait_for(io, engine->store().create_account(row, {})));
    Connection(path, Connection::Mode::writer, Durability::strict)
        .script(
            "INSERT INTO roster_item VALUES(1,'@@','','',9,0,0,1,''); "
            "INSERT INTO sm_session VALUES(1,'bad',1,'@','n1',1,1,0,2,0,1,0,''); INSERT INTO sm_counter "
            "VALUES(1,0)");
    CHECK(wait_for(io, engine->store().load_account(row.jid)).error() == StorageError::corrupt);
    CHECK(wait_for(io, engine->store().find_account(row.jid)).value());
    CHECK(wait_for(io, engine->session_log().load_sessions()).value().empty());
    CHECK(wait_for(io, engine->session_log().claim("bad", 1, "n1")).error() == ClaimRefusal::unavailable);
}

TEST_CASE("cost of a chat message in the writer", "[.bench]") {
    const TempDir dir;
    const bool relaxed = GENERATE(false, true);
    const std::size_t group = GENERATE(1U, 10U, 100U);
    asio::io_context io;
    SqliteEngine::Options options;
    options.durability = relaxed ? Durability::relaxed : Durability::strict;
    options.max_group = group;
    auto engine = SqliteEngine::open(io, (dir.path() / "hexad.db").string(), options).value();
    std::vector<AccountId> accounts;
    for (int i = 0; i < 1000; ++i) {
        AccountRow row;
        row.jid = jid("user" + std::to_string(i) + "@example.test");
        accounts.push_back(wait_for(io, engine->store().create_account(row, {})).value());
    }
    engine->committer().submit(binding(accounts[0], accounts[1]), [](const CommitOutcome&, Batch&) {});
    constexpr std::uint64_t count = 20'000;
    std::vector<Batch> batches;
    for (std::uint64_t n = 1; n <= count; ++n) {
        batches.push_back(chat(accounts[n * 7919 % 1000], accounts[n * 104729 % 1000], n));
    }
    const auto cpu = std::clock();
    const auto start = SteadyClock::now();
    std::uint64_t done = 0;
    for (auto& batch : batches) {
        engine->committer().submit(std::move(batch), [&done, &engine](const CommitOutcome& o, Batch& b) {
            if (o.status == CommitStatus::ok) ++done;
            if (b.origin.n % 50 == 0)
                engine->session_log().ack("target-session-0123456789abcd", {1, 1}, b.origin.n);
        });
    }
    io.restart();
    io.run();
    const auto us = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC * 1e6 / count;
    const std::chrono::duration<double> wall = SteadyClock::now() - start;
    REQUIRE(done == count);
    WARN((relaxed ? "relaxed" : "strict")
         << ", groups of " << group << ": " << us << " us of CPU a message (whole process), "
         << count / wall.count() << " messages/s");
}

// The session log on SQLite: delivery protocol §2–§5, §10.
#include <catch2/catch.hpp>

#include "storage/sqlite/engine.hpp"
#include "storage/testing/backend.hpp"

using namespace hexad;
using namespace hexad::testing;

namespace {

constexpr Epoch first_epoch{1, 1};

/// An engine with the accounts juliet and romeo.
struct World {
    World() { open(); }
    void open() {
        engine.reset();
        engine = SqliteEngine::open(io, (dir.path() / "hexad.db").string()).value();
        if (juliet == 0) {
            AccountRow row;
            row.jid = jid("juliet@example.test");
            juliet = run(engine->store().create_account(row, {})).value();
            row.jid = jid("romeo@example.test");
            romeo = run(engine->store().create_account(row, {})).value();
        }
    }
    template <class T>
    T run(awaitable<T> what) {
        return wait_for(io, std::move(what));
    }
    SessionLog& log() { return engine->session_log(); }
    std::vector<CommitOutcome> commit(std::vector<Batch> batches) {
        std::vector<CommitOutcome> out;
        for (auto& b : batches) {
            engine->committer().submit(std::move(b),
                                       [&out](const CommitOutcome& o, Batch&) { out.push_back(o); });
        }
        io.restart();
        io.run();
        return out;
    }
    CommitOutcome commit(Batch batch) {
        std::vector<Batch> one;
        one.push_back(std::move(batch));
        return commit(std::move(one)).front();
    }
    SessionRecord bind(const std::string& sid, AccountId account, SessionMode mode = SessionMode::live) {
        SessionRecord record;
        record.sid = sid;
        record.account = account;
        record.jid = jid((account == juliet ? "juliet@example.test/" : "romeo@example.test/") + sid);
        record.node = "n1";
        record.epoch = first_epoch;
        record.mode = mode;
        record.resumable = true;
        record.state = std::string("st\0ate", 6);
        Batch batch;
        batch.sessions.push_back(record);
        REQUIRE(commit(batch).status == CommitStatus::ok);
        return record;
    }
    std::vector<LogEntry> entries(const std::string& sid, AccountId account) {
        return must(run(log().claim(sid, account, "n1"))).entries;
    }

    TempDir dir;
    asio::io_context io;
    std::unique_ptr<SqliteEngine> engine;
    AccountId juliet = 0;
    AccountId romeo = 0;
};

/// The n-th stanza of `source`, without effects.
Batch input(const std::string& source, std::uint64_t n, Epoch epoch = first_epoch) {
    Batch batch;
    batch.origin = {source, n, 0};
    batch.epoch = epoch;
    batch.advances = true;
    batch.previous = n - 1;
    return batch;
}

LogAppend entry(const std::string& target, const std::string& id, Origin origin, AccountId owner) {
    LogAppend append;
    append.sid = target;
    append.origin = std::move(origin);
    append.stanza_id = id;
    append.owner = owner;
    append.xml = make_bytes("<message id='" + id + "'><body>x</body></message>");
    return append;
}

Batch message(const World& w, const std::string& source, std::uint64_t n, const std::string& target) {
    auto batch = input(source, n);
    batch.appends.push_back(entry(target, "m" + std::to_string(n), batch.origin, w.juliet));
    return batch;
}

std::vector<std::string> ids(const std::vector<LogEntry>& entries) {
    std::vector<std::string> out;
    for (const auto& e : entries) out.push_back(e.stanza_id);
    return out;
}

using Ids = std::vector<std::string>;

Batch offline_message(const World& w, int i) {
    Batch batch;
    const auto id = "o" + std::to_string(i);
    batch.archive.push_back(archived(w.juliet, id, "romeo@example.test", i));
    batch.offline.push_back(
        {w.juliet, id, jid("romeo@example.test/r"), at(i), make_bytes("<message id='" + id + "'/>")});
    return batch;
}

}  // namespace

TEST_CASE("a stanza advances its session once", "[sm][delivery-3]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    const auto one = message(w, "r", 1, "j");
    auto outcome = w.commit(one);
    CHECK(outcome.status == CommitStatus::ok);
    CHECK(outcome.positions == std::vector<std::uint64_t>{1});

    outcome = w.commit(one);  // the whole batch again
    CHECK(outcome.status == CommitStatus::ok);
    CHECK(outcome.positions == std::vector<std::uint64_t>{0});
    CHECK(w.commit(message(w, "r", 3, "j")).status == CommitStatus::out_of_order);
    auto gap = message(w, "r", 4, "j");
    gap.previous = 1;  // 2 and 3 had no effects
    CHECK(w.commit(gap).status == CommitStatus::ok);
    auto stale = message(w, "r", 5, "j");
    stale.epoch = {1, 0};
    CHECK(w.commit(stale).status == CommitStatus::not_owner);
    CHECK(w.commit(message(w, "nobody", 1, "j")).status == CommitStatus::not_owner);
    CHECK(ids(w.entries("j", w.juliet)) == Ids{"m1", "m4"});
    CHECK(must(w.run(w.log().claim("r", w.romeo, "n1"))).record.in == 4);
}

TEST_CASE("a refused batch has written nothing, and those behind it wait for it", "[sm]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    auto refused = message(w, "r", 1, "j");
    refused.archive.push_back(archived(w.romeo, "m1", "juliet@example.test", 1));
    AccountChange change;
    change.account = w.romeo;
    change.base_version = 7;
    refused.accounts.push_back(change);
    const auto outcomes = w.commit({refused, message(w, "r", 2, "j"), message(w, "j", 1, "r")});
    REQUIRE(outcomes.size() == 3);
    CHECK(outcomes[0].status == CommitStatus::version_moved);
    CHECK(outcomes[1].status == CommitStatus::out_of_order);
    CHECK(outcomes[2].status == CommitStatus::ok);
    CHECK(w.run(w.engine->store().archive_page(w.romeo, {})).value().count == 0);
    CHECK(w.entries("j", w.juliet).empty());
    CHECK(w.commit({message(w, "r", 1, "j"), message(w, "r", 2, "j")})[1].status == CommitStatus::ok);
}

TEST_CASE("a target takes an origin once and in rising order", "[sm][delivery-1]") {
    World w;
    w.bind("j", w.juliet);
    const auto append = [&](std::uint64_t n, std::uint32_t sub) {
        Batch batch;
        batch.appends.push_back(entry("j", "x", {"room:hall@rooms.test", n, sub}, w.juliet));
        return w.commit(batch).positions.front();
    };
    CHECK(append(1, 0) == 1);
    CHECK(append(1, 0) == 0);
    CHECK(append(1, 1) == 2);
    CHECK(append(3, 0) == 3);
    CHECK(append(2, 5) == 0);
    CHECK(append(3, 1) == 4);
    Batch other;
    other.appends.push_back(entry("j", "x", {"room:other@rooms.test", 1, 0}, w.juliet));
    other.appends.push_back(entry("gone", "x", {"room:other@rooms.test", 1, 0}, w.juliet));
    CHECK(w.commit(other).positions == std::vector<std::uint64_t>{5, 0});
    w.open();
    CHECK(append(3, 1) == 0);
    CHECK(append(3, 2) == 6);
}

TEST_CASE("positions go on after entries have gone and the engine was restarted", "[sm][delivery-11]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    w.commit({message(w, "r", 1, "j"), message(w, "r", 2, "j"), message(w, "r", 3, "j")});
    w.log().ack("j", first_epoch, 2);
    CHECK(w.commit(message(w, "r", 4, "j")).positions.front() == 4);
    w.log().ack("j", first_epoch, 99);
    w.open();
    CHECK(w.commit(message(w, "r", 5, "j")).positions.front() == 5);
    const auto claimed = must(w.run(w.log().claim("j", w.juliet, "n1")));
    CHECK(claimed.record.last == 5);
    REQUIRE(claimed.entries.size() == 1);
    CHECK(claimed.entries[0].position == 5);
    CHECK(*claimed.entries[0].xml == "<message id='m5'><body>x</body></message>");
    CHECK(claimed.entries[0].origin == Origin{"r", 5, 0});
}

TEST_CASE("a claim raises the epoch and shuts the old carrier out", "[sm][delivery-4]") {
    World w;
    const auto record = w.bind("j", w.juliet);
    w.bind("r", w.romeo);
    auto numbered = message(w, "r", 1, "j");
    numbered.appends[0].number = 17;
    w.commit(numbered);
    CHECK(w.run(w.log().claim("zz", w.juliet, "n2")).error() == ClaimRefusal::unknown);
    CHECK(w.run(w.log().claim("j", w.romeo, "n2")).error() == ClaimRefusal::other_account);
    const auto claimed = must(w.run(w.log().claim("j", w.juliet, "n2")));
    CHECK(claimed.record.epoch == Epoch{1, 2});
    CHECK(claimed.record.node == "n2");
    CHECK(claimed.record.jid == record.jid);
    CHECK(claimed.record.state == record.state);
    CHECK(claimed.record.resumable);
    REQUIRE(claimed.entries.size() == 1);
    CHECK(claimed.entries[0].number == 17);

    CHECK(w.commit(input("j", 1)).status == CommitStatus::not_owner);
    CHECK_FALSE(w.run(w.log().settle("j", first_epoch, 17)).value());
    CHECK_FALSE(w.run(w.log().number("j", first_epoch, {{1, 5}})).value());
    CHECK_FALSE(w.run(w.log().fill("j", first_epoch)).has_value());
    CHECK_FALSE(w.run(w.log().end("j", first_epoch)).has_value());
    w.log().ack("j", first_epoch, 1);
    Batch detach;
    detach.sessions.push_back(record);
    detach.sessions[0].phase = SessionPhase::detached;
    CHECK(w.commit(detach).status == CommitStatus::not_owner);
    CHECK(w.entries("j", w.juliet).size() == 1);

    const auto all = w.run(w.log().load_sessions()).value();
    CHECK(all.size() == 2);
}

TEST_CASE("settle drops what the client has and voids all other numbers", "[sm][delivery-4]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    // The count wraps at 2^32: 4294967294, 4294967295, 0 (none given), 1.
    std::uint32_t number = 4294967294U;
    for (std::uint64_t n = 1; n <= 4; ++n) {
        auto batch = message(w, "r", n, "j");
        batch.appends[0].number = n == 3 ? 0 : number + static_cast<std::uint32_t>(n - 1);
        w.commit(batch);
    }
    const auto claimed = must(w.run(w.log().claim("j", w.juliet, "n1")));
    REQUIRE(w.run(w.log().settle("j", claimed.record.epoch, 4294967295U)).value());
    auto left = must(w.run(w.log().claim("j", w.juliet, "n1")));
    CHECK(ids(left.entries) == Ids{"m3", "m4"});
    CHECK(left.entries[0].number == 0);
    CHECK(left.entries[1].number == 0);
    REQUIRE(w.run(w.log().number("j", left.record.epoch, {{3, 0x80000000U}, {4, 0x80000001U}})).value());
    left = must(w.run(w.log().claim("j", w.juliet, "n1")));
    CHECK(left.entries[1].number == 0x80000001U);
    CHECK(left.record.last == 4);
}

TEST_CASE("the backlog comes in portions and before what arrived meanwhile", "[sm][delivery-5]") {
    World w;
    w.bind("r", w.romeo);
    for (int i = 1; i <= 205; ++i) w.commit(offline_message(w, i));
    w.bind("j", w.juliet, SessionMode::filling);
    auto held = message(w, "r", 1, "j");
    held.appends[0].held = true;
    CHECK(w.commit(held).positions.front() == 0);

    auto part = w.run(w.log().fill("j", first_epoch)).value();
    REQUIRE(part.entries.size() == 100);
    CHECK_FALSE(part.finished);
    CHECK(part.entries[0].stanza_id == "o1");
    CHECK(part.entries[99].position == 100);
    w.open();  // a crash in between
    held = message(w, "r", 2, "j");
    held.appends[0].held = true;
    CHECK(w.commit(held).positions.front() == 0);
    CHECK(w.run(w.log().fill("j", first_epoch)).value().entries.size() == 100);
    part = w.run(w.log().fill("j", first_epoch)).value();
    CHECK(part.finished);
    CHECK(ids(part.entries) == Ids{"o201", "o202", "o203", "o204", "o205", "m1", "m2"});
    CHECK(part.entries.back().position == 207);
    CHECK(w.run(w.engine->store().offline_count(w.juliet)).value() == 0);

    // Decided before the last fill, committed after it; and a record from before it does not turn the mode
    // back.
    held = message(w, "r", 3, "j");
    held.appends[0].held = true;
    CHECK(w.commit(held).positions.front() == 208);
    const auto claimed = must(w.run(w.log().claim("j", w.juliet, "n1")));
    CHECK(claimed.record.mode == SessionMode::live);
    CHECK(claimed.entries.size() == 208);
    Batch late;
    late.sessions.push_back(claimed.record);
    late.sessions[0].mode = SessionMode::filling;
    CHECK(w.commit(late).status == CommitStatus::ok);
    CHECK(must(w.run(w.log().claim("j", w.juliet, "n1"))).record.mode == SessionMode::live);
    CHECK(w.commit(offline_message(w, 7)).status == CommitStatus::ok);  // the same row again: done stays done
    CHECK(w.run(w.engine->store().offline_count(w.juliet)).value() == 0);
}

TEST_CASE("exactly one portion of backlog finishes at once, as does none", "[sm][delivery-5]") {
    World w;
    for (int i = 1; i <= 100; ++i) w.commit(offline_message(w, i));
    w.bind("j", w.juliet, SessionMode::filling);
    const auto all = w.run(w.log().fill("j", first_epoch)).value();
    CHECK(all.entries.size() == 100);
    CHECK(all.finished);
    w.bind("k", w.juliet, SessionMode::filling);
    const auto none = w.run(w.log().fill("k", first_epoch)).value();
    CHECK(none.entries.empty());
    CHECK(none.finished);
}

TEST_CASE("an ended session gives back what nobody has got, in the order of the archive",
          "[sm][delivery-5]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    w.bind("j2", w.juliet);
    std::uint64_t n = 0;
    const auto put = [&](const std::string& id, EntryKind kind, std::vector<std::string> co, bool archive) {
        auto batch = input("r", ++n);
        auto one = entry("j", id, batch.origin, w.juliet);
        one.kind = kind;
        one.co_targets = std::move(co);
        if (kind == EntryKind::iq) one.xml = make_bytes("<iq type='" + id + "' id='q'/>");
        batch.appends.push_back(one);
        if (archive)
            batch.archive.push_back(
                archived(w.juliet, id, "romeo@example.test/r", static_cast<std::int64_t>(n)));
        REQUIRE(w.commit(batch).status == CommitStatus::ok);
    };
    put("acked", EntryKind::message, {}, true);
    put("late", EntryKind::message, {}, false);
    put("due", EntryKind::message, {"gone"}, true);
    put("elsewhere", EntryKind::message, {"gone", "j2"}, true);
    put("carbon", EntryKind::carbon, {}, true);
    put("room", EntryKind::room, {}, false);
    put("chatstate", EntryKind::transient, {}, false);
    put("get", EntryKind::iq, {}, false);
    put("result", EntryKind::iq, {}, false);
    w.log().ack("j", first_epoch, 1);
    auto ended = w.run(w.log().end("j", first_epoch)).value();
    CHECK(ended.stored == Ids{"late", "due"});
    CHECK(ids(ended.unanswered) == Ids{"get"});
    CHECK(w.run(w.log().claim("j", w.juliet, "n1")).error() == ClaimRefusal::unknown);

    ended = w.run(w.log().end("j", first_epoch)).value();  // again
    CHECK(ended.stored.empty());
    auto tomb = w.run(w.log().tomb("j")).value();
    REQUIRE(tomb);
    CHECK(tomb->jid == jid("juliet@example.test/j"));
    CHECK_FALSE(w.run(w.log().tomb("zz")).value());

    w.bind("j3", w.juliet, SessionMode::filling);
    const auto filled = w.run(w.log().fill("j3", first_epoch)).value();
    CHECK(ids(filled.entries) ==
          Ids{"due", "late"});  // `late` has no archive row: its place is when it was stored
    CHECK(*filled.entries[0].xml ==
          "<message id='due'><body>x</body><delay xmlns='urn:xmpp:delay' from='example.test' "
          "stamp='2023-11-14T22:13:23.000000Z'/></message>");
}

TEST_CASE("what one device acknowledged before it left is not due when the other one ends",
          "[sm][delivery-5]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    w.bind("j2", w.juliet);
    auto batch = input("r", 1);
    batch.appends = {entry("j", "m", batch.origin, w.juliet), entry("j2", "m", batch.origin, w.juliet)};
    batch.appends[0].co_targets = {"j2"};
    batch.appends[1].co_targets = {"j"};
    w.commit(batch);
    w.log().ack("j", first_epoch, 1);
    CHECK(w.run(w.log().end("j", first_epoch)).value().stored.empty());
    CHECK(w.run(w.log().end("j2", first_epoch)).value().stored.empty());
    CHECK(w.run(w.engine->store().offline_count(w.juliet)).value() == 0);
}

TEST_CASE("the last of several devices to end gives an unacknowledged message back, once",
          "[sm][delivery-5]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    w.bind("j2", w.juliet);
    auto batch = input("r", 1);
    batch.appends = {entry("j", "m", batch.origin, w.juliet), entry("j2", "m", batch.origin, w.juliet)};
    batch.appends[0].co_targets = {"j2"};
    batch.appends[1].co_targets = {"j"};
    w.commit(batch);
    CHECK(w.run(w.log().end("j", first_epoch)).value().stored.empty());
    CHECK(w.run(w.log().end("j2", first_epoch)).value().stored == Ids{"m"});
}

TEST_CASE("a session that ends during its backlog gives back both what was filled and what was held",
          "[sm]") {
    World w;
    w.bind("r", w.romeo);
    for (int i = 1; i <= 101; ++i) w.commit(offline_message(w, i));
    w.bind("j", w.juliet, SessionMode::filling);
    CHECK(w.run(w.log().fill("j", first_epoch)).value().entries.size() == 100);
    auto held = message(w, "r", 1, "j");
    held.appends[0].held = true;
    held.archive.push_back(archived(w.juliet, "m1", "romeo@example.test/r", 200));
    w.commit(held);
    CHECK(w.run(w.log().end("j", first_epoch)).value().stored.size() == 101);
    w.bind("k", w.juliet, SessionMode::filling);
    const auto one = w.run(w.log().fill("k", first_epoch)).value();
    const auto two = w.run(w.log().fill("k", first_epoch)).value();
    CHECK(one.entries.front().stanza_id == "o1");
    CHECK(one.entries.size() == 100);
    CHECK(ids(two.entries) == Ids{"o101", "m1"});
}

TEST_CASE("an ended session does not come back by a late record", "[sm]") {
    World w;
    const auto record = w.bind("j", w.juliet);
    REQUIRE(w.run(w.log().end("j", first_epoch)).has_value());
    Batch late;
    late.sessions.push_back(record);
    CHECK(w.commit(late).status == CommitStatus::not_owner);
    CHECK(w.run(w.log().load_sessions()).value().empty());
}

TEST_CASE("the stanza that binds brings its own session", "[sm]") {
    World w;
    auto batch = input("j", 3);
    SessionRecord record;
    record.sid = "j";
    record.account = w.juliet;
    record.jid = jid("juliet@example.test/j");
    record.epoch = first_epoch;
    batch.sessions.push_back(record);
    CHECK(w.commit(batch).status == CommitStatus::ok);
    CHECK(w.commit(input("j", 4)).status == CommitStatus::ok);
    w.open();
    const auto all = w.run(w.log().load_sessions()).value();
    REQUIRE(all.size() == 1);
    CHECK(all[0].in == 4);
}

TEST_CASE("a room takes its inputs in one order and steps through them once", "[sm][muc][delivery-6]") {
    World w;
    w.bind("r", w.romeo);
    const auto room = jid("hall@rooms.test");
    const auto speak = [&](std::uint64_t n) {
        auto batch = input("r", n);
        batch.room_inputs.push_back(
            {room, batch.origin, "r", jid("romeo@example.test/r"), make_bytes("<message/>")});
        return batch;
    };
    CHECK(w.commit(speak(1)).room_positions == std::vector<std::uint64_t>{1});
    CHECK(w.commit(speak(1)).room_positions == std::vector<std::uint64_t>{0});
    CHECK(w.commit(speak(2)).room_positions == std::vector<std::uint64_t>{2});
    auto inbox = w.run(w.log().room_inbox(room, 0, 10)).value();
    REQUIRE(inbox.size() == 2);
    CHECK(inbox[0].position == 1);
    CHECK(inbox[0].input.from == jid("romeo@example.test/r"));
    CHECK(inbox[0].input.sid == "r");
    CHECK(inbox[1].input.origin == Origin{"r", 2, 0});
    CHECK(w.run(w.log().room_inbox(room, 1, 10)).value().size() == 1);
    CHECK(w.run(w.log().room_inbox(room, 0, 1)).value().size() == 1);
    CHECK(w.run(w.log().active_rooms()).value() == std::vector{room});

    Batch step;
    step.origin = {"room:hall@rooms.test", 1, 0};
    step.room_step = true;
    step.room_position = 1;
    step.occupants.push_back({room, "r", std::string("occ\0", 4), false});
    auto echo = entry("r", "echo", step.origin, w.romeo);
    echo.kind = EntryKind::room;
    step.appends.push_back(echo);
    CHECK(w.commit(step).positions.front() == 1);
    CHECK(w.commit(step).positions.front() == 0);
    w.open();
    auto state = w.run(w.log().room_state(room)).value();
    CHECK(state.position == 1);
    REQUIRE(state.occupants.size() == 1);
    CHECK(state.occupants[0].bytes == std::string("occ\0", 4));
    CHECK(w.run(w.log().room_inbox(room, 0, 10)).value().size() == 1);

    step.origin.n = 2;
    step.room_position = 2;
    step.appends.clear();
    step.occupants[0].removed = true;
    w.commit(step);
    CHECK(w.run(w.log().active_rooms()).value().empty());
    w.open();
    CHECK(w.commit(speak(3)).room_positions == std::vector<std::uint64_t>{3});
    CHECK(w.run(w.log().room_state(jid("other@rooms.test"))).value().position == 0);
}

TEST_CASE("a room step of an old owner changes nothing", "[sm][muc]") {
    World w;
    const auto room = w.run(w.engine->store().create_room(jid("hall@rooms.test"), "n1", "c")).value().room;
    Batch step;
    step.origin = {"room:hall@rooms.test", 1, 0};
    step.epoch = {1, room.epoch};
    step.room_step = true;
    step.room_position = 1;
    CHECK(w.commit(step).status == CommitStatus::ok);
    step.room_position = 2;
    step.epoch.e += 1;
    CHECK(w.commit(step).status == CommitStatus::not_owner);
    CHECK(w.run(w.log().room_state(jid("hall@rooms.test"))).value().position == 1);
}

TEST_CASE("operations and batches are executed in the order of the calls", "[sm]") {
    World w;
    w.bind("r", w.romeo);
    w.bind("j", w.juliet);
    std::vector<std::string> order;
    const auto done = [&order](const std::string& name) {
        return [&order, name](const CommitOutcome& o, Batch&) {
            order.push_back(name + (o.status == CommitStatus::ok ? "+" : "-"));
        };
    };
    w.engine->committer().submit(message(w, "r", 1, "j"), done("one"));
    asio::co_spawn(w.io, w.log().claim("r", w.romeo, "n2"), [&order](std::exception_ptr, auto claimed) {
        order.push_back("claim " + std::to_string(claimed->record.in));
    });
    w.io.restart();
    w.io.poll();  // the claim is made here
    w.engine->committer().submit(message(w, "r", 2, "j"), done("two"));
    CHECK(w.engine->committer().pending_bytes() > 0);
    w.io.restart();
    w.io.run();
    CHECK(order == std::vector<std::string>{"one+", "claim 1", "two-"});
    CHECK(w.engine->committer().pending_bytes() == 0);
}

// What every back end of the store promises; each case runs on each of them.
#include <numeric>

#include <catch2/catch.hpp>

#include "storage/testing/backend.hpp"

using namespace hexad;
using namespace hexad::testing;

namespace {

template <class Body>
void on_each_backend(Body body) {
    for (const auto& kind : backend_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            const auto backend = kind.make();
            body(*backend);
        }
    }
}

RosterItem contact(std::string_view bare, Subscription subscription) {
    RosterItem item;
    item.jid = jid(bare);
    item.name = "The " + std::string(bare);
    item.groups = {"Court", "Ädle & Co"};
    item.subscription = subscription;
    return item;
}

Batch change(AccountChange one) {
    Batch batch;
    batch.accounts.push_back(std::move(one));
    return batch;
}

std::vector<std::string> ids(const ArchivePage& page) {
    std::vector<std::string> out;
    for (const auto& item : page.items) out.push_back(item.stanza_id);
    return out;
}

using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE("an account is found, listed, locked and removed", "[store]") {
    on_each_backend([](Backend& b) {
        AccountRow row;
        row.jid = jid("juliet@example.test");
        row.home_node = "n1";
        const ScramCredential key{"SCRAM-SHA-256", std::string("sa\0lt", 5), 4096,
                                  std::string("\xff\x00k", 3), "server"};
        const auto id = b(b.store().create_account(row, {key}));
        REQUIRE(id);
        CHECK(b(b.store().create_account(row, {})).error() == StorageError::conflict);
        add_account(b, "romeo@example.test");
        add_account(b, "nurse@example.test");
        add_account(b, "juliet@other.test");

        const auto keys = b(b.store().credentials(*id)).value();
        REQUIRE(keys.size() == 1);
        CHECK(keys[0].mechanism == "SCRAM-SHA-256");
        CHECK(keys[0].salt == key.salt);
        CHECK(keys[0].iterations == 4096);
        CHECK(keys[0].stored_key == key.stored_key);

        const auto found = b(b.store().find_account(jid("juliet@example.test"))).value();
        REQUIRE(found);
        CHECK(found->home_node == "n1");
        CHECK(found->created > Timestamp{});
        CHECK_FALSE(b(b.store().find_account(jid("nobody@example.test"))).value());

        auto page = b(b.store().list_accounts("example.test", "", 2)).value();
        REQUIRE(page.size() == 2);
        CHECK(page[0].jid == jid("juliet@example.test"));
        page = b(b.store().list_accounts("example.test", std::string(page[1].jid.local()), 2)).value();
        REQUIRE(page.size() == 1);
        CHECK(page[0].jid == jid("romeo@example.test"));
        const auto counts = b(b.store().assignment_counts()).value();
        CHECK(counts.at("n1") == 1);
        CHECK(counts.at("") == 3);

        CHECK(b(b.store().set_account_state(*id, AccountState::disabled)).value());
        CHECK(b(b.store().load_account(jid("juliet@example.test"))).value()->state == AccountState::disabled);
        CHECK(b(b.store().set_credentials(*id, {})).value());
        CHECK(b(b.store().credentials(*id)).value().empty());
        CHECK(b(b.store().remove_account(*id)).value());
        CHECK_FALSE(b(b.store().remove_account(*id)).value());
        CHECK_FALSE(b(b.store().set_account_state(*id, AccountState::active)).value());
        CHECK_FALSE(b(b.store().load_account(jid("juliet@example.test"))).value());
        CHECK(add_account(b, "juliet@example.test") > *id);
    });
}

TEST_CASE("a removed account leaves nothing to the next one of that name", "[store]") {
    on_each_backend([](Backend& b) {
        const auto first = add_account(b, "juliet@example.test");
        Batch batch;
        batch.archive.push_back(archived(first, "a1", "romeo@example.test", 1));
        batch.documents.push_back({first, "vcard", "", "<vCard/>"});
        batch.offline.push_back({first, "a1", jid("romeo@example.test"), at(1), make_bytes("<message/>")});
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        REQUIRE(b(b.store().remove_account(first)).value());
        const auto second = add_account(b, "juliet@example.test");
        CHECK(b(b.store().archive_page(second, {})).value().count == 0);
        CHECK(b(b.store().archive_page(first, {})).value().count == 0);
        CHECK(b(b.store().offline_count(second)).value() == 0);
        CHECK(b(b.store().document(second, "vcard", "")).value().empty());
    });
}

TEST_CASE("a roster change is taken on the version it was decided on, and on no other", "[store]") {
    on_each_backend([](Backend& b) {
        AccountChange add;
        add.account = add_account(b, "juliet@example.test");
        add.put = {contact("romeo@example.test", Subscription::both),
                   contact("gateway.test", Subscription::from)};
        add.put[0].ask = true;
        add.put[1].approved = true;
        add.put[1].listed = false;
        add.put[1].pending_in = "<presence type='subscribe'/>";
        add.block = {jid("paris@example.test"), jid("tybalt@example.test/sword")};
        AccountData memory = *b(b.store().load_account(jid("juliet@example.test"))).value();
        CHECK(memory.version == 0);
        REQUIRE(b.commit(change(add)) == CommitStatus::ok);
        add.apply_to(memory);
        auto stored = *b(b.store().load_account(jid("juliet@example.test"))).value();
        CHECK(stored.roster == memory.roster);
        CHECK(stored.blocked == memory.blocked);
        CHECK(stored.version == 1);
        CHECK(stored.roster_version == 1);

        CHECK(b.commit(change(add)) == CommitStatus::version_moved);

        AccountChange next;
        next.account = add.account;
        next.base_version = 1;
        next.unblock = {jid("paris@example.test")};
        next.archive =
            ArchivePreferences{ArchiveDefault::roster, {"romeo@example.test"}, {"paris@example.test"}};
        REQUIRE(b.commit(change(next)) == CommitStatus::ok);
        next.apply_to(memory);
        b.reopen();
        stored = *b(b.store().load_account(jid("juliet@example.test"))).value();
        CHECK(stored.blocked == memory.blocked);
        CHECK(stored.archive == memory.archive);
        CHECK(stored.version == 2);
        CHECK(stored.roster_version == 1);

        AccountChange last;
        last.account = add.account;
        last.base_version = 2;
        last.remove = {jid("romeo@example.test")};
        REQUIRE(b.commit(change(last)) == CommitStatus::ok);
        stored = *b(b.store().load_account(jid("juliet@example.test"))).value();
        CHECK(stored.roster.size() == 1);
        CHECK(stored.roster_version == 3);
    });
}

TEST_CASE("changes in one group see each other", "[store]") {
    on_each_backend([](Backend& b) {
        AccountChange first;
        first.account = add_account(b, "juliet@example.test");
        first.put = {contact("romeo@example.test", Subscription::to)};
        auto second = first;
        second.base_version = 1;
        second.put[0].subscription = Subscription::both;
        auto stale = first;
        stale.base_version = 1;
        std::vector<Batch> group;
        group.push_back(change(first));
        group.push_back(change(second));
        group.push_back(change(stale));
        CHECK(b.commit(std::move(group)) ==
              std::vector{CommitStatus::ok, CommitStatus::ok, CommitStatus::version_moved});
        const auto stored = *b(b.store().load_account(jid("juliet@example.test"))).value();
        CHECK(stored.version == 2);
        CHECK(stored.roster.begin()->second.subscription == Subscription::both);
    });
}

TEST_CASE("a document is written, replaced and deleted", "[store]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        const auto put = [&](const std::string& bytes) {
            Batch batch;
            batch.documents.push_back({owner, "private", "storage:bookmarks", bytes});
            return b.commit(std::move(batch));
        };
        CHECK(b(b.store().document(owner, "private", "storage:bookmarks")).value().empty());
        const auto big = std::string("<x>") + std::string(200'000, 'v') + "</x>";
        REQUIRE(put(big) == CommitStatus::ok);
        CHECK(b(b.store().document(owner, "private", "storage:bookmarks")).value() == big);
        REQUIRE(put("<y/>") == CommitStatus::ok);
        b.reopen();
        CHECK(b(b.store().document(owner, "private", "storage:bookmarks")).value() == "<y/>");
        CHECK(b(b.store().document(owner, "vcard", "storage:bookmarks")).value().empty());
        REQUIRE(put("") == CommitStatus::ok);
        CHECK(b(b.store().document(owner, "private", "storage:bookmarks")).value().empty());
    });
}

TEST_CASE("an archive is paged in both directions", "[store][xep0313][xep0059]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        const auto other = add_account(b, "romeo@example.test");
        Batch batch;
        for (int i = 1; i <= 10; ++i) {
            batch.archive.push_back(archived(owner, "m" + std::to_string(i),
                                             i % 2 == 0 ? "romeo@example.test/orchard" : "nurse@example.test",
                                             i));
            batch.archive.push_back(archived(other, "m" + std::to_string(i), "juliet@example.test", i));
        }
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        const auto page = [&](ArchiveQuery query) {
            return b(b.store().archive_page(owner, std::move(query))).value();
        };

        ArchiveQuery query;
        query.limit = 4;
        auto got = page(query);
        CHECK(ids(got) == Ids{"m1", "m2", "m3", "m4"});
        CHECK(got.count == 10);
        CHECK(got.first_index == 0);
        CHECK_FALSE(got.complete);
        CHECK(got.items[0].at == at(1));
        CHECK(got.items[0].xml == "<message id='m1'><body>m1</body></message>");
        query.after_id = "m8";
        got = page(query);
        CHECK(ids(got) == Ids{"m9", "m10"});
        CHECK(got.first_index == 8);
        CHECK(got.complete);
        query.after_id.reset();
        query.before_id = "";
        got = page(query);
        CHECK(ids(got) == Ids{"m7", "m8", "m9", "m10"});
        CHECK(got.first_index == 6);
        CHECK_FALSE(got.complete);
        query.before_id = "m3";
        got = page(query);
        CHECK(ids(got) == Ids{"m1", "m2"});
        CHECK(got.complete);
        query.after_id = "m1";
        query.before_id = "m9";
        got = page(query);
        CHECK(ids(got) == Ids{"m2", "m3", "m4", "m5"});
        CHECK_FALSE(got.complete);
        query.before_id = "m4";
        CHECK(page(query).complete);
        query = {};
        query.after_id = "m10";
        got = page(query);
        CHECK(got.items.empty());
        CHECK(got.complete);
        CHECK(got.count == 10);
        query = {};
        query.limit = 0;
        got = page(query);
        CHECK(got.items.empty());
        CHECK(got.count == 10);

        const auto span = b(b.store().archive_span(owner)).value();
        REQUIRE(span);
        CHECK(span->first.stanza_id == "m1");
        CHECK(span->last.stanza_id == "m10");
        CHECK(span->last.at == at(10));
        CHECK_FALSE(b(b.store().archive_span(other + 1000)).value());
        CHECK(page({}).complete);
    });
}

TEST_CASE("an archive is filtered by contact, time and ids", "[store][xep0313]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        Batch batch;
        batch.archive = {
            archived(owner, "a", "romeo@example.test/orchard", 1),
            archived(owner, "b", "nurse@example.test", 2), archived(owner, "c", "romeo@example.test/tomb", 3),
            archived(owner, "d", "romeo@example.test", 4), archived(owner, "e", "romeo@example.testing", 5)};
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        const auto page = [&](ArchiveQuery query) {
            return b(b.store().archive_page(owner, std::move(query))).value();
        };
        ArchiveQuery query;
        query.with = jid("romeo@example.test");
        CHECK(ids(page(query)) == Ids{"a", "c", "d"});
        query.limit = 1;
        query.after_id = "b";  // a place need not match the filter
        auto got = page(query);
        CHECK(ids(got) == Ids{"c"});
        CHECK(got.count == 3);
        CHECK(got.first_index == 1);
        CHECK_FALSE(got.complete);
        query = {};
        query.with = jid("romeo@example.test/tomb");
        CHECK(ids(page(query)) == Ids{"c"});
        query = {};
        query.start = at(2);
        query.end = at(4);
        CHECK(ids(page(query)) == Ids{"b", "c", "d"});
        query = {};
        query.ids = {"d", "a"};
        got = page(query);
        CHECK(ids(got) == Ids{"a", "d"});
        CHECK(got.count == 2);
        query.ids = {"d", "zz"};
        CHECK(page(query).id_not_found);
        query = {};
        query.after_id = "zz";
        CHECK(page(query).id_not_found);
        query = {};
        query.before_id = "zz";
        CHECK(page(query).id_not_found);
    });
}

TEST_CASE("an archived row stays as it was written first", "[store]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        Batch batch;
        batch.archive.push_back(archived(owner, "a", "romeo@example.test", 1));
        batch.archive.push_back(archived(owner, "b", "romeo@example.test", 2));
        const auto again = batch;
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        auto late = again;
        late.archive[0].at = at(99);
        late.archive.push_back(archived(owner, "c", "romeo@example.test", 3));
        REQUIRE(b.commit(std::move(late)) == CommitStatus::ok);
        const auto page = b(b.store().archive_page(owner, {})).value();
        CHECK(ids(page) == Ids{"a", "b", "c"});
        CHECK(page.items[0].at == at(1));
    });
}

TEST_CASE("what an account sent is found by origin-id, content and address", "[store]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        const std::string hash("\x00\x01hash of twenty byt", 20);
        Batch batch;
        batch.archive.push_back(archived(owner, "out", "romeo@example.test", 1));
        batch.archive.push_back(archived(owner, "in", "romeo@example.test", 2));
        for (auto& row : batch.archive) row.origin_id = "o1", row.content_hash = hash;
        batch.archive[0].direction = Direction::out;
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        const auto find = [&](std::string_view with, const std::string& origin, const std::string& content) {
            return b(b.store().find_sent(owner, jid(with), origin, content)).value();
        };
        CHECK(find("romeo@example.test", "o1", hash) == "out");
        CHECK_FALSE(find("romeo@example.test", "o2", hash));
        CHECK_FALSE(find("nurse@example.test", "o1", hash));
        CHECK_FALSE(find("romeo@example.test", "o1", "other"));
        CHECK_FALSE(find("romeo@example.test", "", hash));
    });
}

TEST_CASE("an offline message is counted once", "[store][xep0160]") {
    on_each_backend([](Backend& b) {
        const auto owner = add_account(b, "juliet@example.test");
        Batch batch;
        batch.archive.push_back(archived(owner, "a", "romeo@example.test", 1));
        batch.offline.push_back({owner, "a", jid("romeo@example.test/o"), at(1), make_bytes("<message/>")});
        batch.offline.push_back({owner, "b", jid("romeo@example.test/o"), at(1), make_bytes("<message/>")});
        const auto again = batch;
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        REQUIRE(b.commit(again) == CommitStatus::ok);
        CHECK(b(b.store().offline_count(owner)).value() == 2);
    });
}

TEST_CASE("a room is made once, changed and destroyed", "[store][muc]") {
    on_each_backend([](Backend& b) {
        const auto name = jid("hall@rooms.example.test");
        CHECK_FALSE(b(b.store().load_room(name)).value());
        const auto made = b(b.store().create_room(name, "n1", std::string("c\0nfig", 6))).value();
        CHECK(made.created);
        const auto second = b(b.store().create_room(name, "n2", "late")).value();
        CHECK_FALSE(second.created);
        CHECK(second.room.id == made.room.id);
        CHECK(second.room.home_node == "n1");
        CHECK(second.room.config == std::string("c\0nfig", 6));
        const auto room = made.room.id;

        Batch batch;
        batch.rooms.push_back({room, "new", "<message><subject>S</subject></message>"});
        batch.affiliations.push_back({room, jid("juliet@example.test"), "owner", "J", "made it"});
        batch.affiliations.push_back({room, jid("paris@example.test"), "outcast", "", ""});
        for (std::uint64_t hist = 1; hist <= 3; ++hist) {
            RoomArchiveRow row;
            row.room = room;
            row.hist = hist;
            row.stanza_id = "r" + std::to_string(hist);
            row.from = jid(hist == 2 ? "hall@rooms.example.test/R" : "hall@rooms.example.test/J");
            row.at = at(static_cast<std::int64_t>(hist));
            row.xml = make_bytes("<message/>");
            batch.room_archive.push_back(std::move(row));
        }
        const auto again = batch;
        REQUIRE(b.commit(std::move(batch)) == CommitStatus::ok);
        REQUIRE(b.commit(again) == CommitStatus::ok);
        b.reopen();
        auto loaded = b(b.store().load_room(name)).value();
        REQUIRE(loaded);
        CHECK(loaded->config == "new");
        CHECK(loaded->subject == "<message><subject>S</subject></message>");
        CHECK(loaded->hist == 3);
        REQUIRE(loaded->affiliations.size() == 2);
        CHECK(loaded->affiliations[0].affiliation == "owner");
        CHECK(loaded->affiliations[0].nick == "J");
        CHECK(b(b.store().list_rooms("rooms.example.test")).value().size() == 1);
        CHECK(b(b.store().list_rooms("example.test")).value().empty());

        ArchiveQuery query;
        query.limit = 2;
        auto page = b(b.store().room_archive_page(room, query)).value();
        CHECK(ids(page) == Ids{"r1", "r2"});
        CHECK(page.count == 3);
        CHECK_FALSE(page.complete);
        query.before_id = "";
        CHECK(ids(b(b.store().room_archive_page(room, query)).value()) == Ids{"r2", "r3"});
        query = {};
        query.with = jid("hall@rooms.example.test/J");
        CHECK(ids(b(b.store().room_archive_page(room, query)).value()) == Ids{"r1", "r3"});
        query.with = name;
        CHECK(b(b.store().room_archive_page(room, query)).value().count == 3);
        CHECK(b(b.store().room_archive_span(room)).value()->last.stanza_id == "r3");

        Batch drop;
        drop.affiliations.push_back({room, jid("paris@example.test"), "none", "", ""});
        REQUIRE(b.commit(std::move(drop)) == CommitStatus::ok);
        CHECK(b(b.store().load_room(name)).value()->affiliations.size() == 1);
        Batch destroy;
        destroy.destroyed_rooms.push_back(room);
        REQUIRE(b.commit(std::move(destroy)) == CommitStatus::ok);
        CHECK_FALSE(b(b.store().load_room(name)).value());
        CHECK_FALSE(b(b.store().room_archive_span(room)).value());
        CHECK(b(b.store().create_room(name, "n2", "")).value().created);
    });
}

TEST_CASE("ten thousand accounts are imported, known names left alone", "[store]") {
    on_each_backend([](Backend& b) {
        const auto known = add_account(b, "user17@example.test");
        std::vector<Store::NewAccount> accounts;
        const ScramCredential key{"SCRAM-SHA-256", "salt", 4096, std::string(32, 's'), std::string(32, 'k')};
        for (int i = 0; i < 10'000; ++i) {
            Store::NewAccount one;
            one.row.jid = jid("user" + std::to_string(i) + "@example.test");
            one.keys = {key};
            accounts.push_back(std::move(one));
        }
        CHECK(b(b.store().import_accounts(std::move(accounts))).value() == 9'999);
        CHECK(b(b.store().credentials(known)).value().empty());
        const auto last = b(b.store().find_account(jid("user9999@example.test"))).value();
        REQUIRE(last);
        CHECK(b(b.store().credentials(last->id)).value().size() == 1);
    });
}

TEST_CASE("a new account gets its home node in the transaction that makes it", "[store][assignment]") {
    on_each_backend([](Backend& b) {
        // One seat on n1, and whoever has chosen a node keeps it.
        b.store().place_by([](const Assignments& now, const std::vector<PlacingFacts>& accounts) {
            std::vector<Home> homes(accounts.size());
            if (!now.users.contains("n1")) homes.front() = {"n1", "balanced"};
            return homes;
        });
        add_account(b, "romeo@example.test");
        Store::NewAccount late, chosen;
        late.row.jid = jid("late@example.test");
        chosen.row.jid = jid("chosen@example.test");
        chosen.row.home_node = "n2";
        CHECK(b(b.store().import_accounts({late, chosen})).value() == 2);
        const auto row = [&b](std::string_view name) {
            return *b(b.store().find_account(jid(name))).value();
        };
        CHECK(row("romeo@example.test").home_node == "n1");
        CHECK(row("romeo@example.test").rule == "balanced");
        CHECK(row("romeo@example.test").assigned == row("romeo@example.test").created);
        CHECK(row("late@example.test").home_node.empty());
        CHECK(row("chosen@example.test").home_node == "n2");
        const auto users = b(b.store().assignment_counts()).value();
        CHECK(users == std::map<std::string, std::uint64_t>{{"", 1}, {"n1", 1}, {"n2", 1}});
    });
}

TEST_CASE("what placement rules ask for is nothing for an account that an administrator makes",
          "[store][assignment]") {
    on_each_backend([](Backend& b) {
        add_account(b, "romeo@example.test");
        CHECK(b(b.store().find_account(jid("romeo@example.test"))).value()->facts == PlacingFacts{});
    });
}

TEST_CASE("a value of the table meta is kept", "[store]") {
    on_each_backend([](Backend& b) {
        CHECK(b(b.store().meta("site")).value().empty());
        CHECK(b(b.store().set_meta("site", "one")).value());
        CHECK(b(b.store().set_meta("site", "two")).value());
        b.reopen();
        CHECK(b(b.store().meta("site")).value() == "two");
        CHECK(b(b.store().meta("jid_profile")).value() == "nodeprep");
        CHECK_FALSE(b(b.store().ping()));
    });
}

TEST_CASE("a room moves to another home node under a new epoch, once at a time", "[store][rooms]") {
    on_each_backend([](Backend& b) {
        const auto hall = jid("hall@rooms.test");
        const auto made = b(b.store().create_room(hall, "n1", "config")).value().room;
        b(b.store().create_room(jid("held@rooms.test"), "n1", "")).value();
        CHECK(b(b.store().room_counts()).value() == std::map<std::string, std::uint64_t>{{"n1", 1}});
        CHECK(b(b.store().rooms_of("n1", 10)).value() == std::vector{hall});

        RoomMove wanted;
        wanted.room = made.id;
        wanted.jid = hall;
        wanted.to = "n1";
        wanted.epoch = made.epoch;
        CHECK(b(b.store().move_room(wanted)).value().refused == "it is at n1 already");
        wanted.to = "n2";
        ++wanted.epoch;
        CHECK_THAT(b(b.store().move_room(wanted)).value().refused, Catch::Contains("another node"));
        --wanted.epoch;
        const auto moved = b(b.store().move_room(wanted)).value();
        CHECK(moved.refused.empty());
        CHECK(moved.epoch == made.epoch + 1);

        auto row = b(b.store().load_room(hall)).value().value();
        CHECK(row.home_node == "n2");
        CHECK(row.moves_from == "n1");
        CHECK(row.epoch == moved.epoch);
        CHECK(b(b.store().rooms_of("n2", 10)).value().empty());  // it is on its way
        wanted.to = "n3";
        wanted.epoch = moved.epoch;
        CHECK(b(b.store().move_room(wanted)).value().refused == "it is on its way from n1 to n2 already");

        // Its former owner writes no more.
        Batch late;
        late.origin = {"room:hall@rooms.test", 1, 0};
        late.room_step = true;
        late.room_position = 1;
        late.epoch = {1, made.epoch};
        late.rooms.push_back({made.id, "late", ""});
        CHECK(b.commit(late) == CommitStatus::not_owner);
        late.epoch.e = moved.epoch;
        late.rooms[0].config = "config 2";
        CHECK(b.commit(late) == CommitStatus::ok);

        b.reopen();
        const auto moves = b(b.store().room_moves()).value();
        REQUIRE(moves.size() == 1);
        CHECK(moves[0].jid == hall);
        CHECK(moves[0].from == "n1");
        CHECK(moves[0].to == "n2");
        CHECK(moves[0].epoch == moved.epoch);
        CHECK_FALSE(b(b.store().end_room_move(made.id, made.epoch)).value());  // who has an older one
        const auto ended = b(b.store().end_room_move(made.id, moved.epoch)).value();
        REQUIRE(ended);
        CHECK(ended->from == "n1");
        CHECK_FALSE(b(b.store().end_room_move(made.id, moved.epoch)).value());
        CHECK(b(b.store().load_room(hall)).value()->moves_from.empty());
        CHECK(b(b.store().rooms_of("n2", 10)).value() == std::vector{hall});
    });
}

TEST_CASE("a room that is destroyed on its way leaves no move behind", "[store][rooms]") {
    on_each_backend([](Backend& b) {
        const auto made = b(b.store().create_room(jid("hall@rooms.test"), "n1", "config")).value().room;
        RoomMove wanted;
        wanted.room = made.id;
        wanted.to = "n2";
        wanted.epoch = made.epoch;
        const auto moved = b(b.store().move_room(wanted)).value();
        Batch end;
        end.origin = {"room:hall@rooms.test", 1, 0};
        end.room_step = true;
        end.room_position = 1;
        end.epoch = {1, moved.epoch};
        end.destroyed_rooms.push_back(made.id);
        REQUIRE(b.commit(end) == CommitStatus::ok);
        CHECK(b(b.store().room_moves()).value().empty());
        const auto again = b(b.store().create_room(jid("hall@rooms.test"), "n3", "config")).value().room;
        CHECK(again.id > made.id);
        CHECK(again.moves_from.empty());
    });
}

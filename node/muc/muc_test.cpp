#include <catch2/catch.hpp>

#include "muc/room.hpp"
#include "xmpp/namespaces.hpp"

using namespace hexad;
using namespace hexad::muc;

namespace {

std::string condition(const std::optional<StanzaError>& error) {
    return error ? error->condition : "allowed";
}

SubmittedForm form(std::map<std::string, std::vector<std::string>> values) {
    SubmittedForm out;
    out.type = "submit";
    out.form_type = "http://jabber.org/protocol/muc#roomconfig";
    for (auto& [name, value] : values) out.values["muc#roomconfig_" + name] = std::move(value);
    return out;
}

}  // namespace

TEST_CASE("everybody enters with the role of his affiliation", "[muc][xep0045-5.1.2]") {
    CHECK(default_role(Affiliation::owner, true) == Role::moderator);
    CHECK(default_role(Affiliation::admin, false) == Role::moderator);
    CHECK(default_role(Affiliation::member, true) == Role::participant);
    CHECK(default_role(Affiliation::none, true) == Role::visitor);
    CHECK(default_role(Affiliation::none, false) == Role::participant);
    CHECK(default_role(Affiliation::outcast, false) == Role::none);
}

TEST_CASE("names of roles and affiliations are read back", "[muc]") {
    for (const auto role : {Role::none, Role::visitor, Role::participant, Role::moderator})
        CHECK((read_role(name_of(role)) == role));
    for (const auto a : {Affiliation::outcast, Affiliation::none, Affiliation::member, Affiliation::admin,
                         Affiliation::owner}) {
        CHECK((read_affiliation(name_of(a)) == a));
    }
    CHECK_FALSE(read_role("owner").has_value());
    CHECK_FALSE(read_affiliation("").has_value());
}

TEST_CASE("who may change a role", "[muc][xep0045-5.1.1]") {
    const Standing owner{Affiliation::owner, Role::moderator}, admin{Affiliation::admin, Role::moderator},
        moderator{Affiliation::none, Role::moderator}, member{Affiliation::member, Role::participant},
        participant{Affiliation::none, Role::participant}, visitor{Affiliation::none, Role::visitor};
    const auto refusal = [](const Standing& a, const Standing& b, Role r) {
        return condition(refuse_role(a, b, r));
    };

    SECTION("kick") {
        CHECK(refusal(moderator, participant, Role::none) == "allowed");
        CHECK(refusal(admin, moderator, Role::none) == "allowed");
        CHECK(refusal(moderator, admin, Role::none) == "not-allowed");
        CHECK(refusal(admin, owner, Role::none) == "not-allowed");
        CHECK(refusal(moderator, member, Role::none) == "not-allowed");
        CHECK(refusal(participant, visitor, Role::none) == "forbidden");
        CHECK(refusal(member, participant, Role::none) == "forbidden");
    }
    SECTION("voice") {
        CHECK(refusal(moderator, visitor, Role::participant) == "allowed");
        CHECK(refusal(moderator, participant, Role::visitor) == "allowed");
        CHECK(refusal(admin, member, Role::visitor) == "allowed");
        CHECK(refusal(moderator, member, Role::visitor) == "not-allowed");
        CHECK(refusal(owner, admin, Role::visitor) == "not-allowed");
        CHECK(refusal(moderator, owner, Role::visitor) == "not-allowed");
        CHECK(refusal(participant, visitor, Role::participant) == "forbidden");
    }
    SECTION("moderators") {
        CHECK(refusal(admin, participant, Role::moderator) == "allowed");
        CHECK(refusal(admin, moderator, Role::participant) == "allowed");
        CHECK(refusal(moderator, participant, Role::moderator) == "forbidden");
        CHECK(refusal(moderator, moderator, Role::participant) == "forbidden");
        CHECK(refusal(moderator, owner, Role::participant) == "not-allowed");
        CHECK(refusal(owner, admin, Role::participant) == "not-allowed");
        CHECK(refusal(admin, owner, Role::moderator) == "allowed");
    }
}

TEST_CASE("who may change an affiliation", "[muc][xep0045-5.2.1]") {
    using A = Affiliation;
    const auto refusal = [](A actor, A target, A wanted, bool self = false) {
        return condition(refuse_affiliation(actor, target, wanted, self));
    };
    CHECK(refusal(A::none, A::none, A::member) == "forbidden");
    CHECK(refusal(A::member, A::none, A::outcast) == "forbidden");
    CHECK(refusal(A::admin, A::none, A::outcast) == "allowed");
    CHECK(refusal(A::admin, A::outcast, A::none) == "allowed");
    CHECK(refusal(A::admin, A::none, A::member) == "allowed");
    CHECK(refusal(A::admin, A::admin, A::outcast) == "not-allowed");
    CHECK(refusal(A::admin, A::owner, A::outcast) == "not-allowed");
    CHECK(refusal(A::admin, A::owner, A::none) == "forbidden");
    CHECK(refusal(A::admin, A::member, A::admin) == "forbidden");
    CHECK(refusal(A::admin, A::admin, A::owner, true) == "forbidden");
    CHECK(refusal(A::admin, A::admin, A::none, true) == "allowed");
    CHECK(refusal(A::owner, A::owner, A::none, true) == "allowed");
    CHECK(refusal(A::owner, A::owner, A::outcast, true) == "conflict");
    CHECK(refusal(A::owner, A::admin, A::outcast) == "allowed");
    CHECK(refusal(A::member, A::member, A::none, true) == "allowed");
}

TEST_CASE("a configuration is read back as it was written", "[muc]") {
    RoomConfig config;
    config.name = "A <dark> 'cave' & \"more\"\nline";
    config.password = "Cauldron burn";
    config.persistent = config.members_only = config.moderated = config.shows_jids = true;
    config.is_public = config.archived = config.locked = false;
    config.private_messages = Role::moderator;
    config.max_users = 17;
    config.secret = "abc";
    CHECK((RoomConfig::decode(config.encode()) == config));
    CHECK_FALSE(RoomConfig::decode("<other/>").has_value());
    CHECK_FALSE(RoomConfig::decode("garbage").has_value());
}

TEST_CASE("a submitted form changes what it names and nothing else", "[muc][xep0045-10.2]") {
    RoomConfig before;
    before.name = "old";
    const auto after =
        before.with(form({{"membersonly", {"1"}}, {"whois", {"anyone"}}, {"maxusers", {"50"}}}));
    REQUIRE(after.has_value());
    CHECK(after->name == "old");
    CHECK(after->members_only);
    CHECK(after->shows_jids);
    CHECK(after->max_users == 50);

    CHECK(before.with(form({{"whois", {"nobody"}}})).error().condition == "not-acceptable");
    CHECK(before.with(form({{"maxusers", {"0"}}})).error().condition == "not-acceptable");
    CHECK(before.with(form({{"maxusers", {"100000"}}})).error().condition == "not-acceptable");
    CHECK(before.with(form({{"passwordprotectedroom", {"1"}}})).error().condition == "not-acceptable");
    CHECK(before.with(form({{"roomname", {std::string(300, 'x')}}})).error().condition == "not-acceptable");
    const auto secret = before.with(form({{"passwordprotectedroom", {"1"}}, {"roomsecret", {"cauldron"}}}));
    REQUIRE(secret.has_value());
    CHECK(secret->password == "cauldron");
    CHECK(secret->with(form({{"passwordprotectedroom", {"0"}}}))->password.empty());
    CHECK(before.with(SubmittedForm{"submit", "", {}}).has_value());
}

TEST_CASE("occupants hear what kind of change was made", "[muc][xep0045-10.2.1]") {
    RoomConfig before;
    auto after = before;
    CHECK(config_changes(before, after).empty());
    after.archived = false;
    CHECK(config_changes(before, after) == std::vector<int>{171});
    after.shows_jids = true;
    CHECK(config_changes(before, after) == std::vector<int>{171, 172});
    after.name = "new";
    CHECK(config_changes(before, after) == std::vector<int>{104, 171, 172});
    CHECK(config_changes(after, before) == std::vector<int>{104, 170, 173});
}

TEST_CASE("an occupant is put back from what the session log kept", "[muc]") {
    Room room(*Jid::parse("coven@rooms.example.test"));
    Occupant occupant{"third & witch", Role::visitor, *Jid::parse("hag66@example.test"), {}};
    occupant.sessions.push_back(
        {"s1", *Jid::parse("hag66@example.test/pda"), Element("presence", ns::client)});
    occupant.sessions.back().presence.add_text_child("show", ns::client, "away");
    REQUIRE(room.read({room.jid, "s1", room.encode(occupant, occupant.sessions.front()), false}));
    const auto* found = room.find_sid("s1");
    REQUIRE(found != nullptr);
    CHECK(found->nick == "third & witch");
    CHECK(found->role == Role::visitor);
    CHECK(found->sessions.front().jid.to_string() == "hag66@example.test/pda");
    CHECK(found->sessions.front().presence.child_text("show", ns::client) == "away");
    CHECK_FALSE(room.read({room.jid, "s2", "<occupant/>", false}));
}

TEST_CASE("samples of protocol 1: an occupant", "[muc][protocol-1]") {
    const std::string sample =
        "<occupant xmlns='hexad:room' v='1' nick='third &amp; witch' role='visitor' "
        "jid='hag66@example.test/pda'>"
        "<presence xmlns='jabber:client'><show>away</show></presence></occupant>";
    Room room(*Jid::parse("coven@rooms.example.test"));
    REQUIRE(room.read({room.jid, "s1", sample, false}));
    const auto* found = room.find_sid("s1");
    REQUIRE(found != nullptr);
    CHECK(found->nick == "third & witch");
    CHECK(found->role == Role::visitor);
    CHECK(found->sessions.front().presence.child_text("show", ns::client) == "away");
}

TEST_CASE("an occupant id is stable, and different in another room", "[muc][xep0421]") {
    Room room(*Jid::parse("coven@rooms.example.test"));
    room.config.secret = "one";
    const auto hag = *Jid::parse("hag66@example.test");
    const auto id = room.occupant_id(hag);
    CHECK(id == room.occupant_id(hag));
    CHECK(id != room.occupant_id(*Jid::parse("crone1@example.test")));
    room.config.secret = "two";
    CHECK(id != room.occupant_id(hag));
}

TEST_CASE("a domain may be banned as a whole", "[muc][xep0045-9.1]") {
    Room room(*Jid::parse("coven@rooms.example.test"));
    room.affiliates[*Jid::parse("evil.test")] = {Affiliation::outcast, {}, {}};
    CHECK(room.affiliation_of(*Jid::parse("any@evil.test/x")) == Affiliation::outcast);
    CHECK(room.affiliation_of(*Jid::parse("any@good.test/x")) == Affiliation::none);
}

#include "ldap/connection.hpp"

#include <iostream>

#include <catch2/catch.hpp>
#include <ldap.h>

#include "ldap/slapd_for_tests.hpp"

using namespace hexad;
using namespace hexad::ldap;
using namespace std::chrono_literals;

namespace {

bool skipped() {
    if (Slapd::is_there()) return false;
    std::cout << "SKIPPED no slapd\n";
    return true;
}

std::string people(int count) {
    std::string ldif;
    for (int number = 0; number < count; ++number) {
        const auto uid = "u" + std::to_string(number);
        ldif += "dn: uid=" + uid + ",ou=people,dc=test\nobjectClass: inetOrgPerson\nuid: " + uid +
                "\ncn: Person " + uid + "\nsn: Person\nuserPassword: secret " + uid + "\n\n";
    }
    return ldif;
}

DirectoryConfig config(const Slapd& slapd) {
    DirectoryConfig result;
    result.name = "test";
    result.hosts = {slapd.address()};
    result.ca_file = slapd.ca_file();
    result.bind_dn = Slapd::service_dn;
    result.password = Slapd::service_password;
    result.connect_timeout = 2000ms;
    result.operation_timeout = 2000ms;
    return result;
}

LdapConnection bound(const Slapd& slapd) {
    auto connection = LdapConnection::open(config(slapd), slapd.address());
    if (!connection) FAIL(connection.error().to_string());
    const auto answer = connection->bind_service(config(slapd));
    if (!answer) FAIL(answer.error().to_string());
    return std::move(*connection);
}

SearchRequest everybody(int page) {
    return {"ou=people,dc=test", Scope::subtree, "(objectClass=inetOrgPerson)", {"uid", "cn"}, page, 0};
}

}  // namespace

TEST_CASE("StartTLS and ldaps connect, with the name and the authority checked", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd;
    auto with = config(slapd);
    CHECK(LdapConnection::open(with, slapd.address()).has_value());
    with.tls = Tls::ldaps;
    CHECK(LdapConnection::open(with, slapd.secure_address()).has_value());

    with.tls = Tls::starttls;
    auto wrong_name = slapd.address();
    wrong_name.replace(wrong_name.find("127.0.0.1"), 9, "localhost");
    CHECK_FALSE(LdapConnection::open(with, wrong_name).has_value());
    with.ca_file.clear();  // the system's authorities do not know ours
    CHECK_FALSE(LdapConnection::open(with, slapd.address()).has_value());
    with.tls = Tls::none;
    CHECK(LdapConnection::open(with, slapd.address()).has_value());
}

TEST_CASE("a host that is not there is a transport failure", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd;
    slapd.stop();
    const auto connection = LdapConnection::open(config(slapd), slapd.address());
    REQUIRE_FALSE(connection.has_value());
    CHECK(connection.error().is_transport());
}

TEST_CASE("a bind tells right from wrong, and an empty password is not asked about",
          "[ldap][slapd][rfc4513-5.1]") {
    if (skipped()) return;
    Slapd slapd("", people(1));
    auto connection = LdapConnection::open(config(slapd), slapd.address());
    REQUIRE(connection.has_value());
    CHECK(connection->bind("uid=u0,ou=people,dc=test", "secret u0").has_value());
    const auto wrong = connection->bind("uid=u0,ou=people,dc=test", "wrong");
    REQUIRE_FALSE(wrong.has_value());
    CHECK(wrong.error().code == LDAP_INVALID_CREDENTIALS);
    CHECK_FALSE(wrong.error().is_transport());
    const auto empty = connection->bind("uid=u0,ou=people,dc=test", "");
    REQUIRE_FALSE(empty.has_value());
    CHECK(empty.error().code == LDAP_INVALID_CREDENTIALS);
    CHECK(connection->bind("uid=u0,ou=people,dc=test", "secret u0").has_value());
}

TEST_CASE("the root DSE says what the server can", "[ldap][slapd][rfc4512-5.1]") {
    if (skipped()) return;
    Slapd slapd;
    auto connection = bound(slapd);
    const auto found = connection.root_dse();
    REQUIRE(found.has_value());
    CHECK(found->paged_results());
    CHECK(found->content_sync());
    CHECK(found->start_tls());
    CHECK_FALSE(found->is_active_directory());
    CHECK(found->naming_contexts == std::vector<std::string>{"dc=test"});
}

TEST_CASE("a paged read is complete and sees every entry once", "[ldap][slapd][rfc2696]") {
    if (skipped()) return;
    Slapd slapd("", people(105));
    auto connection = bound(slapd);
    for (const int page : {10, 105, 500, 0}) {
        std::set<std::string> seen;
        const auto summary = connection.search(everybody(page), [&seen](const Entry& entry) {
            CHECK(seen.insert(std::string(*entry.first("uid"))).second);
        });
        CHECK(summary.complete());
        CHECK(summary.entries == 105);
        CHECK(seen.size() == 105);
    }
}

TEST_CASE("a size limit makes a read incomplete", "[ldap][slapd][directory-sync-6]") {
    if (skipped()) return;
    Slapd slapd("limits users size=20 size.prtotal=20\n", people(50));
    auto connection = bound(slapd);
    for (const int page : {10, 0}) {
        std::size_t seen = 0;
        const auto summary = connection.search(everybody(page), [&seen](const Entry&) { ++seen; });
        CHECK_FALSE(summary.complete());
        REQUIRE(summary.failure);
        CHECK((summary.failure->code == LDAP_SIZELIMIT_EXCEEDED ||
               summary.failure->code == LDAP_ADMINLIMIT_EXCEEDED));
        CHECK(seen == 20);
    }
}

TEST_CASE("a referral inside the base makes a read incomplete", "[ldap][slapd][directory-sync-5]") {
    if (skipped()) return;
    Slapd slapd(
        "", people(3) +
                "dn: ou=elsewhere,ou=people,dc=test\nobjectClass: referral\nobjectClass: extensibleObject\n"
                "ou: elsewhere\nref: ldap://elsewhere.example/ou=people,dc=test\n\n");
    auto connection = bound(slapd);
    const auto summary = connection.search(everybody(10), [](const Entry&) {});
    CHECK(summary.entries == 3);
    REQUIRE(summary.referrals.size() == 1);
    CHECK(summary.referrals[0].starts_with("ldap://elsewhere.example/"));
    CHECK_FALSE(summary.complete());
    CHECK_FALSE(summary.failure);
}

TEST_CASE("a base that is not there is no empty directory", "[ldap][slapd][directory-sync-12]") {
    if (skipped()) return;
    Slapd slapd;
    auto connection = bound(slapd);
    auto request = everybody(10);
    request.base = "ou=poeple,dc=test";
    const auto summary = connection.search(request, [](const Entry&) {});
    CHECK_FALSE(summary.complete());
    CHECK(summary.failure->code == LDAP_NO_SUCH_OBJECT);
}

TEST_CASE("a server that stops in the middle makes a read incomplete, one that freezes too",
          "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd("", people(50));
    auto connection = bound(slapd);
    std::size_t seen = 0;
    const auto stopped = connection.search(everybody(10), [&](const Entry&) {
        if (++seen == 25) slapd.stop();
    });
    CHECK_FALSE(stopped.complete());
    CHECK(stopped.failure->is_transport());
    CHECK(seen >= 25);

    slapd.start();
    auto again = bound(slapd);
    slapd.freeze();
    const auto frozen = again.search(everybody(10), [](const Entry&) {});
    CHECK(frozen.failure->code == LDAP_TIMEOUT);
    slapd.thaw();
}

TEST_CASE("values keep their bytes and come by lower-case name", "[ldap][slapd]") {
    if (skipped()) return;
    Slapd slapd("",
                "dn: cn=g,dc=test\nobjectClass: groupOfNames\nobjectClass: extensibleObject\ncn: g\nmember: "
                "cn=a,dc=test\nmember: cn=b,dc=test\n"
                "jpegPhoto:: AAEC/w==\n\n");
    auto connection = bound(slapd);
    const auto found = connection.find({"cn=g,dc=test", Scope::base, "(objectClass=*)", {}, 0, 0});
    REQUIRE(found.has_value());
    REQUIRE(found->size() == 1);
    const auto& entry = found->front();
    CHECK(entry.dn == "cn=g,dc=test");
    CHECK(entry.first("objectclass") == "groupOfNames");
    CHECK(entry.first("jpegphoto") == std::string_view("\0\1\2\xff", 4));
    CHECK(entry.all("nothing").empty());
    const auto members = connection.values_of("cn=g,dc=test", "member");
    REQUIRE(members.has_value());
    CHECK(*members == std::vector<std::string>{"cn=a,dc=test", "cn=b,dc=test"});
}

namespace {

/// A mirror that a content synchronisation keeps: uuid to uid.
struct Mirror {
    std::map<std::string, std::string> entries;
    std::size_t changed = 0;

    SyncSummary refresh(LdapConnection& connection, const std::string& cookie) {
        changed = 0;
        std::set<std::string> mentioned;
        const SyncHandlers handlers{[&](const std::string& uuid, const Entry& entry) {
                                        ++changed;
                                        CHECK(uuid.size() == 16);
                                        mentioned.insert(uuid);
                                        entries[uuid] = entry.first("uid").value_or("");
                                    },
                                    [&](const std::string& uuid) { mentioned.insert(uuid); },
                                    [&](const std::string& uuid) { entries.erase(uuid); }};
        auto summary = connection.refresh(everybody(0), cookie, handlers);
        if (summary.read.complete() && summary.unmentioned_are_gone)
            std::erase_if(entries, [&](const auto& entry) { return !mentioned.contains(entry.first); });
        return summary;
    }
    std::set<std::string> uids() const {
        std::set<std::string> result;
        for (const auto& [uuid, uid] : entries) result.insert(uid);
        return result;
    }
};

}  // namespace

TEST_CASE("a content synchronisation follows additions, changes and deletions", "[ldap][slapd][rfc4533]") {
    if (skipped()) return;
    Slapd slapd("", people(4));
    auto connection = bound(slapd);
    Mirror mirror;
    auto summary = mirror.refresh(connection, "");
    CHECK(summary.read.complete());
    CHECK(mirror.changed == 4);
    CHECK(mirror.uids() == std::set<std::string>{"u0", "u1", "u2", "u3"});
    REQUIRE_FALSE(summary.cookie.empty());

    summary = mirror.refresh(connection, summary.cookie);
    CHECK(summary.read.complete());
    CHECK(mirror.changed == 0);
    CHECK(mirror.uids().size() == 4);

    slapd.modify(
        "dn: uid=u1,ou=people,dc=test\nchangetype: delete\n\n"
        "dn: uid=u2,ou=people,dc=test\nchangetype: modify\nreplace: cn\ncn: Changed\n\n"
        "dn: uid=u9,ou=people,dc=test\nchangetype: add\nobjectClass: inetOrgPerson\nuid: u9\ncn: x\nsn: "
        "x\n\n");
    summary = mirror.refresh(connection, summary.cookie);
    CHECK(summary.read.complete());
    CHECK(mirror.changed == 2);
    CHECK(mirror.uids() == std::set<std::string>{"u0", "u2", "u3", "u9"});
}

TEST_CASE("a broken cookie never makes an empty directory", "[ldap][slapd][rfc4533]") {
    if (skipped()) return;
    Slapd slapd("", people(2));
    auto connection = bound(slapd);
    Mirror mirror;
    const auto summary = mirror.refresh(connection, "nonsense");
    // This server takes it for none and sends everything; an error would be as good.
    if (summary.read.complete()) CHECK(mirror.uids() == std::set<std::string>{"u0", "u1"});
}

TEST_CASE("a synchronisation that breaks off gives no cookie", "[ldap][slapd][rfc4533]") {
    if (skipped()) return;
    Slapd slapd("", people(2));
    auto connection = bound(slapd);
    slapd.freeze();
    Mirror mirror;
    const auto summary = mirror.refresh(connection, "");
    slapd.thaw();
    CHECK_FALSE(summary.read.complete());
    CHECK(summary.cookie.empty());
    CHECK(mirror.uids().empty());
}

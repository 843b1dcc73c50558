#include "sync-agent/mapping.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

using namespace hexad;
using namespace hexad::sync;

namespace {

const PlacementRules no_rules({});
const PlacementRules by_site({{"Berlin", "", "g1"}});
const PlacementRules by_group({{"", "cn=Sales,dc=test", "g2"}});

ldap::Entry entry() {
    ldap::Entry out;
    out.dn = "uid=ada,dc=test";
    out.attributes = {{"entryuuid", {"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}},
                      {"uid", {"ada"}},
                      {"l", {"Berlin", "Porto"}},
                      {"physicaldeliveryofficename", {"Lyon"}},
                      {"memberof", {"cn=others,dc=test", "CN=Sales, DC=test"}}};
    return out;
}
Person mapped(const PlacementRules& rules, const ldap::Entry& from = entry(),
              const AgreementConfig& agreement = {}) {
    Person person;
    Skipped skipped;
    REQUIRE(map_entry(agreement, rules, from, person, skipped));
    return person;
}
bool asks(const PlacementRules& rules, const char* attribute, const AgreementConfig& agreement = {}) {
    const auto all = wanted_attributes(agreement, rules);
    return std::find(all.begin(), all.end(), attribute) != all.end();
}

}  // namespace

TEST_CASE("a person has the site and the groups that rules ask for, and no others", "[sync][placement]") {
    CHECK(mapped(no_rules).facts == PlacingFacts{});
    CHECK(mapped(by_site).facts == PlacingFacts{"Berlin", {}});
    CHECK(mapped(by_group).facts == PlacingFacts{"", {"cn=sales,dc=test"}});
    CHECK_FALSE(asks(no_rules, "l"));
    CHECK_FALSE(asks(by_site, "memberOf"));
    CHECK(asks(by_group, "memberOf"));
}

TEST_CASE("the agreement says which attribute is the site", "[sync][placement]") {
    AgreementConfig agreement;
    agreement.site_attribute = "physicalDeliveryOfficeName";
    CHECK(mapped(by_site, entry(), agreement).facts.site == "Lyon");
    CHECK(asks(by_site, "physicalDeliveryOfficeName", agreement));
    CHECK_FALSE(asks(by_site, "l", agreement));
}

TEST_CASE("a site that is no plain text does no harm", "[sync][placement]") {
    auto odd = entry();
    odd.attributes["l"] = {std::string("Ber\0lin\x1d\x1e", 9)};
    CHECK(mapped(by_site, odd).facts.site == "Ber lin  ");
    odd.attributes["l"] = {std::string(257, 'x')};
    CHECK(mapped(by_site, odd).facts.site.empty());
    odd.attributes["l"] = {"\xff"};
    CHECK(mapped(by_site, odd).facts.site.empty());
}

TEST_CASE("a changed site is a change of the person, if rules ask for it", "[sync][placement]") {
    auto moved = entry();
    moved.attributes["l"] = {"Porto"};
    CHECK(mapped(no_rules).hash == mapped(no_rules, moved).hash);
    CHECK(mapped(by_site).hash != mapped(by_site, moved).hash);
    moved.attributes["memberof"] = {};
    CHECK(mapped(by_group).hash != mapped(by_group, moved).hash);
}

TEST_CASE("other rules make the next read a full one, and hold nothing back", "[sync][placement]") {
    AgreementConfig agreement;
    agreement.base = "dc=test";
    const auto before = settings_of(agreement, no_rules);
    CHECK(settings_of(agreement, by_site) != before);
    CHECK(settings_of(agreement, by_site) == settings_of(agreement, PlacementRules({{"Porto", "", "g2"}})));
    CHECK(settings_of(agreement, by_group) != settings_of(agreement, by_site));
    CHECK(finds_the_same(before, agreement));
    CHECK(finds_the_same(settings_of(agreement, by_site), agreement));
    agreement.uid_attribute = "uidNumber";
    CHECK_FALSE(finds_the_same(before, agreement));
}

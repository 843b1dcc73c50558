#include "placement/rules.hpp"

#include <catch2/catch.hpp>

using namespace hexad;

namespace {

const PlacementRules rules({{"Berlin", "", "g1"},
                            {"", "cn=Sales,ou=groups,dc=example,dc=test", "g2"},
                            {"São Paulo", "", "g3"},
                            {"berlin", "", "g4"}});

}  // namespace

TEST_CASE("sites are the same whatever their case and white space", "[placement]") {
    CHECK(rules.group_for({"BERLIN", {}}) == "g1");
    CHECK(rules.group_for({"  são   PAULO ", {}}) == "g3");
    CHECK(rules.group_for({"Berlin-Mitte", {}}).empty());
    CHECK(rules.group_for({"", {}}).empty());
    CHECK(folded("ZÜRICH\tWest") == folded(" zürich west"));
    CHECK(folded("Straße") == folded("STRASSE"));
    CHECK(folded(" \t ").empty());
}

TEST_CASE("groups are the same as distinguished names are", "[placement]") {
    const auto named = rules.named({"CN=sales, OU=Groups,DC=Example,DC=test", "cn=others,dc=test", "nonsense",
                                    "cn=\\53ales,ou=groups,dc=example,dc=test"});
    REQUIRE(named.size() == 1);
    CHECK(named == rules.group_names());
    CHECK(rules.group_for({"", named}) == "g2");
    CHECK(folded_dn("cn=Ä+uid=B,dc=x") == folded_dn("UID=b+CN=ä,DC=X"));
    CHECK_FALSE(folded_dn("sales"));
}

TEST_CASE("the first rule that fits holds", "[placement]") {
    const auto sales = rules.group_names();
    CHECK(rules.group_for({"Berlin", sales}) == "g1");
    CHECK(rules.group_for({"São Paulo", sales}) == "g2");
    CHECK(name_of(*rules.find({"berlin", {}})) == "site Berlin -> g1");
    CHECK(name_of(*rules.find({"", sales})) == "group cn=Sales,ou=groups,dc=example,dc=test -> g2");
}

TEST_CASE("what no rule asks for is not asked of the directory", "[placement]") {
    CHECK(rules.ask_sites());
    CHECK(rules.ask_groups());
    const PlacementRules none({});
    CHECK_FALSE(none.ask_sites());
    CHECK(none.named({"cn=sales,dc=test"}).empty());
    CHECK(none.find({"Berlin", {"cn=sales"}}) == nullptr);
}

#include "ldap/escape.hpp"

#include <catch2/catch.hpp>

using namespace hexad::ldap;

TEST_CASE("a value in a filter stands for itself", "[ldap][rfc4515-3]") {
    CHECK(escape_filter("juliet") == "juliet");
    CHECK(escape_filter("a*(b)\\") == "a\\2a\\28b\\29\\5c");
    CHECK(escape_filter(std::string_view("\0\x7f", 2)) == "\\00\\7f");
    CHECK(escape_filter("Lučić") == "Lu\\c4\\8di\\c4\\87");
    CHECK(escape_filter("*") == "\\2a");
}

TEST_CASE("a name is put into an agreement's filter", "[ldap][directory-sync-9]") {
    CHECK(filter_for("(objectClass=person)", "uid", "x)(uid=*") ==
          "(&(objectClass=person)(uid=x\\29\\28uid=\\2a))");
    CHECK(filter_for("", "uid", "juliet") == "(uid=juliet)");
}

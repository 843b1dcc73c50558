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

TEST_CASE("a value in a distinguished name stands for itself", "[ldap][rfc4514-2.4]") {
    CHECK(escape_dn("James \"Jim\" Smith, III") == "James \\\"Jim\\\" Smith\\, III");
    CHECK(escape_dn(" x ") == "\\ x\\ ");
    CHECK(escape_dn(" ") == "\\ ");
    CHECK(escape_dn("#1") == "\\#1");
    CHECK(escape_dn("a#1=b") == "a#1=b");
    CHECK(escape_dn("Lučić\r") == "Lu\\C4\\8Di\\C4\\87\\0D");
}

TEST_CASE("the examples of RFC 4514 are read", "[ldap][rfc4514-4]") {
    CHECK(parse_dn("UID=jsmith,DC=example,DC=net") ==
          Dn{{{"uid", "jsmith"}}, {{"dc", "example"}}, {{"dc", "net"}}});
    CHECK(parse_dn("OU=Sales+CN=J.  Smith,DC=net") ==
          Dn{{{"ou", "Sales"}, {"cn", "J.  Smith"}}, {{"dc", "net"}}});
    CHECK(parse_dn("CN=James \\\"Jim\\\" Smith\\, III") == Dn{{{"cn", "James \"Jim\" Smith, III"}}});
    CHECK(parse_dn("CN=Before\\0dAfter") == Dn{{{"cn", "Before\rAfter"}}});
    CHECK(parse_dn("1.3.6.1.4.1.1466.0=#04024869") == Dn{{{"1.3.6.1.4.1.1466.0", "\x04\x02Hi"}}});
    CHECK(parse_dn("CN=Lu\\C4\\8Di\\C4\\87") == Dn{{{"cn", "Lučić"}}});
    CHECK(parse_dn("") == Dn{});
}

TEST_CASE("spaces around parts do not belong to them, escaped ones do", "[ldap][rfc4514-4]") {
    CHECK(parse_dn(" cn = x , dc=net ") == Dn{{{"cn", "x"}}, {{"dc", "net"}}});
    CHECK(parse_dn("cn=\\ x\\ ") == Dn{{{"cn", " x "}}});
    CHECK(parse_dn("cn=") == Dn{{{"cn", ""}}});
}

TEST_CASE("what is no distinguished name is refused", "[ldap][rfc4514-3]") {
    for (const char* bad : {"x", "=x", "cn=x,", "cn=x,,dc=y", "cn=a\\", "cn=a\\zb", "cn=\"a\"", "-a=x",
                            "1a=x", "c.n=x", "cn=#", "cn=#1", "cn=#zz", "cn=<", "cn=x+", "cn=#00x"}) {
        INFO(bad);
        CHECK_FALSE(parse_dn(bad));
    }
}

TEST_CASE("what is written can be read back", "[ldap][rfc4514-2]") {
    const Dn dn{{{"cn", " #,+\"\\<>;= "}, {"sn", std::string("\0\n", 2)}}, {{"o", "Ünï"}}, {{"dc", ""}}};
    CHECK(parse_dn(to_string(dn)) == dn);
}

TEST_CASE("an entry is within its base", "[ldap]") {
    const auto within = [](const char* dn, const char* base) {
        return is_within(*parse_dn(dn), *parse_dn(base));
    };
    CHECK(within("uid=u1,OU=People,dc=Example,dc=test", "ou=people,DC=example,dc=test"));
    CHECK(within("ou=people,dc=test", "ou=people,dc=test"));
    CHECK(within("ou=people,dc=test", ""));
    CHECK_FALSE(within("dc=test", "ou=people,dc=test"));
    CHECK_FALSE(within("uid=u1,ou=others,dc=test", "ou=people,dc=test"));
    CHECK(within("a=1+b=2,dc=test", "b=2+a=1,dc=test"));
}

#include "base/dn.hpp"

#include <catch2/catch.hpp>

using namespace hexad;

TEST_CASE("a value in a distinguished name stands for itself", "[dn][rfc4514-2.4]") {
    CHECK(escape_dn("James \"Jim\" Smith, III") == "James \\\"Jim\\\" Smith\\, III");
    CHECK(escape_dn(" x ") == "\\ x\\ ");
    CHECK(escape_dn(" ") == "\\ ");
    CHECK(escape_dn("#1") == "\\#1");
    CHECK(escape_dn("a#1=b") == "a#1=b");
    CHECK(escape_dn("Lučić\r") == "Lu\\C4\\8Di\\C4\\87\\0D");
}

TEST_CASE("the examples of RFC 4514 are read", "[dn][rfc4514-4]") {
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

TEST_CASE("spaces around parts do not belong to them, escaped ones do", "[dn][rfc4514-4]") {
    CHECK(parse_dn(" cn = x , dc=net ") == Dn{{{"cn", "x"}}, {{"dc", "net"}}});
    CHECK(parse_dn("cn=\\ x\\ ") == Dn{{{"cn", " x "}}});
    CHECK(parse_dn("cn=") == Dn{{{"cn", ""}}});
}

TEST_CASE("what is no distinguished name is refused", "[dn][rfc4514-3]") {
    for (const char* bad : {"x", "=x", "cn=x,", "cn=x,,dc=y", "cn=a\\", "cn=a\\zb", "cn=\"a\"", "-a=x",
                            "1a=x", "c.n=x", "cn=#", "cn=#1", "cn=#zz", "cn=<", "cn=x+", "cn=#00x"}) {
        INFO(bad);
        CHECK_FALSE(parse_dn(bad));
    }
}

TEST_CASE("what is written can be read back", "[dn][rfc4514-2]") {
    const Dn dn{{{"cn", " #,+\"\\<>;= "}, {"sn", std::string("\0\n", 2)}}, {{"o", "Ünï"}}, {{"dc", ""}}};
    CHECK(parse_dn(to_string(dn)) == dn);
}

TEST_CASE("an entry is within its base", "[dn]") {
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

#include "stream/sasl.hpp"

#include <catch2/catch.hpp>

using namespace hexad;
using namespace std::string_literals;

TEST_CASE("SASLprep follows the examples of RFC 4013", "[sasl][rfc4013-3]") {
    CHECK(saslprep("I\xc2\xadX") == "IX");
    CHECK(saslprep("user") == "user");
    CHECK(saslprep("USER") == "USER");
    CHECK(saslprep("\xc2\xaa") == "a");
    CHECK(saslprep("\xe2\x85\xa8") == "IX");
    CHECK_FALSE(saslprep("\x07"));
    CHECK_FALSE(
        saslprep("\xd8\xa7"
                 "1"));
    CHECK_FALSE(saslprep(""));
    CHECK_FALSE(saslprep("\xc2\xad"));  // nothing is left
    CHECK_FALSE(saslprep("\xff"));
    CHECK(saslprep("a\xc2\xa0"
                   "b") == "a b");
    CHECK(saslprep("p\xf0\x9f\x98\x80") == "p\xf0\x9f\x98\x80");
}

TEST_CASE("PLAIN messages have three parts", "[sasl][rfc4616-2]") {
    const auto plain = parse_plain(
        "\0tim\0tanstaaf"s
        "tanstaaf");
    REQUIRE(plain.has_value());
    CHECK(plain->authzid.empty());
    CHECK(plain->username == "tim");
    CHECK(plain->password == "tanstaaftanstaaf");
    CHECK(parse_plain("Ursel\0Kurt\0xipj3plmq"s)->authzid == "Ursel");
    for (const auto& bad : {""s, "a"s, "\0a"s, "\0\0x"s, "\0a\0"s, "\0a\0b\0c"s, "\0a\x07\0b"s})
        CHECK(parse_plain(bad).error() == SaslFailure::malformed_request);
    CHECK(parse_plain("\0a\0\xff"s).error() == SaslFailure::incorrect_encoding);
}

TEST_CASE("the account is the user at the stream's domain", "[sasl][rfc6120-6.3.8]") {
    CHECK(sasl_account("Romeo", "", "Example.test")->to_string() == "romeo@example.test");
    CHECK(sasl_account("romeo@example.test", "", "example.test")->to_string() == "romeo@example.test");
    CHECK(sasl_account("romeo", "Romeo@example.test", "example.test").has_value());
    CHECK(sasl_account("romeo", "juliet@example.test", "example.test").error() ==
          SaslFailure::invalid_authzid);
    CHECK(sasl_account("romeo", "romeo@example.test/x", "example.test").error() ==
          SaslFailure::invalid_authzid);
    CHECK(sasl_account("romeo", "romeo", "example.test").error() == SaslFailure::invalid_authzid);
    CHECK(sasl_account("romeo@other.test", "", "example.test").error() == SaslFailure::not_authorized);
    CHECK(sasl_account("ro meo", "", "example.test").error() == SaslFailure::not_authorized);
    CHECK(sasl_account("romeo@example.test/x", "", "example.test").error() == SaslFailure::not_authorized);
}

#include "xmpp/jid.hpp"

#include <catch2/catch.hpp>
#include <unicode/usprep.h>
#include <unicode/ustring.h>

using namespace hexad;

TEST_CASE("addresses are normalised", "[jid][rfc7622-3]") {
    const std::pair<std::string, std::string> table[] = {
        {"Juliet@Capulet.LIT./balcony", "juliet@capulet.lit/balcony"},
        {"example.com", "example.com"},
        {"a@b/c@d/e", "a@b/c@d/e"},
        {"a.example.com/b@example.net", "a.example.com/b@example.net"},
        {"b@[::1]", "b@[::1]"},
        {"b@[0:0:0:0:0:0:0:1]/x", "b@[::1]/x"},
        {"b@192.0.2.1", "b@192.0.2.1"},
        {"\xc3\x84nne@B\xc3\x9c"
         "CHER.example",
         "\xc3\xa4nne@b\xc3\xbc"
         "cher.example"},
        {"a@xn--bcher-kva.example",
         "a@b\xc3\xbc"
         "cher.example"},
        {"\xcf\x83@example.com", "\xcf\x83@example.com"},
        {"fu\xc3\x9f@example.com", "fuss@example.com"},
        {"\xef\xbc\x91@example.com", "1@example.com"},
        {"a@example.com/Foo Bar \xf0\x9f\x98\x80", "a@example.com/Foo Bar \xf0\x9f\x98\x80"},
        {"a@b\xe3\x80\x82"
         "c",
         "a@b.c"},
        {"node_1.lab/x", "node_1.lab/x"},
        {"d'artagnan\\40x@y", ""},
    };
    for (const auto& [text, expected] : table) {
        INFO(text);
        const auto jid = Jid::parse(text);
        if (expected.empty()) {
            CHECK_FALSE(jid.has_value());
            continue;
        }
        REQUIRE(jid.has_value());
        CHECK(jid->to_string() == expected);
        CHECK(Jid::parse(jid->to_string()) == *jid);
        CHECK(Jid::make(jid->local(), jid->domain(), jid->resource()) == *jid);
    }
}

TEST_CASE("what is no address is refused with its reason", "[jid]") {
    const std::pair<std::string, JidError> table[] = {
        {"", JidError::no_domain},
        {"@example.com", JidError::bad_localpart},
        {"a@", JidError::no_domain},
        {"a@b/", JidError::bad_resourcepart},
        {"/r", JidError::no_domain},
        {"a@b@c", JidError::bad_domainpart},
        {"..", JidError::bad_domainpart},
        {".", JidError::bad_domainpart},
        {"a..b", JidError::bad_domainpart},
        {"-a.b", JidError::bad_domainpart},
        {"a b.c", JidError::bad_domainpart},
        {"a b@c", JidError::bad_localpart},
        {"a\"@c", JidError::bad_localpart},
        {"\xe2\x80\x8b@c", JidError::bad_localpart},  // zero-width space: nothing is left of it
        {"a@c/\xe2\x80\x8b", JidError::bad_resourcepart},
        {"\xef\xbc\xa0@c", JidError::bad_localpart},  // full-width @
        {"\xff@c", JidError::bad_localpart},
        {"a@\xff", JidError::bad_domainpart},
        {"a@c/\xc3", JidError::bad_resourcepart},
        {"a@c/x\x07", JidError::bad_resourcepart},
        {"a@[::1", JidError::bad_domainpart},
        {"a@[", JidError::bad_domainpart},
        {"a@[1.2.3.4]", JidError::bad_domainpart},
        {"a@xn--a\xc3\xa4", JidError::bad_domainpart},
        {"a@xn--0", JidError::bad_domainpart},
        {std::string(64, 'a') + ".b", JidError::bad_domainpart},
        {std::string(1024, 'a') + "@b", JidError::too_long},
        {"a@b/" + std::string(1024, 'a'), JidError::too_long},
        {"a@b/" + std::string(100000, 'a'), JidError::too_long},
    };
    for (const auto& [text, error] : table) {
        INFO(text.substr(0, 100));
        const auto jid = Jid::parse(text);
        REQUIRE_FALSE(jid.has_value());
        CHECK(jid.error() == error);
    }
    CHECK(Jid::parse(std::string(1023, 'a') + "@b/" + std::string(1023, 'r')).has_value());
}

TEST_CASE("the ASCII fast path gives what ICU gives", "[jid]") {
    const auto by_icu = [](UStringPrepProfileType type, char c) -> std::string {
        UErrorCode status = U_ZERO_ERROR;
        auto* profile = usprep_openByType(type, &status);
        const UChar wide[] = {'a', static_cast<UChar>(c), 'b'};
        UChar out[16];
        const auto size = usprep_prepare(profile, wide, 3, out, 16, USPREP_DEFAULT, nullptr, &status);
        usprep_close(profile);
        if (U_FAILURE(status)) return {};
        return std::string(out, out + size);
    };
    for (int c = 0; c < 128; ++c) {
        const std::string text = {'a', static_cast<char>(c), 'b'};
        INFO(c);
        const auto local = prepare_local(text);
        CHECK((local ? *local : std::string{}) == by_icu(USPREP_RFC3920_NODEPREP, static_cast<char>(c)));
        const auto resource = prepare_resource(text);
        CHECK((resource ? *resource : std::string{}) ==
              by_icu(USPREP_RFC3920_RESOURCEPREP, static_cast<char>(c)));
    }
}

TEST_CASE("every single code point prepares to itself or to something stable", "[jid]") {
    for (UChar32 c = 0x80; c < 0x11000; ++c) {
        if (U_IS_SURROGATE(c)) continue;
        char bytes[4];
        std::int32_t size = 0;
        U8_APPEND_UNSAFE(bytes, size, c);
        const std::string_view text(bytes, static_cast<std::size_t>(size));
        for (const auto prepare : {&prepare_local, &prepare_resource, &prepare_domain}) {
            if (const auto once = prepare(text)) {
                const auto twice = prepare(*once);
                if (!twice || *twice != *once) FAIL("U+" << std::hex << c);
            }
        }
    }
}

TEST_CASE("parts of an address", "[jid]") {
    const auto jid = *Jid::parse("a@b/c");
    CHECK(jid.local() == "a");
    CHECK(jid.domain() == "b");
    CHECK(jid.resource() == "c");
    CHECK(jid.is_full());
    CHECK(jid.bare() == *Jid::parse("a@b"));
    CHECK(jid.bare_view() == "a@b");
    CHECK(jid.domain_jid() == *Jid::parse("b"));
    CHECK(jid.bare().with_resource("x/y")->resource() == "x/y");
    CHECK_FALSE(jid.with_resource("").has_value());
    CHECK(Jid().empty());
    const auto host = *Jid::parse("b");
    CHECK(host.local().empty());
    CHECK(host.is_bare());
    CHECK(*Jid::parse("a") < host);
}

TEST_CASE("localparts are escaped where they must be", "[jid][xep0106]") {
    CHECK(escape_local("space cadet") == "space\\20cadet");
    CHECK(escape_local("d'artagnan@x") == "d\\27artagnan\\40x");
    CHECK(escape_local("c:\\net") == "c\\3a\\net");
    CHECK(escape_local("\\20") == "\\5c20");
    CHECK(Jid::make(escape_local("a \"&'/:<>@\\b"), "c").has_value());
}

#include "xml/element.hpp"

#include <catch2/catch.hpp>

#include "xml/stanza_parser.hpp"

using namespace hexad;

TEST_CASE("an element prints itself inside its parent's default namespace", "[xml]") {
    const auto message = Element("message", "jabber:client")
                             .set("to", "a@b")
                             .add(Element("body", "jabber:client").text("hi & <you>"));
    CHECK(message.to_string("jabber:client") ==
          "<message to='a@b'><body>hi &amp; &lt;you&gt;</body></message>");
    CHECK(message.to_string() ==
          "<message xmlns='jabber:client' to='a@b'><body>hi &amp; &lt;you&gt;</body></message>");
    CHECK(Element("x", "").to_string("jabber:client") == "<x xmlns=''/>");
}

TEST_CASE("what a printed element holds is read back equal", "[xml]") {
    const Element table[] = {
        Element("a", "jabber:client"),
        Element("a", ""),
        Element("a", "jabber:client").set("q", "it's \"quoted\"\t\r\n<&>").text("line\r\nline\ttab ]]> end"),
        Element("a", "jabber:client").set("xml:lang", "de").set("{urn:x}y", "1").set("{urn:z}y", "2"),
        Element("a", "u&'\"<>")
            .add(Element("b", ""))
            .text("t")
            .add(Element("c", "u&'\"<>").add(Element("d", "e"))),
        Element("lang", "http://www.w3.org/XML/1998/namespace").add(Element("b", "jabber:client")),
        Element("a", "jabber:client").text("\xf0\x9f\x98\x80 \xc3\xa9 \xe2\x82\xac \x7f"),
    };
    for (const auto& element : table) {
        const auto read = parse_element(element.to_string("jabber:client"));
        INFO(element);
        REQUIRE(read.has_value());
        CHECK(*read == element);
    }
}

TEST_CASE("characters that XML forbids are dropped", "[xml]") {
    std::string out;
    append_escaped(out, std::string_view("a\0b\x01\x1f\x7f\xff\xc3(\xed\xa0\x80\xef\xbf\xbf z", 18), false);
    CHECK(out == "ab\x7f( z");
}

TEST_CASE("children are found by name and namespace", "[xml]") {
    Element iq("iq", "jabber:client");
    iq.text("x")
        .add(Element("query", "a"))
        .add(Element("query", "b").text("1").text("2"))
        .text("y")
        .text("z");
    CHECK(iq.find("query", "b")->text() == "12");
    CHECK(iq.find("query", "c") == nullptr);
    CHECK(iq.find_ns("a")->name() == "query");
    CHECK(iq.first_element()->ns() == "a");
    CHECK(iq.elements().size() == 2);
    CHECK(iq.children().size() == 4);
    CHECK(iq.text() == "xyz");
    CHECK(iq.child_text("query", "b") == "12");
    iq.remove_if([](const Element& e) { return e.ns() == "a"; });
    CHECK(iq.elements().size() == 1);
    iq.set("id", "1").set("id", "2");
    CHECK(iq.attributes().size() == 1);
    CHECK(iq.attr("id") == "2");
    iq.remove_attr("id");
    CHECK_FALSE(iq.has_attr("id"));
}

#include "xml/stanza_parser.hpp"

#include <ostream>

#include <catch2/catch.hpp>

using namespace hexad;
using Kind = StanzaParser::Kind;

namespace hexad {
bool operator==(const StanzaParser::Event& a, const StanzaParser::Event& b) {
    return a.kind == b.kind && a.element == b.element && a.content_ns == b.content_ns && a.error == b.error;
}
std::ostream& operator<<(std::ostream& out, const StanzaParser::Event& e) {
    return out << "kind " << static_cast<int>(e.kind) << " error " << static_cast<int>(e.error) << ' '
               << e.content_ns << ' ' << e.element;
}
}  // namespace hexad

namespace {

const std::string head =
    "<?xml version='1.0' encoding='utf-8'?>\n<stream:stream to='a' version='1.0' xml:lang='en' "
    "xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>";

std::vector<StanzaParser::Event> run(std::string_view bytes, std::size_t portion, XmlLimits limits = {}) {
    StanzaParser parser(limits);
    std::vector<StanzaParser::Event> events;
    for (std::size_t i = 0; i < bytes.size(); i += portion) {
        parser.feed(bytes.substr(i, portion));
        while (auto event = parser.next()) events.push_back(std::move(*event));
    }
    return events;
}

/// The error that ends this stream; nothing if there is none. The same for every portioning.
std::optional<XmlError> error_of(std::string_view bytes, XmlLimits limits = {}) {
    const auto events = run(bytes, bytes.size(), limits);
    CHECK(run(bytes, 1, limits) == events);
    CHECK(run(bytes, 7, limits) == events);
    if (events.empty() || events.back().kind != Kind::error) return std::nullopt;
    return events.back().error;
}

}  // namespace

TEST_CASE("a stream is header, stanzas, footer", "[xml][rfc6120-4]") {
    const auto text =
        head +
        " <message to='x@y'><body>hi</body><x xmlns='urn:x' y='1'/></message>\n<presence/></stream:stream>";
    const auto events = run(text, text.size());
    REQUIRE(events.size() == 4);
    CHECK(events[0].kind == Kind::header);
    CHECK(events[0].content_ns == "jabber:client");
    CHECK(events[0].element.attr("to") == "a");
    CHECK(events[0].element.attr("xml:lang") == "en");
    CHECK(events[1].element == Element("message", "jabber:client")
                                   .set("to", "x@y")
                                   .add(Element("body", "jabber:client").text("hi"))
                                   .add(Element("x", "urn:x").set("y", "1")));
    CHECK(events[2].element.is("presence", "jabber:client"));
    CHECK(events[3].kind == Kind::footer);
    for (std::size_t portion = 1; portion < 40; ++portion) CHECK(run(text, portion) == events);
}

TEST_CASE("a stanza is there as soon as its last byte is", "[xml]") {
    StanzaParser parser;
    parser.feed(head);
    CHECK(parser.next()->kind == Kind::header);
    CHECK(parser.between_stanzas());
    const std::string stanza = "<message><body>a</body></message>";
    for (std::size_t i = 0; i < stanza.size(); ++i) {
        CHECK_FALSE(parser.next());
        parser.feed(std::string_view(stanza).substr(i, 1));
        CHECK(parser.between_stanzas() == (i + 1 == stanza.size()));
    }
    CHECK(parser.next()->kind == Kind::stanza);
}

TEST_CASE("what RFC 6120 restricts ends the stream", "[xml][rfc6120-11.1]") {
    for (const auto* bad : {"<!-- c -->", "<a><!-- c --></a>", "<?pi x?>", "<a><?pi x?></a>", "<a>&nbsp;</a>",
                            "<a b='&foo;'/>"})
        CHECK(error_of(head + bad) == XmlError::restricted_xml);
    CHECK(error_of("<!DOCTYPE x><x/>") == XmlError::restricted_xml);
    CHECK(error_of("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x/>") == XmlError::restricted_xml);
}

TEST_CASE("what is not well-formed ends the stream", "[xml][rfc6120-4.9.3.13]") {
    for (const auto* bad :
         {"</a>", "<a></b>", "<a b='1' b='2'/>", "<a b=1/>", "<p:a/>", "<a p:b='1'/>", "<a><</a>",
          "<a>&#0;</a>", "<a>&#xFFFF;</a>", "<a>]]></a>", "<?xml version='1.0'?>",
          "<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>", "<a xmlns:p=''/>"})
        CHECK(error_of(head + bad) == XmlError::not_well_formed);
    CHECK(error_of("\xef\xbb\xbf" + head) == XmlError::not_well_formed);
    CHECK(error_of("hello") == XmlError::not_well_formed);
    CHECK(error_of("<?xml version='1.1'?><stream:stream>") == XmlError::not_well_formed);
    CHECK(error_of("GET / HTTP/1.1\r\n\r\n") == XmlError::not_well_formed);
}

TEST_CASE("bytes that are no UTF-8 are a bad encoding", "[xml][rfc6120-4.9.3.22]") {
    for (const auto* bad : {"<a>\xff</a>", "<a>\xc0\xaf</a>", "<a>\xc3\x28</a>", "<a b='\xed\xa0\x80'/>"})
        CHECK(error_of(head + bad) == XmlError::bad_encoding);
    CHECK(error_of(head + "<a \xf0\x9f\x98\x80/>") == XmlError::not_well_formed);
    // Of the character where there should be a quotation mark, the rest comes later.
    CHECK(error_of(head + "<a b=\xf0\x9f") == XmlError::not_well_formed);
    CHECK(error_of(head + "<a b=\xff") == XmlError::bad_encoding);
}

TEST_CASE("only UTF-8 is spoken", "[xml][rfc6120-11.6]") {
    CHECK(error_of("<?xml version='1.0' encoding='ISO-8859-1'?><a/>") == XmlError::bad_encoding);
    CHECK(error_of("<?xml version='1.0' encoding='UTF-16'?><a/>") == XmlError::bad_encoding);
    CHECK(error_of(std::string_view("<\0s\0", 4)) == XmlError::bad_encoding);
    CHECK(error_of(head + std::string("<a></a\0>", 9)) == XmlError::not_well_formed);
    CHECK_FALSE(error_of("<?xml version='1.0' encoding='UTF-8' ?>" + head.substr(head.find("<s"))));
}

TEST_CASE("the root must be a stream in its namespace", "[xml][rfc6120-4.8]") {
    CHECK(error_of("<stream xmlns='jabber:client'>") == XmlError::bad_namespace_prefix);
    CHECK(error_of("<stream:foo xmlns:stream='http://etherx.jabber.org/streams'>") ==
          XmlError::bad_namespace_prefix);
    CHECK(error_of("<stream:stream xmlns:stream='http://example.org'>") == XmlError::bad_namespace_prefix);
    CHECK(error_of("<stream:stream>") == XmlError::not_well_formed);
}

TEST_CASE("between stanzas there is only white space", "[xml]") {
    CHECK_FALSE(error_of(head + " \r\n\t<a/> "));
    CHECK(error_of(head + "<a/>x") == XmlError::text_outside_stanza);
    CHECK(error_of(head + "<![CDATA[ ]]><a/>") == XmlError::text_outside_stanza);
    CHECK_FALSE(error_of(head + "<a><![CDATA[ <&> ]]></a>"));
    CHECK(error_of(head + "&#120;<a/>") == XmlError::text_outside_stanza);
}

TEST_CASE("limits hold while a stanza is incomplete", "[xml][rfc6120-13.12]") {
    const XmlLimits limits{.max_stanza = 1000, .max_header = 400, .max_depth = 4, .max_attributes = 3};
    CHECK_FALSE(error_of(head + "<a><b><c><d/></c></b></a>", limits));
    CHECK(error_of(head + "<a><b><c><d><e/></d></c></b></a>", limits) == XmlError::too_deep);
    CHECK_FALSE(error_of(head + "<a b='1' c='2' d='3'/>", limits));
    CHECK(error_of(head + "<a b='1' c='2' d='3' e='4'/>", limits) == XmlError::stanza_too_big);
    CHECK_FALSE(error_of(head + "<a>" + std::string(993, 'x') + "</a>", limits));
    CHECK(error_of(head + "<a>" + std::string(994, 'x') + "</a>", limits) == XmlError::stanza_too_big);
    CHECK(error_of(head + "<a>" + std::string(998, 'x'), limits) == XmlError::stanza_too_big);
    CHECK(error_of(head + "<a b='" + std::string(996, 'x'), limits) == XmlError::stanza_too_big);
    CHECK(error_of(head + "<" + std::string(1000, 'x'), limits) == XmlError::stanza_too_big);
    CHECK(
        error_of("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' a='" + std::string(400, 'x'),
                 limits) == XmlError::stanza_too_big);
    CHECK(error_of("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' a='" +
                       std::string(400, 'x') + "'>",
                   limits) == XmlError::stanza_too_big);
    std::string many = head;
    for (int i = 0; i < 100; ++i) many += std::string(100, ' ') + "<a>" + std::string(900, 'x') + "</a>";
    CHECK_FALSE(error_of(many, limits));
}

TEST_CASE("a long stream's parser is renewed without a trace", "[xml]") {
    std::string text = head;
    for (int i = 0; i < 12000; ++i)
        text +=
            "<a" + std::to_string(i) + " b" + std::to_string(i) + "='1'>text</a" + std::to_string(i) + ">";
    text += "</stream:stream>";
    for (const std::size_t portion : {std::size_t{1000}, std::size_t{32768}, text.size()}) {
        const auto events = run(text, portion);
        REQUIRE(events.size() == 12002);
        for (int i = 0; i < 12000; ++i) REQUIRE(events[i + 1].element.name() == "a" + std::to_string(i));
        CHECK(events.back().kind == Kind::footer);
    }
}

TEST_CASE("a parser that gave its memory back goes on where it was", "[xml]") {
    StanzaParser parser;
    parser.feed(
        "<stream:stream xmlns='jabber:client' xmlns:p='urn:p' "
        "xmlns:stream='http://etherx.jabber.org/streams'><a");
    CHECK(parser.next()->kind == Kind::header);
    parser.release_memory();  // half a stanza is there: nothing happens
    parser.feed("/>");
    CHECK(parser.next()->kind == Kind::stanza);
    parser.release_memory();
    CHECK(parser.between_stanzas());
    parser.feed(" <p:b/>");
    CHECK(parser.next()->element == Element("b", "urn:p"));
    parser.release_memory();
    parser.feed("</stream:stream>");
    CHECK(parser.next()->kind == Kind::footer);
}

TEST_CASE("reset starts a new stream", "[xml][rfc6120-4.3.3]") {
    StanzaParser parser;
    parser.feed(head + "<a/><b/>");
    CHECK(parser.next()->kind == Kind::header);
    parser.reset();
    CHECK_FALSE(parser.next());
    parser.feed("\n" + head);
    CHECK(parser.next()->kind == Kind::header);
    parser.feed("<bad");
    parser.feed("<");
    CHECK(parser.next()->kind == Kind::error);
    parser.feed("<a/>");
    CHECK_FALSE(parser.next());
}

TEST_CASE("one element is parsed whole or refused", "[xml]") {
    CHECK(parse_element("<a/>")->ns() == "jabber:client");
    CHECK(parse_element("<a/>", "")->ns().empty());
    CHECK(parse_element(" <a x='1'>t</a> ")->text() == "t");
    for (const auto* bad : {"", " ", "<a>", "<a/><b/>", "<a/>x", "x", "</stream:stream>",
                            "<a/></stream:stream>", "<a/><b", "<?xml version='1.0'?><a/>"})
        CHECK_FALSE(parse_element(bad).has_value());
    CHECK(parse_element("<a>12345</a>", "jabber:client", {.max_stanza = 11}).error() ==
          XmlError::stanza_too_big);
}

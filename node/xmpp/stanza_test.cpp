#include "xmpp/stanza.hpp"

#include <catch2/catch.hpp>

#include "xmpp/data_form.hpp"
#include "xmpp/errors.hpp"

using namespace hexad;

TEST_CASE("an error reply turns the stanza round", "[errors][rfc6120-8.3]") {
    const auto iq = *parse_element("<iq from='a@b/c' to='d@e' id='1' type='get'><q xmlns='u'/></iq>");
    CHECK(make_error_reply(iq, StanzaError::item_not_found("gone & lost")).to_string("jabber:client") ==
          "<iq from='d@e' to='a@b/c' id='1' type='error'><error type='cancel'><item-not-found "
          "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' "
          "xml:lang='en'>gone &amp; lost</text></error></iq>");
    CHECK(make_iq_result(iq).to_string("jabber:client") ==
          "<iq from='d@e' to='a@b/c' id='1' type='result'/>");
}

TEST_CASE("a stream error names its condition", "[errors][rfc6120-4.9]") {
    CHECK(stream_error("not-well-formed") ==
          "<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    CHECK(stream_condition(XmlError::restricted_xml) == "restricted-xml");
    CHECK(stream_condition(XmlError::stanza_too_big) == "policy-violation");
}

TEST_CASE("an unknown message type is normal", "[stanza][rfc6121-5.2.2]") {
    CHECK(message_type(Element("message", "jabber:client").set("type", "chat")) == MessageType::chat);
    CHECK(message_type(Element("message", "jabber:client").set("type", "bogus")) == MessageType::normal);
    CHECK(message_type(Element("message", "jabber:client")) == MessageType::normal);
}

TEST_CASE("a form is built and read", "[forms][xep0004]") {
    auto form = make_form("form", "urn:x",
                          {{.var = "a", .type = "boolean", .label = "A", .values = {"1"}},
                           {.var = "l", .type = "list-single", .options = {{"One", "1"}, {"", "2"}}}});
    CHECK(
        form.to_string() ==
        "<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' "
        "type='hidden'><value>urn:x</value></field><field "
        "var='a' type='boolean' label='A'><value>1</value></field><field var='l' type='list-single'><option "
        "label='One'><value>1</value></option><option><value>2</value></option></field></x>");
    CHECK_FALSE(read_form(form));
    form.set("type", "submit");
    const auto read = read_form(form);
    REQUIRE(read);
    CHECK(read->form_type == "urn:x");
    CHECK(read->boolean("a") == true);
    CHECK_FALSE(read->boolean("l"));
    CHECK_FALSE(read->first("none"));
}

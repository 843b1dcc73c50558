#include "xmpp/errors.hpp"

#include "xmpp/namespaces.hpp"

namespace hexad {

Element StanzaError::to_element() const {
    Element error("error", ns::client);
    error.set("type", type);
    error.add(Element(condition, ns::stanzas));
    if (!text.empty()) error.add(Element("text", ns::stanzas).set("xml:lang", "en").text(text));
    if (!app.name().empty()) error.add(app);
    return error;
}

Element make_error_reply(const Element& stanza, const StanzaError& error) {
    Element reply(stanza.name(), stanza.ns());
    if (stanza.has_attr("to")) reply.set("from", stanza.attr("to"));
    if (stanza.has_attr("from")) reply.set("to", stanza.attr("from"));
    if (stanza.has_attr("id")) reply.set("id", stanza.attr("id"));
    reply.set("type", "error");
    reply.add(error.to_element());
    return reply;
}

std::string stream_error(std::string_view condition, std::string_view text) {
    std::string out = "<stream:error>";
    Element defined(condition, ns::stream_errors);
    // RFC 6120 §4.9.3.19: where to go is the content of the condition itself.
    const bool redirects = condition == "see-other-host";
    if (redirects) defined.text(text);
    defined.append_to(out, ns::client);
    if (!text.empty() && !redirects)
        Element("text", ns::stream_errors).set("xml:lang", "en").text(text).append_to(out, ns::client);
    out += "</stream:error>";
    return out;
}

std::string_view stream_condition(XmlError error) {
    switch (error) {
        case XmlError::not_well_formed:
            return "not-well-formed";
        case XmlError::restricted_xml:
            return "restricted-xml";
        case XmlError::bad_encoding:
            return "unsupported-encoding";
        case XmlError::bad_namespace_prefix:
            return "invalid-namespace";
        case XmlError::stanza_too_big:
        case XmlError::too_deep:
            return "policy-violation";
        case XmlError::text_outside_stanza:
            return "bad-format";
    }
    return "undefined-condition";
}

}  // namespace hexad

#pragma once

#include <string>
#include <string_view>

#include "xml/element.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

enum class StanzaKind { message, presence, iq };
enum class MessageType { normal, chat, groupchat, headline, error };

/// Reads the type of a message; an unknown value is `normal` (RFC 6121 §5.2.2).
MessageType message_type(const Element& message);

/// A stanza with its addresses parsed once. `xml` keeps them as text too.
struct Stanza {
    StanzaKind kind = StanzaKind::message;
    Jid from;  ///< full JID of the sending resource
    Jid to;    ///< empty if absent
    Element xml;

    std::string_view type() const { return xml.attr("type"); }
    std::string_view id() const { return xml.attr("id"); }
};

/// An IQ on its way to the handler of its payload (RFC 6120 §8.2.3).
struct Iq {
    Jid from;
    Jid to;  ///< the account or service asked; the sender's own bare JID if the stanza had no `to`
    std::string id;
    bool is_set = false;
    Element payload;
};

Element make_iq_result(const Element& request);
/// `<message/>` or `<presence/>` with from, to and type (none if empty).
Element make_presence(const Jid& from, const Jid& to, std::string_view type = {});

}  // namespace hexad

#include "xmpp/stanza.hpp"

#include "xmpp/namespaces.hpp"

namespace hexad {

MessageType message_type(const Element& message) {
    const auto type = message.attr("type");
    if (type == "chat") return MessageType::chat;
    if (type == "groupchat") return MessageType::groupchat;
    if (type == "headline") return MessageType::headline;
    if (type == "error") return MessageType::error;
    return MessageType::normal;
}

Element make_iq_result(const Element& request) {
    Element reply("iq", request.ns());
    if (request.has_attr("to")) reply.set("from", request.attr("to"));
    if (request.has_attr("from")) reply.set("to", request.attr("from"));
    reply.set("id", request.attr("id"));
    reply.set("type", "result");
    return reply;
}

Element make_presence(const Jid& from, const Jid& to, std::string_view type) {
    Element presence("presence", ns::client);
    if (!from.empty()) presence.set("from", from.to_string());
    if (!to.empty()) presence.set("to", to.to_string());
    if (!type.empty()) presence.set("type", type);
    return presence;
}

}  // namespace hexad

#pragma once

#include <string_view>

/// XML namespaces, named by what they are in the field.
namespace hexad::ns {

inline constexpr std::string_view client = "jabber:client";
inline constexpr std::string_view streams = "http://etherx.jabber.org/streams";
inline constexpr std::string_view stream_errors = "urn:ietf:params:xml:ns:xmpp-streams";
inline constexpr std::string_view stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";
inline constexpr std::string_view tls = "urn:ietf:params:xml:ns:xmpp-tls";
inline constexpr std::string_view sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
inline constexpr std::string_view sasl_cb = "urn:xmpp:sasl-cb:0";
inline constexpr std::string_view bind = "urn:ietf:params:xml:ns:xmpp-bind";
inline constexpr std::string_view session = "urn:ietf:params:xml:ns:xmpp-session";
inline constexpr std::string_view roster = "jabber:iq:roster";
inline constexpr std::string_view roster_ver = "urn:xmpp:features:rosterver";
inline constexpr std::string_view pre_approval = "urn:xmpp:features:pre-approval";
inline constexpr std::string_view sm = "urn:xmpp:sm:3";
inline constexpr std::string_view csi = "urn:xmpp:csi:0";
inline constexpr std::string_view disco_info = "http://jabber.org/protocol/disco#info";
inline constexpr std::string_view disco_items = "http://jabber.org/protocol/disco#items";
inline constexpr std::string_view caps = "http://jabber.org/protocol/caps";
inline constexpr std::string_view ping = "urn:xmpp:ping";
inline constexpr std::string_view version = "jabber:iq:version";
inline constexpr std::string_view time = "urn:xmpp:time";
inline constexpr std::string_view last = "jabber:iq:last";
inline constexpr std::string_view vcard = "vcard-temp";
inline constexpr std::string_view vcard_update = "vcard-temp:x:update";
inline constexpr std::string_view private_storage = "jabber:iq:private";
inline constexpr std::string_view blocking = "urn:xmpp:blocking";
inline constexpr std::string_view blocking_errors = "urn:xmpp:blocking:errors";
inline constexpr std::string_view carbons = "urn:xmpp:carbons:2";
inline constexpr std::string_view forward = "urn:xmpp:forward:0";
inline constexpr std::string_view delay = "urn:xmpp:delay";
inline constexpr std::string_view mam = "urn:xmpp:mam:2";
inline constexpr std::string_view mam_extended = "urn:xmpp:mam:2#extended";
inline constexpr std::string_view mam_groupchat = "urn:xmpp:mam:2#groupchat-field";
inline constexpr std::string_view rsm = "http://jabber.org/protocol/rsm";
inline constexpr std::string_view sid = "urn:xmpp:sid:0";
inline constexpr std::string_view hints = "urn:xmpp:hints";
inline constexpr std::string_view chatstates = "http://jabber.org/protocol/chatstates";
inline constexpr std::string_view receipts = "urn:xmpp:receipts";
inline constexpr std::string_view markers = "urn:xmpp:chat-markers:0";
inline constexpr std::string_view data_validate = "http://jabber.org/protocol/xdata-validate";
inline constexpr std::string_view data_forms = "jabber:x:data";
inline constexpr std::string_view registration = "jabber:iq:register";
inline constexpr std::string_view muc = "http://jabber.org/protocol/muc";
inline constexpr std::string_view muc_user = "http://jabber.org/protocol/muc#user";
inline constexpr std::string_view muc_admin = "http://jabber.org/protocol/muc#admin";
inline constexpr std::string_view muc_owner = "http://jabber.org/protocol/muc#owner";
inline constexpr std::string_view conference = "jabber:x:conference";
inline constexpr std::string_view occupant_id = "urn:xmpp:occupant-id:0";
inline constexpr std::string_view self_ping_optimization =
    "http://jabber.org/protocol/muc#self-ping-optimization";
inline constexpr std::string_view upload = "urn:xmpp:http:upload:0";
inline constexpr std::string_view offline = "msgoffline";

}  // namespace hexad::ns

// XEP-0045 §7.2 to §7.7, §7.14: entering, presence, nicknames, leaving
#include <algorithm>
#include <charconv>
#include <deque>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "muc/step.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

/// What others see of a client's presence: its payload without what only the room may say.
Element clean(const Element& presence) {
    Element out("presence", ns::client);
    if (presence.has_attr("xml:lang")) out.set("xml:lang", presence.attr("xml:lang"));
    for (const auto* child : presence.elements()) {
        if (child->ns() == ns::muc || child->ns() == ns::muc_user || child->ns() == ns::occupant_id) continue;
        out.add(*child);
    }
    return out;
}

/// Whether the nickname is not spelt as the client sent it: it was prepared (RFC 7622 §3.4).
bool respelt(const Step& step, const std::string& nick) {
    const auto sent = step.xml.attr("to");
    return sent.substr(std::min(sent.find('/'), sent.size() - 1) + 1) != nick;
}

/// §7.2.14: how much of the past a client wants.
struct PastWanted {
    std::size_t stanzas = 20;
    std::size_t chars = static_cast<std::size_t>(-1);
    std::optional<Timestamp> since;
};

std::optional<std::size_t> number(const Element& element, std::string_view name) {
    const auto text = element.attr(name);
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

PastWanted past_wanted(const Element& x, Timestamp now) {
    PastWanted out;
    const auto* history = x.find("history", ns::muc);
    if (history == nullptr) return out;
    if (const auto chars = number(*history, "maxchars")) out.chars = *chars, out.stanzas = Room::kept_past;
    if (const auto age = number(*history, "seconds"); age && *age < 100'000'000) {
        out.since = now - seconds(*age);
        out.stanzas = Room::kept_past;
    }
    if (const auto since = parse_time(history->attr("since"))) {
        out.since = out.since ? std::max(*out.since, *since) : *since;
        out.stanzas = Room::kept_past;
    }
    if (const auto stanzas = number(*history, "maxstanzas"))
        out.stanzas = std::min(*stanzas, Room::kept_past);
    return out;
}

/// A message of the past as the client that enters gets it.
std::string past_text(const Step& step, const PastMessage& one) {
    auto text = addressed(one.xml, step.input.from);
    std::string delay = "<delay xmlns='urn:xmpp:delay' from='";
    append_escaped(delay, step.room.jid.to_string(), true);
    delay += "' stamp='" + format_time(one.at) + "'/>";
    constexpr std::string_view close = "</message>";
    text.insert(text.size() - close.size(), delay);
    return text;
}

/// Of UTF-8.
std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void send_past(Step& step, const Element& x) {
    const auto wanted = past_wanted(x, step.at);
    const auto& past = step.room.past;
    std::deque<std::string> texts;
    std::size_t chars = 0;
    for (auto one = past.rbegin(); one != past.rend() && texts.size() < wanted.stanzas; ++one) {
        if (wanted.since && one->at < *wanted.since) break;
        // What counts is the stanza as it is sent, its delay included.
        auto text = past_text(step, *one);
        const auto size = characters(text);
        if (wanted.chars - chars < size) break;
        chars += size;
        texts.push_front(std::move(text));
    }
    for (auto& text : texts) step.append(step.input.sid, make_bytes(std::move(text)));
}

void send_subject(Step& step) {
    std::string text = step.room.subject;
    if (text.empty()) {
        Element message("message", ns::client);
        message.set("from", step.room.jid.to_string())
            .set("type", "groupchat")
            .add(Element("subject", ns::client));
        text = message.to_string(ns::client);
    }
    step.append(step.input.sid, make_bytes(addressed(text, step.input.from)));
}

/// The joining client's own view: who is there, itself, what was said, what it is about (§7.1).
void welcome(Step& step, const Occupant& self, const Element& x, bool created) {
    auto& room = step.room;
    const About plain;
    for (const auto& [nick, other] : room.occupants) {
        if (&other == &self || !room.shows(other)) continue;
        const auto text = step.presence(other, self, plain, false).to_string(ns::client);
        step.append(step.input.sid, make_bytes(addressed(text, step.input.from)));
    }
    About own;
    if (room.config.shows_jids) own.self_status.push_back(100);
    if (room.config.archived) own.self_status.push_back(170);
    if (created) own.self_status.push_back(201);
    if (respelt(step, self.nick)) own.self_status.push_back(210);
    step.append(step.input.sid, make_bytes(step.own_presence(self, self.sessions.back(), own)));
    send_past(step, x);
    send_subject(step);
}

std::optional<StanzaError> refuse_join(Step& step, const std::string& nick, const Element& x) {
    auto& room = step.room;
    const auto affiliation = step.sender_affiliation();
    if (affiliation == Affiliation::outcast) return StanzaError::forbidden();
    if (room.config.locked && affiliation != Affiliation::owner)
        return StanzaError::item_not_found("the room is not set up yet");
    if (room.config.members_only && affiliation < Affiliation::member)
        return StanzaError::registration_required();
    if (!room.config.password.empty() && x.child_text("password", ns::muc) != room.config.password) {
        return StanzaError::not_authorized();
    }
    const auto* holder = room.find(nick);
    if (holder != nullptr && holder->account != step.input.from.bare()) return StanzaError::conflict();
    const auto* registered = room.holder_of(nick);
    if (registered != nullptr && *registered != step.input.from.bare())
        return StanzaError::conflict("the nickname is reserved");
    if (holder == nullptr && affiliation < Affiliation::admin &&
        room.occupants.size() >= room.config.max_users) {
        return StanzaError("wait", "service-unavailable", "the room is full");
    }
    return std::nullopt;
}

void create(Step& step) {
    auto& room = step.room;
    room.exists = true;
    room.config = {};
    room.config.secret = random_id(16);
    step.set_affiliation(step.input.from.bare(), Affiliation::owner, {}, {});
    step.save_room();
}

void take_session(Step& step, const std::string& sid) {
    auto* occupant = step.room.find_sid(sid);
    std::erase_if(occupant->sessions, [&](const OccupantSession& s) { return s.sid == sid; });
    step.drop(sid);
    if (occupant->sessions.empty()) step.room.occupants.erase(std::string(occupant->nick));
}

void join(Step& step, const std::string& nick, const Element& x) {
    auto& room = step.room;
    const bool created = !room.exists;
    if (created) create(step);
    if (const auto error = refuse_join(step, nick, x)) {
        step.refuse(*error);
        return;
    }
    const auto bare = step.input.from.bare();
    // §17.3: who asks for everything again has not left: its role stays what it was made.
    const auto former_role = step.sender != nullptr ? std::optional(step.sender->role) : std::nullopt;
    // A client that comes again has forgotten what it knew; one whose full JID another session had has
    // replaced it.
    std::vector<std::string> former;
    for (const auto& [other, occupant] : room.occupants) {
        for (const auto& session : occupant.sessions) {
            if (session.sid == step.input.sid || session.jid == step.input.from)
                former.push_back(session.sid);
        }
    }
    for (const auto& sid : former) take_session(step, sid);
    step.sender = nullptr;

    auto& occupant = room.occupants[nick];
    if (occupant.sessions.empty()) {
        occupant.nick = nick;
        occupant.account = bare;
        occupant.role = former_role.value_or(room.entry_role(bare));
    }
    room.gone.erase(nick);
    occupant.sessions.push_back({step.input.sid, step.input.from, clean(step.xml)});
    step.save(occupant);
    step.show(occupant, {}, step.input.sid);
    welcome(step, occupant, x, created);
}

void change_nick(Step& step, const std::string& nick) {
    auto& room = step.room;
    auto* holder = room.find(nick);
    const auto* registered = room.holder_of(nick);
    if ((holder != nullptr && holder->account != step.sender->account) ||
        (registered != nullptr && *registered != step.sender->account)) {
        step.refuse(StanzaError::conflict());
        return;
    }
    About leaving;
    leaving.leaves = true;
    leaving.status = {303};
    leaving.new_nick = nick;
    step.show(*step.sender, leaving);
    // All clients behind the old nickname come along; they may find others of the account behind the new one.
    Occupant moved = std::move(*step.sender);
    if (room.shows(moved)) room.remember_gone(moved.nick, step.at);
    room.gone.erase(nick);
    room.occupants.erase(std::string(moved.nick));
    auto& occupant = room.occupants[nick];
    if (occupant.sessions.empty()) {
        occupant.role = moved.role;
        occupant.account = moved.account;
        occupant.nick = nick;
    }
    for (auto& session : moved.sessions) occupant.sessions.push_back(std::move(session));
    step.sender = &occupant;
    step.sender_session()->presence = clean(step.xml);
    step.save(occupant);
    About now;
    if (respelt(step, nick)) now.self_status.push_back(210);
    step.show(occupant, now);
}

void leave(Step& step, std::vector<int> status, const std::string& reason) {
    if (step.sender == nullptr) return;
    auto& occupant = *step.sender;
    auto farewell = clean(step.xml);
    if (step.xml.attr("type") == "error") farewell = Element("presence", ns::client);
    About what;
    what.leaves = true;
    what.status = std::move(status);
    what.reason = reason;
    what.farewell = &farewell;
    if (occupant.sessions.size() == 1) {
        step.remove(occupant, std::move(what));
        return;
    }
    // Others of the account stay behind the nickname: only the one who goes hears it.
    const auto session = *step.sender_session();
    step.notice(session.sid, session.jid, make_bytes(step.own_presence(occupant, session, what)));
    const bool was_shown = occupant.sessions.back().sid == session.sid;
    take_session(step, session.sid);
    step.sender = nullptr;
    if (was_shown) step.show(occupant, {});
}

/// §7.2.1: presence of somebody who is not in the room and does not ask to enter: its client has lost its
/// place.
void tell_gone(Step& step) {
    Element presence = make_presence(step.to, step.input.from, "unavailable");
    if (step.xml.has_attr("id")) presence.set("id", step.xml.attr("id"));
    Element x("x", ns::muc_user);
    Element item("item", ns::muc_user);
    item.set("affiliation", "none")
        .set("role", "none")
        .add_text_child("reason", ns::muc_user, "You are not in the room.");
    x.add(std::move(item));
    for (const auto* code : {"110", "307", "333"}) x.add(Element("status", ns::muc_user).set("code", code));
    presence.add(std::move(x));
    if (step.room.exists) {
        presence.add(
            Element("occupant-id", ns::occupant_id).set("id", step.room.occupant_id(step.input.from.bare())));
    }
    step.notice(step.input.sid, step.input.from, make_bytes(presence.to_string(ns::client)));
}

/// Who is there and who has left of late, once more: for a session that went on at another node, where
/// presence on its way to it was lost. The router asks by a probe (Router::resync).
void tell_state(Step& step) {
    const auto& room = step.room;
    const auto& self = *step.sender;
    const auto tell = [&](const Element& presence) {
        step.notice(step.input.sid, step.input.from,
                    make_bytes(addressed(presence.to_string(ns::client), step.input.from)));
    };
    for (const auto& [nick, at] : room.gone) {
        if (at < step.at - Room::gone_time || room.occupants.contains(nick)) continue;
        Element presence("presence", ns::client);
        presence.set("from", room.occupant_jid(nick).to_string()).set("type", "unavailable");
        Element x("x", ns::muc_user);
        x.add(Element("item", ns::muc_user).set("affiliation", "none").set("role", "none"));
        presence.add(std::move(x));
        tell(presence);
    }
    for (const auto& [nick, other] : room.occupants) {
        if (&other != &self && room.shows(other)) tell(step.presence(other, self, {}, false));
    }
    tell(step.presence(self, self, {}, true));
}

}  // namespace

bool is_join(const Element& stanza) {
    if (stanza.name() != "presence" || stanza.has_attr("type") || stanza.find("x", ns::muc) == nullptr)
        return false;
    const auto to = Jid::parse(stanza.attr("to"));
    return to && to->is_full() && is_visible(to->resource()) && to->resource().size() <= max_nick;
}

void decide_presence(Step& step) {
    const auto type = step.xml.attr("type");
    if (type == "unavailable") return leave(step, {}, {});
    if (type == "error") return leave(step, {333}, "the client reports an error");
    if (type == "probe" && step.sender != nullptr) return tell_state(step);
    if (!type.empty()) return;  // subscriptions mean nothing to a room
    const std::string nick(step.to.resource());
    if (!is_visible(nick)) return step.refuse(StanzaError::jid_malformed("a nickname is needed"));
    if (nick.size() > max_nick) return step.refuse(StanzaError::not_acceptable("the nickname is too long"));
    const auto* x = step.xml.find("x", ns::muc);
    if (step.sender == nullptr) return x != nullptr ? join(step, nick, *x) : tell_gone(step);
    if (step.sender->nick != nick) return change_nick(step, nick);
    if (x != nullptr) return join(step, nick, *x);
    auto& occupant = *step.sender;
    step.sender_session()->presence = clean(step.xml);
    // The newest presence is the one that is shown.
    const auto it = std::find_if(occupant.sessions.begin(), occupant.sessions.end(),
                                 [&](const OccupantSession& s) { return s.sid == step.input.sid; });
    std::rotate(it, it + 1, occupant.sessions.end());
    step.save(occupant);
    step.show(occupant, {});
}

}  // namespace hexad::muc

#include "muc/step.hpp"

#include "xmpp/namespaces.hpp"

namespace hexad::muc {

Step::Step(Room& r, ModuleContext& c, const RoomInput& i, Element stanza, std::uint64_t position)
    : room(r), ctx(c), input(i), xml(std::move(stanza)), at(wall_now()) {
    batch.origin = {"room:" + room.jid.to_string(), position, 0};
    batch.room_step = true;
    batch.epoch.e = room.epoch;
    batch.room_position = position;
    if (auto parsed = Jid::parse(xml.attr("to"))) to = std::move(*parsed);
    sender = room.find_sid(input.sid);
}

OccupantSession* Step::sender_session() {
    if (sender == nullptr) return nullptr;
    for (auto& session : sender->sessions) {
        if (session.sid == input.sid) return &session;
    }
    return nullptr;
}

// ---- to clients ----

void Step::append(const std::string& sid, Bytes text, EntryKind kind, const std::string& stanza_id) {
    LogAppend append;
    append.sid = sid;
    append.origin = batch.origin;
    append.origin.sub = ++appended_[sid];
    append.kind = kind;
    append.stanza_id = stanza_id;
    append.xml = std::move(text);
    batch.appends.push_back(std::move(append));
}

void Step::notice(const std::string& sid, const Jid& full, Bytes bytes) {
    Notice notice;
    notice.account = full.bare();
    notice.sid = sid;
    notice.xml = std::move(bytes);
    batch.notices.push_back(std::move(notice));
}

void Step::refuse(const StanzaError& error) {
    const auto type = xml.attr("type");
    if (type == "error" || (xml.name() == "iq" && type == "result") || input.sid.empty()) return;
    auto reply = make_error_reply(xml, error);
    reply.set("to", input.from.to_string());
    auto text = make_bytes(reply.to_string(ns::client));
    if (xml.name() == "presence") {
        notice(input.sid, input.from, std::move(text));
    } else {
        append(input.sid, std::move(text), xml.name() == "iq" ? EntryKind::iq : EntryKind::transient);
    }
}

void Step::answer(Element payload) {
    if (input.sid.empty()) return;
    auto reply = make_iq_result(xml);
    reply.set("to", input.from.to_string());
    if (!payload.name().empty()) reply.add(std::move(payload));
    append(input.sid, make_bytes(reply.to_string(ns::client)), EntryKind::iq);
}

void Step::to_all(const std::string& text, const std::string& stanza_id, bool logged) {
    for (const auto& [nick, occupant] : room.occupants) {
        for (const auto& session : occupant.sessions) {
            auto bytes = make_bytes(addressed(text, session.jid));
            if (logged) {
                append(session.sid, std::move(bytes), EntryKind::room, stanza_id);
            } else {
                notice(session.sid, session.jid, std::move(bytes));
            }
        }
    }
}

void Step::announce(const std::vector<int>& codes) {
    if (codes.empty()) return;
    Element message("message", ns::client);
    message.set("from", room.jid.to_string()).set("type", "groupchat");
    Element x("x", ns::muc_user);
    for (const auto code : codes) x.add(Element("status", ns::muc_user).set("code", std::to_string(code)));
    message.add(std::move(x));
    to_all(message.to_string(ns::client), {}, true);
}

// ---- presence ----

Element Step::presence(const Occupant& about, const Occupant& viewer, const About& what, bool self) const {
    const auto& newest = about.sessions.back();
    Element out("presence", ns::client);
    if (what.leaves) {
        if (what.farewell != nullptr) out = *what.farewell;
        out.set("type", "unavailable");
    } else {
        out = newest.presence;
    }
    out.set("from", room.occupant_jid(about.nick).to_string());
    Element x("x", ns::muc_user);
    Element item("item", ns::muc_user);
    const auto affiliation = room.affiliation_of(about.account);
    // Who destroys the room leaves nobody with a standing in it (§10.9).
    item.set("affiliation", name_of(what.destroy.name().empty() ? affiliation : Affiliation::none));
    item.set("role", name_of(what.leaves && what.new_nick.empty() ? Role::none : about.role));
    if (what.destroy.name().empty() && (self || room.sees_jids(viewer)))
        item.set("jid", newest.jid.to_string());
    if (!what.new_nick.empty()) item.set("nick", what.new_nick);
    if (!what.actor.empty()) item.add(Element("actor", ns::muc_user).set("nick", what.actor));
    if (!what.reason.empty()) item.add_text_child("reason", ns::muc_user, what.reason);
    x.add(std::move(item));
    if (!what.destroy.name().empty()) x.add(what.destroy);
    const auto status = [&x](int code) {
        x.add(Element("status", ns::muc_user).set("code", std::to_string(code)));
    };
    for (const auto code : what.status) status(code);
    if (self) {
        status(110);
        for (const auto code : what.self_status) status(code);
    }
    out.add(std::move(x));
    out.add(Element("occupant-id", ns::occupant_id).set("id", room.occupant_id(about.account)));
    return out;
}

std::string Step::own_presence(const Occupant& about, const OccupantSession& session,
                               const About& what) const {
    auto out = presence(about, about, what, true);
    if (session.sid == input.sid && xml.name() == "presence" && xml.has_attr("id"))
        out.set("id", xml.attr("id"));
    return addressed(out.to_string(ns::client), session.jid);
}

void Step::show(const Occupant& about, const About& what, const std::string& except) {
    // All viewers see one of two forms; what differs is only the address.
    std::string plain, with_jid;
    const bool shown = room.shows(about);
    for (const auto& [nick, viewer] : room.occupants) {
        const bool self = &viewer == &about;
        if (!self && !shown) continue;
        auto& text = room.sees_jids(viewer) ? with_jid : plain;
        if (!self && text.empty()) text = presence(about, viewer, what, false).to_string(ns::client);
        for (const auto& session : viewer.sessions) {
            if (session.sid == except) continue;
            auto one = self ? own_presence(about, session, what) : addressed(text, session.jid);
            notice(session.sid, session.jid, make_bytes(std::move(one)));
        }
    }
}

void Step::hide(const Occupant& about) {
    About what;
    what.leaves = true;
    for (const auto& [nick, viewer] : room.occupants) {
        if (&viewer == &about) continue;
        const auto text = presence(about, viewer, what, false).to_string(ns::client);
        for (const auto& session : viewer.sessions)
            notice(session.sid, session.jid, make_bytes(addressed(text, session.jid)));
    }
}

void Step::remove(Occupant& occupant, About what) {
    what.leaves = true;
    show(occupant, what);
    if (room.shows(occupant)) room.remember_gone(occupant.nick, at);
    for (const auto& session : occupant.sessions) drop(session.sid);
    if (sender == &occupant) sender = nullptr;
    room.occupants.erase(std::string(occupant.nick));
}

void Step::set_role(Occupant& occupant, Role role, const About& what) {
    const bool was_shown = room.shows(occupant);
    occupant.role = role;
    save(occupant);
    show(occupant, what);
    if (was_shown && !room.shows(occupant)) hide(occupant);
}

void Step::keep_role(const Occupant& occupant) {
    auto& kept = room.config.kept_roles;
    const auto who = occupant.account.to_string();
    const bool voice = occupant.role == Role::visitor || occupant.role == Role::participant;
    if (!room.config.moderated || !voice) return;
    if (occupant.role == default_role(room.affiliation_of(occupant.account), true)) {
        if (kept.erase(who) == 0) return;
    } else {
        if (kept.size() >= max_kept_roles && !kept.contains(who)) return;
        kept[who] = occupant.role;
    }
    save_room();
}

// ---- state ----

void Step::save(const Occupant& occupant) {
    for (const auto& session : occupant.sessions) {
        batch.occupants.push_back({room.jid, session.sid, room.encode(occupant, session), false});
    }
}

void Step::drop(const std::string& sid) { batch.occupants.push_back({room.jid, sid, {}, true}); }

void Step::set_affiliation(const Jid& bare, Affiliation affiliation, const std::string& nick,
                           const std::string& reason) {
    if (affiliation == Affiliation::none) {
        room.affiliates.erase(bare);
    } else {
        room.affiliates[bare] = {affiliation, nick, reason};
    }
    batch.affiliations.push_back({room.id, bare, std::string(name_of(affiliation)), nick, reason});
}

void Step::destroy_room(const Element& destroy) {
    About what;
    what.destroy = destroy;
    what.leaves = true;
    for (const auto& [nick, occupant] : room.occupants) {
        const auto text = presence(occupant, occupant, what, true).to_string(ns::client);
        for (const auto& session : occupant.sessions) {
            append(session.sid, make_bytes(addressed(text, session.jid)));
            drop(session.sid);
        }
    }
    batch.destroyed_rooms.push_back(room.id);
    batch.rooms.clear();
    batch.affiliations.clear();
    batch.room_archive.clear();
    room_changed_ = false;
    sender = nullptr;
    room.forget();
}

void Step::finish() {
    if (room.exists && !room.config.persistent && room.occupants.empty()) destroy_room({});
    if (room_changed_) batch.rooms.push_back({room.id, room.config.encode(), room.subject});
}

std::string addressed(std::string_view stanza, const Jid& to) {
    const auto end = stanza.find_first_of(" >/", 1);
    std::string out;
    out.reserve(stanza.size() + to.to_string().size() + 8);
    out += stanza.substr(0, end);
    out += " to='";
    append_escaped(out, to.to_string(), true);
    out += '\'';
    out += stanza.substr(end);
    return out;
}

std::string short_text(const Element& parent, std::string_view name, std::string_view ns) {
    auto text = parent.child_text(name, ns);
    if (text.size() > 1024) {
        auto end = std::size_t{1024};
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
        text.resize(end);
    }
    return text;
}

}  // namespace hexad::muc

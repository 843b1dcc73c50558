#include <charconv>

#include "hooks/module.hpp"
#include "routing/router.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

/// `<presence …>` with a `to` put in.
std::string addressed(std::string_view presence, const Jid& to) {
    std::string out("<presence to='");
    append_escaped(out, to.to_string(), true);
    out += '\'';
    out += presence.substr(std::string_view("<presence").size());
    return out;
}

/// `watcher`: one resource of a contact.
bool hidden(const RouteEntry& entry, const Jid& watcher) {
    return std::ranges::any_of(entry.hidden_from, [&](const Jid& jid) {
        if (jid.is_full()) return jid == watcher;
        return jid.bare_view() == watcher.bare_view() || jid.bare_view() == watcher.domain();
    });
}

/// RFC 6121 §4.7.2.3: an integer between -128 and 127.
std::optional<std::int8_t> read_priority(const Element& presence) {
    const auto* element = presence.find("priority", ns::client);
    if (element == nullptr) return std::int8_t{0};
    const auto text = element->text();
    int value = 0;
    const auto* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [end, ec] = std::from_chars(begin, text.data() + text.size(), value);
    if (ec != std::errc{} || end != text.data() + text.size() || value < -128 || value > 127)
        return std::nullopt;
    return static_cast<std::int8_t>(value);
}

}  // namespace

void Router::decide_presence(Stanza& stanza, const SessionPtr& session, Batch& batch) {
    const auto type = stanza.type();
    if (stanza.to.empty()) {
        if (type.empty() || type == "unavailable") {
            broadcast_presence(stanza, session, batch);
        } else if (type == "probe" || type == "error") {
            return;
        } else {
            refuse(stanza, session, StanzaError::bad_request("this type of presence needs an address"),
                   batch);
        }
        return;
    }
    if (type.empty() || type == "unavailable" || type == "error") {
        directed_presence(stanza, session, batch);
    } else if (type == "probe") {
        probe(stanza, session, batch);
    } else {
        // Subscription types are the business of the subscriptions module, which ran before; what arrives
        // here it left.
        refuse(stanza, session, StanzaError::bad_request("unknown type of presence"), batch);
    }
}

void Router::broadcast_presence(Stanza& stanza, const SessionPtr& session, Batch& batch) {
    auto& state = session->state;
    if (stanza.type() == "unavailable") {
        session->inherits_presence = false;
        if (!state.available) {
            take_back_directed(state, batch, &stanza.xml);
            return;
        }
        state.broadcast = stanza.xml.to_string(ns::client);
        // §4.5.2: the resource itself sees it too, while it still counts as available.
        send_to_self(session, addressed(state.broadcast, state.jid), EntryKind::transient, false, batch);
        ResourceUnavailable event{state, stanza.xml.child_text("status", ns::client), batch};
        take_back_directed(state, batch, &stanza.xml);
        state.available = false;
        state.presence.clear();
        state.priority = 0;
        hooks_.run(event);
        state.touch();
        return;
    }
    const auto priority = read_priority(stanza.xml);
    if (!priority) {
        refuse(stanza, session, StanzaError::bad_request("priority must be an integer from -128 to 127"),
               batch);
        return;
    }
    session->inherits_presence = false;
    const bool took_messages = state.available && state.priority >= 0;
    state.presence = stanza.xml.to_string(ns::client);
    state.priority = *priority;
    state.available = true;
    state.broadcast = state.presence;
    state.touch();
    if (*priority >= 0 && !took_messages && session->mode != SessionMode::filling) {
        session->mode = SessionMode::filling;  // XEP-0160: what waited comes before what comes now
        batch.filling.push_back(state.sid);
    }
}

void Router::directed_presence(Stanza& stanza, const SessionPtr& session, Batch& batch) {
    auto& state = session->state;
    const auto type = stanza.type();
    std::string label;
    if (!is_local_host(stanza.to.domain())) {
        if (host_of_service(stanza.to.domain(), label).empty()) {
            refuse(stanza, session, StanzaError::remote_server_not_found(), batch);
            return;
        }
        if (type == "unavailable") {
            state.rooms.erase(stanza.to);
        } else if (type.empty() && stanza.to.is_full()) {
            // A nick change replaces the occupant JID of that room.
            std::erase_if(state.rooms, [&](const Jid& j) { return j.bare_view() == stanza.to.bare_view(); });
            state.rooms.insert(stanza.to);
        }
        state.touch();
        to_service(stanza, session, batch);
        return;
    }
    if (type.empty()) {
        state.directed.insert(stanza.to);
        state.touch();
    } else if (type == "unavailable") {
        state.directed.erase(stanza.to);
        state.touch();
    }
    if (stanza.to.local().empty()) return;
    const auto recipient = accounts_.find(stanza.to.bare());
    if (!recipient || ModuleContext::blocks(*recipient, stanza.from)) return;
    Notice notice;
    notice.account = recipient->jid;
    notice.xml = make_bytes(stanza.xml.to_string(ns::client));
    if (stanza.to.is_full()) {
        const auto* entry = routes_.find_session(stanza.to);
        if (entry == nullptr) return;
        notice.sid = entry->sid;
    } else {
        notice.audience = Notice::Audience::available;
    }
    batch.notices.push_back(std::move(notice));
}

void Router::take_back_directed(SessionState& state, Batch& batch, const Element* said) {
    // §4.6.3: it is *that* unavailable presence which goes to them.
    const auto unavailable = [&](const Jid& to) {
        auto presence = said != nullptr ? *said : make_presence(state.jid, {}, "unavailable");
        presence.set("to", to.to_string());
        return make_bytes(presence.to_string(ns::client));
    };
    for (const auto& to : state.directed) {
        if (to.local().empty() || !is_local_host(to.domain())) continue;
        // Who sees the broadcast anyway is not told twice.
        const auto item = state.account->roster.find(to.bare());
        if (state.available && item != state.account->roster.end() && item->second.has_from()) continue;
        Notice notice;
        notice.account = to.bare();
        notice.xml = unavailable(to);
        if (to.is_full()) {
            const auto* entry = routes_.find_session(to);
            if (entry == nullptr) continue;
            notice.sid = entry->sid;
        } else {
            notice.audience = Notice::Audience::available;
        }
        batch.notices.push_back(std::move(notice));
    }
    for (const auto& occupant : state.rooms) {
        RoomInput input;
        input.room = occupant.bare();
        input.origin = batch.origin;
        input.origin.sub = static_cast<std::uint32_t>(batch.room_inputs.size()) + 1;
        input.sid = state.sid;
        input.from = state.jid;
        input.xml = unavailable(occupant);
        batch.room_inputs.push_back(std::move(input));
    }
    if (!state.directed.empty() || !state.rooms.empty()) state.touch();
    state.directed.clear();
    state.rooms.clear();
}

void Router::probe(const Stanza& stanza, const SessionPtr& session, Batch& batch) {
    if (!is_local_host(stanza.to.domain()) || stanza.to.local().empty()) return;
    const auto contact = accounts_.find(stanza.to.bare());
    if (contact && ModuleContext::blocks(*contact, stanza.from)) return;
    if (!contact || !ModuleContext::subscribed(*contact, stanza.from)) {
        // RFC 6121 §4.3.2: no account, or no subscription, is answered as if there was none to be had.
        auto reply = make_presence(stanza.to.bare(), session->state.jid, "unsubscribed");
        send_to_self(session, reply.to_string(ns::client), EntryKind::transient, false, batch);
        return;
    }
    const auto* route = routes_.find(contact->jid);
    bool any = false;
    if (route != nullptr) {
        for (const auto& entry : route->sessions) {
            if (!entry.available || (stanza.to.is_full() && entry.jid != stanza.to)) continue;
            any = true;
            send_to_self(session, addressed(entry.presence, session->state.jid), EntryKind::transient, false,
                         batch);
        }
    }
    if (!any) {
        auto reply = make_presence(stanza.to, session->state.jid, "unavailable");
        send_to_self(session, reply.to_string(ns::client), EntryKind::transient, false, batch);
    }
}

void Router::fan_out(const RouteChange& change) {
    if (change.broadcast.empty()) return;
    const auto send_to = [&](const Jid& bare) {
        const auto* route = routes_.find(bare);
        if (route == nullptr) return;
        Bytes bytes;
        for (const auto& entry : route->sessions) {
            if (!entry.available || entry.node != options_.node) continue;
            const auto session = find_session(entry.sid);
            if (!session || session->finished) continue;
            if (bare == change.account) {  // §4.2.2: the account's own resources, each by its name
                session->push(make_bytes(addressed(change.broadcast, entry.jid)));
                continue;
            }
            if (hidden(change.entry, entry.jid)) continue;
            if (bytes == nullptr) bytes = make_bytes(addressed(change.broadcast, bare));
            session->push(bytes);
        }
    };
    send_to(change.account);
    const auto watchers = accounts_.watchers(change.account);
    for (auto* watcher : watchers) {
        if (watcher->jid == change.account || ModuleContext::blocks(*watcher, change.entry.jid)) continue;
        send_to(watcher->jid);
    }
}

void Router::greet(const SessionPtr& session, bool again) {
    const auto& account = *session->state.account;
    const auto show = [&](const Jid& bare) {
        const auto* route = routes_.find(bare);
        if (route == nullptr) return;
        for (const auto& entry : route->sessions) {
            if (!entry.available) continue;
            const bool own = bare == account.jid;
            if (!own && (hidden(entry, session->state.jid) || ModuleContext::blocks(account, entry.jid)))
                continue;
            if (entry.sid == session->state.sid && !again) continue;  // its own comes with the route change
            session->push(make_bytes(addressed(entry.presence, account.jid)));
        }
    };
    show(account.jid);
    for (const auto& [jid, item] : account.roster) {
        if (item.has_to()) show(jid.bare());
    }
    for (const auto& [jid, item] : account.roster) {
        if (!item.pending_in.empty() && !ModuleContext::blocks(account, jid))
            session->push(make_bytes(item.pending_in));
    }
    ResourceAvailable event{session->state};
    hooks_.run(event);
}

}  // namespace hexad

// XEP-0045 §7.4 to §7.9, §7.13, §8.1: messages to all, private messages, subject, invitations, requests for
// voice
#include "base/text.hpp"
#include "muc/step.hpp"
#include "xmpp/data_form.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

constexpr std::string_view request_form = "http://jabber.org/protocol/muc#request";

/// The message as others may see it: what only the room may say is taken out, its sender's occupant id put
/// in.
Element cleaned(const Step& step) {
    Element out = step.xml;
    out.remove_attr("to");
    out.set("from", step.room.occupant_jid(step.sender->nick).to_string());
    // However it is spelt (XEP-0359 §3): who reads it may prepare it.
    const auto is_room = [&](std::string_view text) {
        const auto jid = Jid::parse(text);
        return jid && *jid == step.room.jid;
    };
    // Nor an account's id: it gets the message from here without any other look at it (§5).
    const auto is_ours = [&](std::string_view text) {
        const auto jid = Jid::parse(text);
        return jid && (*jid == step.room.jid || step.ctx.cluster().is_local_host(jid->domain()));
    };
    out.remove_if([&](const Element& child) {
        return child.ns() == ns::occupant_id || child.ns() == ns::muc_user ||
               (child.is("stanza-id", ns::sid) && is_ours(child.attr("by"))) ||
               (child.is("delay", ns::delay) && is_room(child.attr("from"))) ||
               child.ns() == "http://jabber.org/protocol/address";
    });
    out.add(Element("occupant-id", ns::occupant_id).set("id", step.room.occupant_id(step.sender->account)));
    return out;
}

bool only_chat_states(const Element& message) {
    bool any = false;
    for (const auto* child : message.elements()) {
        if (child->ns() == ns::chatstates) {
            any = true;
        } else if (child->ns() != ns::occupant_id && child->ns() != ns::hints && child->name() != "thread") {
            return false;
        }
    }
    return any;
}

bool worth_keeping(const Element& message) {
    if (message.find("no-store", ns::hints) != nullptr ||
        message.find("no-permanent-store", ns::hints) != nullptr)
        return false;
    if (message.find("store", ns::hints) != nullptr || message.find("body", ns::client) != nullptr)
        return true;
    const auto* marker = message.find_ns(ns::markers);
    return message.find("received", ns::receipts) != nullptr ||
           (marker != nullptr && marker->name() != "markable");
}

/// From what the occupant sent, whoever decides on it: a new owner of the room that finds a step half done
/// comes to the same id. Not from the place in the inbox, which may come again when Redis was lost.
std::string stanza_id(const Step& step) {
    const auto& origin = step.input.origin;
    return hex_encode(sha256(step.room.jid.to_string() + '/' + std::to_string(step.room.id) + '/' +
                             origin.source + '/' + std::to_string(origin.n) + '/' +
                             std::to_string(origin.sub)))
        .substr(0, 32);
}

void add_stanza_id(const Step& step, Element& message, const std::string& id) {
    message.add(Element("stanza-id", ns::sid).set("by", step.room.jid.to_string()).set("id", id));
}

/// Puts what was said into the archive, with who said it: that is taken out again for those who may not see
/// it (XEP-0313 §6.1.2).
void archive(Step& step, const std::string& id, std::string text) {
    const auto& sender = *step.sender;
    std::string about(sender_mark);
    about += name_of(step.sender_affiliation());
    about.append("' role='").append(name_of(sender.role)).append("' jid='");
    append_escaped(about, step.input.from.to_string(), true);
    about += "'/></x>";
    constexpr std::string_view close = "</message>";
    text.insert(text.size() - close.size(), about);
    const auto from = step.room.occupant_jid(sender.nick);
    step.batch.room_archive.push_back(
        {step.room.id, ++step.room.hist, id, from, step.at, make_bytes(std::move(text))});
}

void change_subject(Step& step) {
    const auto role = step.sender->role;
    if (role < Role::moderator && !(step.room.config.change_subject && role >= Role::participant)) {
        return step.refuse(StanzaError::forbidden());
    }
    auto message = cleaned(step);
    const auto id = stanza_id(step);
    if (step.room.config.archived) add_stanza_id(step, message, id);
    auto text = message.to_string(ns::client);
    step.to_all(text, id, true);
    if (step.room.config.archived && !step.room.stored.contains(id)) archive(step, id, std::move(text));
    message.add(Element("delay", ns::delay)
                    .set("from", step.room.jid.to_string())
                    .set("stamp", format_time(step.at)));
    step.room.subject = message.to_string(ns::client);
    step.save_room();
}

void groupchat(Step& step) {
    if (step.to.is_full()) return step.refuse(StanzaError::bad_request("private messages are of type chat"));
    if (step.sender == nullptr) return step.refuse(StanzaError::not_acceptable("only occupants may speak"));
    if (step.sender->role < Role::participant) return step.refuse(StanzaError::forbidden("no voice"));
    const bool has_body = step.xml.find("body", ns::client) != nullptr;
    if (step.xml.find("subject", ns::client) != nullptr && !has_body &&
        step.xml.find("thread", ns::client) == nullptr) {
        return change_subject(step);
    }
    auto message = cleaned(step);
    if (only_chat_states(message)) {
        step.to_all(message.to_string(ns::client), {}, false);
        return;
    }
    const auto id = stanza_id(step);
    const bool kept = worth_keeping(message) && step.room.config.archived;
    if (kept) add_stanza_id(step, message, id);
    auto text = message.to_string(ns::client);
    step.to_all(text, id, true);
    // Its row was stored by an owner who died before the step was done: archive and history have it.
    const bool stored = step.room.stored.contains(id);
    if (kept && !stored) archive(step, id, text);
    if (has_body && !stored) step.room.remember(step.at, std::move(text));
}

void private_message(Step& step) {
    if (step.sender == nullptr)
        return step.refuse(StanzaError::not_acceptable("only occupants may send private messages"));
    const auto least = step.room.config.private_messages;
    if (least == Role::none || step.sender->role < least) return step.refuse(StanzaError::forbidden());
    const auto* target = step.room.find(std::string(step.to.resource()));
    if (target == nullptr) return step.refuse(StanzaError::item_not_found("nobody of that name is here"));
    auto message = cleaned(step);
    message.add(Element("x", ns::muc_user));
    const auto text = message.to_string(ns::client);
    const auto from = step.room.occupant_jid(step.sender->nick);
    for (const auto& session : target->sessions) {
        const auto account = step.ctx.accounts().find(session.jid.bare());
        if (account && ModuleContext::blocks(*account, from)) {
            return step.refuse(StanzaError::service_unavailable());  // XEP-0191 §3.3
        }
        step.append(session.sid, make_bytes(addressed(text, session.jid)));
    }
}

// ---- invitations (§7.8.2) ----

std::optional<StanzaError> invite(Step& step, const Element& request) {
    auto& room = step.room;
    const auto who = Jid::parse(request.attr("to"));
    if (!who || who->local().empty()) return StanzaError::jid_malformed("the invitation has no address");
    const auto invitee = who->bare();
    const auto inviter = step.sender_affiliation();
    if (step.ctx.cluster().is_local_host(invitee.domain()) && !step.ctx.accounts().find(invitee))
        return StanzaError::item_not_found();
    const bool adds_member = room.config.members_only && room.affiliation_of(invitee) < Affiliation::member;
    // Into a room for members only invites who may edit its list, unless the owner lets everybody.
    const bool rules =
        inviter >= Affiliation::admin || (!room.config.members_only && step.sender->role == Role::moderator);
    if (!rules && !room.config.invites_allowed()) return StanzaError::forbidden();
    if (adds_member && room.affiliation_of(invitee) == Affiliation::outcast)
        return StanzaError::not_allowed("he is banned");
    if (adds_member) step.set_affiliation(invitee, Affiliation::member, {}, {});

    auto message =
        invitation(step, short_text(request, "reason", ns::muc_user), request.find("continue", ns::muc_user));
    if (step.xml.has_attr("id")) message.set("id", step.xml.attr("id"));
    step.ctx.cluster().route_from_service(message, room.jid, *who, step.batch);
    return std::nullopt;
}

void decline(Step& step, const Element& request) {
    const auto to = Jid::parse(request.attr("to"));
    if (!to || to->local().empty()) return step.refuse(StanzaError::jid_malformed());
    // The inviter is in the room, or was; to others the room carries nothing.
    const auto* inviter = step.room.find_account(to->bare());
    if (inviter == nullptr && step.room.affiliation_of(*to) < Affiliation::member) return;
    Element out("decline", ns::muc_user);
    out.set("from", step.input.from.bare().to_string());
    const auto reason = short_text(request, "reason", ns::muc_user);
    if (!reason.empty()) out.add_text_child("reason", ns::muc_user, reason);
    Element message("message", ns::client);
    message.set("from", step.room.jid.to_string());
    Element x("x", ns::muc_user);
    x.add(std::move(out));
    message.add(std::move(x));
    if (inviter == nullptr) {
        step.ctx.cluster().route_from_service(message, step.room.jid, to->bare(), step.batch);
        return;
    }
    const auto text = message.to_string(ns::client);
    for (const auto& session : inviter->sessions)
        step.append(session.sid, make_bytes(addressed(text, session.jid)));
}

// ---- requests for voice (§7.13, §8.6) ----

void voice(Step& step, const SubmittedForm& form) {
    if (step.sender == nullptr) return step.refuse(StanzaError::not_acceptable());
    auto& room = step.room;
    const auto nick = form.first("muc#roomnick");
    const auto allowed = form.boolean("muc#request_allow");
    if (nick && allowed) {
        if (step.sender->role < Role::moderator) return step.refuse(StanzaError::forbidden());
        auto* occupant = room.find(*nick);
        if (*allowed && occupant != nullptr && occupant->role == Role::visitor) {
            step.set_role(*occupant, Role::participant, {});
            step.keep_role(*occupant);
        }
        return;
    }
    if (step.sender->role != Role::visitor) return;
    Element message("message", ns::client);
    message.set("from", room.jid.to_string());
    message.add(make_form(
        "form", request_form,
        {{"muc#role", "list-single", "Requested role", {"participant"}, {{"Participant", "participant"}}},
         {"muc#jid", "jid-single", "Address", {step.input.from.to_string()}, {}},
         {"muc#roomnick", "text-single", "Nickname", {step.sender->nick}, {}},
         {"muc#request_allow", "boolean", "Grant voice?", {"0"}, {}}},
        "Request for voice"));
    const auto text = message.to_string(ns::client);
    for (const auto& [name, occupant] : room.occupants) {
        if (occupant.role != Role::moderator) continue;
        for (const auto& session : occupant.sessions)
            step.append(session.sid, make_bytes(addressed(text, session.jid)));
    }
}

/// A message to the room itself that is for nobody in particular.
void to_room(Step& step) {
    if (const auto* x = step.xml.find("x", ns::muc_user)) {
        if (const auto* request = x->find("decline", ns::muc_user)) return decline(step, *request);
        if (x->find("invite", ns::muc_user) != nullptr) {
            if (step.sender == nullptr)
                return step.refuse(StanzaError::not_acceptable("only occupants may invite"));
            for (const auto* request : x->elements()) {
                if (!request->is("invite", ns::muc_user)) continue;
                if (const auto error = invite(step, *request)) return step.refuse(*error);
            }
            return;
        }
    }
    if (const auto* x = step.xml.find("x", ns::data_forms)) {
        if (const auto form = read_form(*x); form && form->form_type == request_form)
            return voice(step, *form);
    }
    if (step.sender == nullptr) return step.refuse(StanzaError::not_acceptable());
    step.refuse(StanzaError::bad_request("messages to the room are of type groupchat"));
}

/// §7.2.13, §17.4: a client that bounces what the room sends is not there any more.
void bounced(Step& step) {
    if (step.sender == nullptr) return;
    const auto* error = step.xml.find("error", ns::client);
    if (error == nullptr) return;
    for (const auto* condition :
         {"gone", "item-not-found", "recipient-unavailable", "redirect", "remote-server-not-found",
          "remote-server-timeout", "service-unavailable", "jid-malformed"}) {
        if (error->find(condition, ns::stanzas) == nullptr) continue;
        step.xml = Element("presence", ns::client).set("type", "error");
        decide_presence(step);
        return;
    }
}

}  // namespace

std::vector<Jid> accounts_named(const Element& stanza) {
    std::vector<Jid> out;
    const auto add = [&](std::string_view text) {
        if (auto jid = Jid::parse(text); jid && !jid->local().empty() && out.size() < 100)
            out.push_back(jid->bare());
    };
    if (const auto* x = stanza.find("x", ns::muc_user)) {
        for (const auto* child : x->elements()) {
            if (child->name() == "invite" || child->name() == "decline") add(child->attr("to"));
        }
    }
    if (const auto* query = stanza.find("query", ns::muc_admin)) {
        for (const auto* item : query->elements()) {
            if (item->has_attr("jid")) add(item->attr("jid"));
        }
    }
    return out;
}

Element invitation(const Step& step, const std::string& reason, const Element* more) {
    const auto& room = step.room;
    Element out("invite", ns::muc_user);
    out.set("from", step.input.from.bare().to_string());
    if (!reason.empty()) out.add_text_child("reason", ns::muc_user, reason);
    if (more != nullptr) {
        Element continued("continue", ns::muc_user);
        if (more->has_attr("thread")) continued.set("thread", more->attr("thread"));
        out.add(std::move(continued));
    }
    Element message("message", ns::client);
    Element x("x", ns::muc_user);
    x.add(std::move(out));
    Element direct("x", ns::conference);
    direct.set("jid", room.jid.to_string());
    if (!reason.empty()) direct.set("reason", reason);
    if (!room.config.password.empty()) {
        x.add_text_child("password", ns::muc_user, room.config.password);
        direct.set("password", room.config.password);
    }
    message.add(std::move(x)).add(std::move(direct));
    return message;
}

void without_sender(std::string& xml) {
    constexpr std::string_view close = "</x></message>";
    const auto at = xml.rfind(sender_mark);
    // It is the last that a message has; what a client sent lies deeper or before the room's stanza-id.
    if (at == std::string::npos || xml.find(close, at) != xml.size() - close.size()) return;
    xml.replace(at, xml.size() - at, "</message>");
}

void decide_message(Step& step) {
    // §17.2: a room that is not set up yet is not there for others.
    if (step.room.config.locked && step.sender == nullptr) return step.refuse(StanzaError::item_not_found());
    switch (message_type(step.xml)) {
        case MessageType::groupchat:
            return groupchat(step);
        case MessageType::error:
            return bounced(step);
        case MessageType::headline:
            return;
        case MessageType::chat:
        case MessageType::normal:
            return step.to.is_full() ? private_message(step) : to_room(step);
    }
}

}  // namespace hexad::muc

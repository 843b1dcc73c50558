// XEP-0045 §7.10, §7.12: nicknames that are reserved by registering with the room (XEP-0077)
#include "muc/step.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

constexpr std::string_view form_type = "http://jabber.org/protocol/muc#register";

/// Who registers becomes a member. That would open a members-only room to everybody and give voice in a
/// moderated one, so there only members may.
bool may_register(const Step& step) {
    const auto affiliation = step.sender_affiliation();
    if (affiliation >= Affiliation::member) return true;
    const auto& config = step.room.config;
    return affiliation == Affiliation::none && !config.members_only && !config.moderated;
}

const std::string* nick_of(const Step& step) {
    const auto held = step.room.affiliates.find(step.input.from.bare());
    if (held == step.room.affiliates.end() || held->second.affiliation < Affiliation::member) return nullptr;
    return held->second.nick.empty() ? nullptr : &held->second.nick;
}

}  // namespace

Element reserved_nick(const Step& step) {
    Element query("query", ns::disco_info);
    query.set("node", "x-roomuser-item");
    if (const auto* nick = nick_of(step)) {
        query.add(Element("identity", ns::disco_info)
                      .set("category", "conference")
                      .set("type", "text")
                      .set("name", *nick));
    }
    return query;
}

void registration_get(Step& step) {
    if (!may_register(step)) return step.refuse(StanzaError::not_allowed());
    Element query("query", ns::registration);
    if (const auto* nick = nick_of(step)) {
        query.add(Element("registered", ns::registration));
        query.add_text_child("username", ns::registration, *nick);
        return step.answer(std::move(query));
    }
    FormField nick{"muc#register_roomnick", "text-single", "Nickname", {}, {}, true};
    query.add(
        make_form("form", form_type, {std::move(nick)}, "Registration with " + step.room.jid.to_string()));
    step.answer(std::move(query));
}

void registration_set(Step& step, const Element& query) {
    if (!may_register(step)) return step.refuse(StanzaError::not_allowed());
    auto& room = step.room;
    const auto bare = step.input.from.bare();
    const auto affiliation = step.sender_affiliation();
    if (query.find("remove", ns::registration) != nullptr) {
        if (nick_of(step) == nullptr) return step.refuse(StanzaError::registration_required());
        step.answer({});
        // Membership goes with the nickname; admins and owners were not made by registering.
        const auto left = affiliation == Affiliation::member ? Affiliation::none : affiliation;
        return change_affiliation(step, bare, left, {}, {}, {});
    }
    const auto* x = query.find("x", ns::data_forms);
    const auto form = x == nullptr ? std::nullopt : read_form(*x);
    if (!form || form->type != "submit" || form->form_type != form_type)
        return step.refuse(StanzaError::bad_request("not a submitted registration"));
    const auto wanted = form->first("muc#register_roomnick").value_or("");
    const auto full = wanted.empty() ? std::nullopt : std::optional(room.jid.with_resource(wanted));
    if (!full) return step.refuse(StanzaError::bad_request("a nickname is needed"));
    if (!*full || !is_visible((*full)->resource()) || (*full)->resource().size() > max_nick)
        return step.refuse(StanzaError::not_acceptable("the nickname is not acceptable"));
    const std::string nick((*full)->resource());
    const auto* holder = room.holder_of(nick);
    const auto* occupant = room.find(nick);
    if ((holder != nullptr && *holder != bare) || (occupant != nullptr && occupant->account != bare))
        return step.refuse(StanzaError::conflict("the nickname is somebody else's"));
    step.answer({});
    change_affiliation(step, bare, std::max(affiliation, Affiliation::member), nick, {}, {});
}

}  // namespace hexad::muc

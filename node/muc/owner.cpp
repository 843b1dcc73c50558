// XEP-0045 §10: configuration and end of a room
#include "muc/step.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

void destroy(Step& step, const Element& request) {
    Element out("destroy", ns::muc_user);
    if (const auto venue = Jid::parse(request.attr("jid"))) out.set("jid", venue->to_string());
    const auto reason = short_text(request, "reason", ns::muc_owner);
    if (!reason.empty()) out.add_text_child("reason", ns::muc_user, reason);
    const auto password = short_text(request, "password", ns::muc_owner);
    if (!password.empty()) out.add_text_child("password", ns::muc_user, password);
    step.destroy_room(out);
    step.answer({});  // §10.9: behind the presence that shows the owner out
}

void configure(Step& step, const Element& x) {
    auto& room = step.room;
    const auto form = read_form(x);
    if (!form) return step.refuse(StanzaError::bad_request("not a submitted form"));
    if (form->type == "cancel") {
        // §10.1.3: a room that was never set up does not come to be.
        step.answer({});
        if (room.config.locked) step.destroy_room(Element("destroy", ns::muc_user));
        return;
    }
    auto config = room.config.with(*form);
    if (!config) return step.refuse(config.error());
    config->locked = false;
    const auto before = std::exchange(room.config, std::move(*config));
    step.save_room();
    step.answer({});
    if (before.locked) return;
    step.announce(config_changes(before, room.config));

    std::vector<std::string> out;
    for (auto& [nick, occupant] : room.occupants) {
        if (room.config.members_only && room.affiliation_of(occupant.account) < Affiliation::member) {
            out.push_back(nick);
        } else if (before.moderated && !room.config.moderated && occupant.role == Role::visitor) {
            step.set_role(occupant, Role::participant, {});
        } else if (const bool was = before.shown_roles.contains(occupant.role); was != room.shows(occupant)) {
            was ? step.hide(occupant) : step.show(occupant, {}, occupant.sessions.back().sid);
        }
    }
    for (const auto& nick : out) {
        About what;
        what.status = {322};
        step.remove(*room.find(nick), std::move(what));
    }
}

}  // namespace

void owner_get(Step& step) {
    if (step.sender_affiliation() != Affiliation::owner) return step.refuse(StanzaError::forbidden());
    Element query("query", ns::muc_owner);
    query.add(step.room.config.form(step.room.jid.to_string()));
    step.answer(std::move(query));
}

void owner_set(Step& step, const Element& query) {
    if (step.sender_affiliation() != Affiliation::owner) return step.refuse(StanzaError::forbidden());
    if (const auto* request = query.find("destroy", ns::muc_owner)) return destroy(step, *request);
    if (const auto* x = query.find("x", ns::data_forms)) return configure(step, *x);
    step.refuse(StanzaError::bad_request());
}

}  // namespace hexad::muc

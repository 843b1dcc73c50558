// XEP-0045 §8 and §9: roles and affiliations
#include "muc/step.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

/// One `<item/>` of a request, looked up.
struct Change {
    Occupant* occupant = nullptr;  ///< for a role
    std::optional<Role> role;
    Jid jid;  ///< for an affiliation: bare, or a domain
    std::optional<Affiliation> affiliation;
    std::string nick;
    std::string reason;
};

Result<Change, StanzaError> read_change(Step& step, const Element& item) {
    Change out;
    out.reason = short_text(item, "reason", ns::muc_admin);
    auto& room = step.room;
    auto* occupant = item.has_attr("nick") ? room.find(std::string(item.attr("nick"))) : nullptr;
    if (item.has_attr("role") == item.has_attr("affiliation"))
        return StanzaError::bad_request("an item has a role or an affiliation");
    if (item.has_attr("role")) {
        out.role = read_role(item.attr("role"));
        if (!out.role || !item.has_attr("nick")) return StanzaError::bad_request();
        if (occupant == nullptr) return StanzaError::item_not_found("nobody of that name is here");
        out.occupant = occupant;
        const Standing actor{step.sender_affiliation(),
                             step.sender == nullptr ? Role::none : step.sender->role};
        const Standing target{room.affiliation_of(occupant->account), occupant->role};
        if (const auto error = refuse_role(actor, target, *out.role)) return *error;
        return out;
    }
    out.affiliation = read_affiliation(item.attr("affiliation"));
    if (!out.affiliation) return StanzaError::bad_request();
    if (item.has_attr("jid")) {
        auto jid = Jid::parse(item.attr("jid"));
        if (!jid) return StanzaError::jid_malformed();
        out.jid = jid->bare();
        const bool gives_up = item.has_attr("nick") && item.attr("nick").empty();
        if (*out.affiliation == Affiliation::outcast || gives_up) {
            out.nick.clear();  // §9.1, §9.5: the reservation ends
        } else if (auto full = room.jid.with_resource(item.attr("nick"));
                   full && is_visible(full->resource()) && full->resource().size() <= max_nick) {
            out.nick = full->resource();
            if (const auto* holder = room.holder_of(out.nick); holder != nullptr && *holder != out.jid)
                return StanzaError::conflict("the nickname is reserved");
        } else if (const auto held = room.affiliates.find(out.jid); held != room.affiliates.end()) {
            out.nick = held->second.nick;
        }
    } else if (occupant != nullptr) {
        out.jid = occupant->account;
    } else {
        return item.has_attr("nick") ? StanzaError::item_not_found() : StanzaError::bad_request();
    }
    if (out.jid.local().empty() && *out.affiliation >= Affiliation::admin)
        return StanzaError::not_acceptable("a domain cannot rule a room");
    const auto held = room.affiliates.find(out.jid);
    const auto now = held == room.affiliates.end() ? Affiliation::none : held->second.affiliation;
    const bool self = out.jid == step.input.from.bare();
    if (const auto error = refuse_affiliation(step.sender_affiliation(), now, *out.affiliation, self))
        return *error;
    return out;
}

/// Whether the room has an owner after all changes (§10.5).
bool keeps_owner(const Room& room, const std::vector<Change>& changes) {
    std::map<Jid, Affiliation> after;
    for (const auto& [jid, one] : room.affiliates) after[jid] = one.affiliation;
    for (const auto& change : changes) {
        if (change.affiliation) after[change.jid] = *change.affiliation;
    }
    return std::any_of(after.begin(), after.end(),
                       [](const auto& one) { return one.second == Affiliation::owner; });
}

void apply_role(Step& step, const Change& change, const std::string& actor) {
    About what;
    what.reason = change.reason;
    what.actor = actor;
    if (*change.role != Role::none) {
        step.set_role(*change.occupant, *change.role, what);
        return step.keep_role(*change.occupant);
    }
    what.status = {307};
    step.remove(*change.occupant, std::move(what));
}

/// §9.3: somebody who is not there hears that his standing has changed, with status 101.
void tell_absent(Step& step, const Jid& who, Affiliation affiliation, const std::string& reason) {
    if (who.local().empty() || affiliation < Affiliation::member) return;
    Element message("message", ns::client);
    Element x("x", ns::muc_user);
    Element item("item", ns::muc_user);
    item.set("affiliation", name_of(affiliation)).set("role", "none").set("jid", who.to_string());
    if (!reason.empty()) item.add_text_child("reason", ns::muc_user, reason);
    x.add(std::move(item)).add(Element("status", ns::muc_user).set("code", "101"));
    message.add(std::move(x));
    step.ctx.cluster().route_from_service(message, step.room.jid, who, step.batch);
}

/// §9.5, §9.8, §10.5, §10.8: who may read which list.
bool may_read(Step& step, Affiliation list) {
    const auto affiliation = step.sender_affiliation();
    if (affiliation == Affiliation::owner) return true;
    if (affiliation == Affiliation::admin && (list < Affiliation::admin || step.room.config.shows_jids))
        return true;
    // Members of a room that hides no address know each other anyway; end-to-end encryption needs the list.
    return list != Affiliation::outcast && affiliation == Affiliation::member && step.room.config.shows_jids;
}

}  // namespace

void change_affiliation(Step& step, const Jid& who, Affiliation affiliation, const std::string& nick,
                        const std::string& reason, const std::string& actor) {
    auto& room = step.room;
    const auto was = room.affiliation_of(who);
    std::vector<std::string> touched;
    std::map<std::string, Affiliation> before;
    for (const auto& [name, occupant] : room.occupants) {
        if (occupant.account != who && occupant.account.domain_jid() != who) continue;
        touched.push_back(name);
        before[name] = room.affiliation_of(occupant.account);
    }
    step.set_affiliation(who, affiliation, nick, reason);
    if (affiliation != was && room.config.kept_roles.erase(who.to_string()) > 0) step.save_room();
    for (const auto& name : touched) {
        auto* occupant = room.find(name);
        const auto now = room.affiliation_of(occupant->account);
        if (now == before[name]) continue;
        About what;
        what.reason = reason;
        what.actor = actor;
        if (now == Affiliation::outcast || (room.config.members_only && now < Affiliation::member)) {
            what.status = {now == Affiliation::outcast ? 301 : 321};
            step.remove(*occupant, std::move(what));
            continue;
        }
        // Voice or moderator status that was granted for the stay is not taken by a lesser change.
        const auto standard = default_role(now, room.config.moderated);
        const bool was_tied = before[name] >= Affiliation::admin;
        step.set_role(*occupant, was_tied ? standard : std::max(occupant->role, standard), what);
    }
    if (!touched.empty() || who == step.input.from.bare()) return;
    if (room.config.members_only && affiliation == Affiliation::member && was < Affiliation::member) {
        // §9.5: who comes on the list of a room for members only is invited.
        step.ctx.cluster().route_from_service(invitation(step, reason), room.jid, who, step.batch);
        return;
    }
    tell_absent(step, who, affiliation, reason);
}

void admin_get(Step& step, const Element& query) {
    const auto* asked = query.find("item", ns::muc_admin);
    if (asked == nullptr) return step.refuse(StanzaError::bad_request());
    Element out("query", ns::muc_admin);
    if (asked->has_attr("affiliation")) {
        const auto list = read_affiliation(asked->attr("affiliation"));
        if (!list || *list == Affiliation::none) return step.refuse(StanzaError::bad_request());
        if (!may_read(step, *list)) return step.refuse(StanzaError::forbidden());
        for (const auto& [jid, one] : step.room.affiliates) {
            if (one.affiliation != *list) continue;
            Element item("item", ns::muc_admin);
            item.set("affiliation", name_of(*list)).set("jid", jid.to_string());
            // §17.4: no role.
            if (const auto* occupant = step.room.find_account(jid)) {
                item.set("nick", occupant->nick);
            } else if (!one.nick.empty()) {
                item.set("nick", one.nick);
            }
            if (!one.reason.empty()) item.add_text_child("reason", ns::muc_admin, one.reason);
            out.add(std::move(item));
        }
        return step.answer(std::move(out));
    }
    const auto list = read_role(asked->attr("role"));
    if (!list || *list == Role::none) return step.refuse(StanzaError::bad_request());
    const bool moderates = step.sender != nullptr && step.sender->role == Role::moderator;
    const bool rules = step.sender_affiliation() >= Affiliation::admin;
    if (!rules && (!moderates || *list == Role::moderator)) return step.refuse(StanzaError::forbidden());
    for (const auto& [nick, occupant] : step.room.occupants) {
        if (occupant.role != *list) continue;
        Element item("item", ns::muc_admin);
        item.set("affiliation", name_of(step.room.affiliation_of(occupant.account)))
            .set("role", name_of(*list));
        item.set("nick", nick).set("jid", occupant.sessions.back().jid.to_string());
        out.add(std::move(item));
    }
    step.answer(std::move(out));
}

void admin_set(Step& step, const Element& query) {
    std::vector<Change> changes;
    for (const auto* item : query.elements()) {
        if (!item->is("item", ns::muc_admin)) continue;
        auto change = read_change(step, *item);
        if (!change) return step.refuse(change.error());
        changes.push_back(std::move(*change));
    }
    if (changes.empty()) return step.refuse(StanzaError::bad_request());
    if (!keeps_owner(step.room, changes)) return step.refuse(StanzaError::conflict("a room keeps an owner"));
    const auto actor = step.sender == nullptr ? std::string() : step.sender->nick;
    for (auto& change : changes) {
        if (change.role) {
            // An earlier item may have removed the occupant.
            bool there = false;
            for (const auto& [nick, occupant] : step.room.occupants)
                there = there || &occupant == change.occupant;
            if (there) apply_role(step, change, actor);
        } else {
            change_affiliation(step, change.jid, *change.affiliation, change.nick, change.reason, actor);
        }
    }
    step.answer({});
}

}  // namespace hexad::muc

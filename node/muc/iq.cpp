// XEP-0045 §6 (discovery), §8 to §10 (requests to the room), §17.4 (requests between occupants), XEP-0410
// Self-Ping, XEP-0313 room archive
#include "base/text.hpp"
#include "hooks/archive_query.hpp"
#include "muc/step.hpp"
#include "xml/stanza_parser.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad::muc {

namespace {

/// Tells the sessions behind one nickname apart without naming them.
std::string tag_of(const std::string& sid) { return hex_encode(sha256("iq " + sid)).substr(0, 12); }

Element room_info(const Room& room) {
    Element query("query", ns::disco_info);
    const auto& config = room.config;
    Element identity("identity", ns::disco_info);
    identity.set("category", "conference").set("type", "text");
    identity.set("name", config.name.empty() ? std::string(room.jid.local()) : config.name);
    query.add(std::move(identity));
    const auto feature = [&query](std::string_view name) {
        query.add(Element("feature", ns::disco_info).set("var", name));
    };
    for (const auto& name :
         {ns::muc, ns::disco_info, ns::disco_items, ns::ping, ns::registration, ns::occupant_id,
          ns::self_ping_optimization, std::string_view("http://jabber.org/protocol/muc#stable_id"),
          std::string_view("http://jabber.org/protocol/muc#request")}) {
        feature(name);
    }
    feature(config.is_public ? "muc_public" : "muc_hidden");
    feature(config.persistent ? "muc_persistent" : "muc_temporary");
    feature(config.members_only ? "muc_membersonly" : "muc_open");
    feature(config.moderated ? "muc_moderated" : "muc_unmoderated");
    feature(config.shows_jids ? "muc_nonanonymous" : "muc_semianonymous");
    feature(config.password.empty() ? "muc_unsecured" : "muc_passwordprotected");
    if (config.archived) {
        for (const auto& name : {ns::mam, ns::mam_extended, ns::sid}) feature(name);
    }
    std::string subject;
    if (const auto past = parse_element(room.subject)) subject = past->child_text("subject", ns::client);
    query.add(make_form(
        "result", "http://jabber.org/protocol/muc#roominfo",
        {{"muc#roominfo_description", "text-single", "Description", {config.description}, {}},
         {"muc#roominfo_subject", "text-single", "Subject", {subject}, {}},
         {"muc#roominfo_changesubject", "boolean", "", {config.change_subject ? "1" : "0"}, {}},
         {"muc#roominfo_occupants", "text-single", "Occupants", {std::to_string(room.occupants.size())}, {}},
         {"muc#roomconfig_roomname", "text-single", "Name", {config.name}, {}}}));
    return query;
}

Element room_items(const Room& room, bool inside) {
    Element query("query", ns::disco_items);
    if (!room.config.is_public && !inside) return query;
    for (const auto& [nick, occupant] : room.occupants) {
        if (!room.shows(occupant)) continue;
        query.add(Element("item", ns::disco_items)
                      .set("jid", room.occupant_jid(nick).to_string())
                      .set("name", nick));
    }
    return query;
}

// ---- archive ----

awaitable<IqResult> archive_page(ModuleContext& ctx, RoomId room, Jid room_jid, bool sees_jids,
                                 IqRequest& request) {
    const auto query = read_archive_query(request.iq.payload, ctx.options().archive_page_limit);
    if (!query) co_return query.error();
    auto page = co_await ctx.store().room_archive_page(room, *query);
    if (!page) co_return StanzaError::try_again();
    if (page->id_not_found) co_return StanzaError::item_not_found();
    if (!sees_jids) {
        for (auto& item : page->items) without_sender(item.xml);
    }
    request.before = archive_messages(*page, request.iq.payload, room_jid, request.iq.from);
    co_return archive_fin(*page);
}

awaitable<IqResult> archive_span(ModuleContext& ctx, RoomId room) {
    const auto span = co_await ctx.store().room_archive_span(room);
    if (!span) co_return StanzaError::try_again();
    co_return archive_metadata(*span);
}

void archive(Step& step, const Element& payload) {
    const auto& config = step.room.config;
    const auto affiliation = step.sender_affiliation();
    if (!config.archived) return step.refuse(StanzaError::service_unavailable());
    // Who may enter may read what was said; a password is only proved by being there.
    const bool locked_out = (config.members_only && affiliation < Affiliation::member) ||
                            (!config.password.empty() && affiliation < Affiliation::member);
    if (affiliation == Affiliation::outcast || (locked_out && step.sender == nullptr)) {
        return step.refuse(StanzaError::forbidden());
    }
    const bool set = step.xml.attr("type") == "set";
    if (payload.name() == "query" && !set) return step.answer(archive_form());
    auto* ctx = &step.ctx;
    const auto id = step.room.id;
    if (payload.name() == "query") {
        const bool sees = config.shows_jids || affiliation >= Affiliation::admin ||
                          (step.sender != nullptr && step.sender->role == Role::moderator);
        step.later = [ctx, id, jid = step.room.jid, sees](IqRequest& r) {
            return archive_page(*ctx, id, jid, sees, r);
        };
    } else if (payload.name() == "metadata" && !set) {
        step.later = [ctx, id](IqRequest&) { return archive_span(*ctx, id); };
    } else {
        step.refuse(StanzaError::feature_not_implemented());
    }
}

// ---- between occupants ----

awaitable<IqResult> account_vcard(ModuleContext& ctx, Jid account, IqRequest& request) {
    const auto loaded = co_await ctx.accounts().load(account);
    if (!loaded) co_return StanzaError::try_again();
    request.account = *loaded;
    request.iq.to = account;
    const QName payload{std::string(ns::vcard), "vCard"};
    if (!request.account) co_return StanzaError::item_not_found();
    if (const auto* handler = ctx.hooks().find_answer(Target::account(), false, payload))
        co_return co_await (*handler)(request);
    co_return StanzaError::service_unavailable();
}

void relay_answer(Step& step) {
    if (step.sender == nullptr) return;
    const auto* asker = step.room.find(std::string(step.to.resource()));
    const auto id = step.xml.attr("id");
    const auto cut = id.find(':');
    if (asker == nullptr || cut == std::string_view::npos) return;
    for (const auto& session : asker->sessions) {
        if (tag_of(session.sid) != id.substr(0, cut)) continue;
        Element out = step.xml;
        out.set("id", id.substr(cut + 1)).set("to", session.jid.to_string());
        out.set("from", step.room.occupant_jid(step.sender->nick).to_string());
        step.append(session.sid, make_bytes(out.to_string(ns::client)), EntryKind::iq);
        return;
    }
}

void to_occupant(Step& step, const Element& payload) {
    const std::string nick(step.to.resource());
    if (step.sender == nullptr) {
        const bool disco = payload.ns() == ns::disco_info || payload.ns() == ns::disco_items;
        return step.refuse(disco ? StanzaError::bad_request()
                                 : StanzaError{"cancel", "not-acceptable", "you are not in the room"});
    }
    // XEP-0410 §3.3: the room answers for the client that asks whether it is still there.
    if (nick == step.sender->nick && payload.is("ping", ns::ping)) return step.answer({});
    const auto* target = step.room.find(nick);
    if (target == nullptr) return step.refuse(StanzaError::item_not_found());
    if (payload.is("vCard", ns::vcard) && step.xml.attr("type") == "get" &&
        step.ctx.cluster().is_local_host(target->account.domain())) {
        // §17.4: a vCard is the account's, whichever client is here.
        step.later = [ctx = &step.ctx, account = target->account](IqRequest& r) {
            return account_vcard(*ctx, account, r);
        };
        return;
    }
    const auto& session = target->sessions.back();
    Element out = step.xml;
    out.set("id", tag_of(step.input.sid) + ':' + std::string(step.xml.attr("id")))
        .set("to", session.jid.to_string());
    out.set("from", step.room.occupant_jid(step.sender->nick).to_string());
    step.append(session.sid, make_bytes(out.to_string(ns::client)), EntryKind::iq);
}

}  // namespace

void decide_iq(Step& step) {
    const auto type = step.xml.attr("type");
    if (type != "get" && type != "set") return relay_answer(step);
    const auto* found = step.xml.first_element();
    if (found == nullptr) return step.refuse(StanzaError::bad_request());
    const auto payload = *found;
    if (step.to.is_full()) return to_occupant(step, payload);
    auto& room = step.room;
    if (room.config.locked && step.sender_affiliation() != Affiliation::owner)
        return step.refuse(StanzaError::item_not_found());
    const bool set = type == "set";
    if (payload.is("query", ns::muc_owner)) return set ? owner_set(step, payload) : owner_get(step);
    if (payload.is("query", ns::muc_admin)) return set ? admin_set(step, payload) : admin_get(step, payload);
    if (payload.is("query", ns::registration))
        return set ? registration_set(step, payload) : registration_get(step);
    if (payload.ns() == ns::mam) return archive(step, payload);
    const bool inside = step.sender != nullptr || step.sender_affiliation() >= Affiliation::member;
    if (!set && (payload.is("query", ns::disco_info) || payload.is("query", ns::disco_items))) {
        if (payload.ns() == ns::disco_info && payload.attr("node") == "x-roomuser-item")
            return step.answer(reserved_nick(step));
        const auto node = payload.attr("node");
        if (payload.ns() == ns::disco_info && node == "http://jabber.org/protocol/muc#traffic")
            return step.refuse(StanzaError::feature_not_implemented());  // §18.1.1
        if (!node.empty()) return step.refuse(StanzaError::item_not_found());
        return step.answer(payload.ns() == ns::disco_info ? room_info(room) : room_items(room, inside));
    }
    if (!set && payload.is("ping", ns::ping)) return step.answer({});
    step.refuse(StanzaError::service_unavailable());
}

}  // namespace hexad::muc

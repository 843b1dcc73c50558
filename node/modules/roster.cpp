// RFC 6121 §2 Roster Management, with versioning (§2.6)
#include "base/ids.hpp"
#include "hooks/module.hpp"
#include "modules/roster_push.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

std::string_view subscription_name(Subscription s) {
    switch (s) {
        case Subscription::to:
            return "to";
        case Subscription::from:
            return "from";
        case Subscription::both:
            return "both";
        case Subscription::none:
            break;
    }
    return "none";
}

Element roster_item(const RosterItem& item) {
    Element element("item", ns::roster);
    element.set("jid", item.jid.to_string());
    element.set("subscription", subscription_name(item.subscription));
    if (!item.name.empty()) element.set("name", item.name);
    if (item.ask) element.set("ask", "subscribe");
    if (item.approved) element.set("approved", "true");
    for (const auto& group : item.groups) element.add_text_child("group", ns::roster, group);
    return element;
}

void push_roster(const AccountData& account, const RosterItem& item, bool removed, Batch& batch) {
    Element push("iq", ns::client);
    push.set("type", "set").set("id", "push-" + random_id(8));
    Element query("query", ns::roster);
    query.set("ver", std::to_string(account.roster_version));
    if (removed) {
        query.add(Element("item", ns::roster).set("jid", item.jid.to_string()).set("subscription", "remove"));
    } else {
        query.add(roster_item(item));
    }
    push.add(std::move(query));
    Notice notice;
    notice.audience = Notice::Audience::interested;
    notice.account = account.jid;
    notice.xml = make_bytes(push.to_string(ns::client));
    notice.address = true;
    batch.notices.push_back(std::move(notice));
}

namespace {

constexpr std::size_t max_contacts = 10000;
constexpr std::size_t max_name = 1023;

class RosterModule final : public Module {
public:
    explicit RosterModule(ModuleContext& ctx) : ctx_(ctx) {
        const QName query{std::string(ns::roster), "query"};
        ctx.decide_get(Target::account(), query, this, &RosterModule::get);
        ctx.decide_set(Target::account(), query, this, &RosterModule::set);
        ctx.hooks().stream_feature(Element("ver", ns::roster_ver));
        ctx.hooks().stream_feature(Element("sub", ns::pre_approval));
    }

private:
    IqResult get(IqRequest& request, Batch&) {
        if (request.account != request.sender) return StanzaError::forbidden();
        const auto& account = *request.account;
        auto& session = *request.session;
        if (!session.interested) {
            session.interested = true;
            session.touch();
        }
        const auto version = std::to_string(account.roster_version);
        if (request.iq.payload.has_attr("ver") && request.iq.payload.attr("ver") == version) return Element{};
        Element query("query", ns::roster);
        query.set("ver", version);
        for (const auto& [jid, item] : account.roster) {
            if (item.listed) query.add(roster_item(item));
        }
        return query;
    }

    IqResult set(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        auto& account = *request.account;
        const auto items = request.iq.payload.elements();
        if (items.size() != 1 || !items.front()->is("item", ns::roster)) {
            return StanzaError::bad_request("a roster set carries exactly one item");
        }
        const auto& element = *items.front();
        if (!element.has_attr("jid")) return StanzaError::bad_request("the item has no jid");
        const auto jid = Jid::parse(element.attr("jid"));
        if (!jid) return StanzaError::jid_malformed();
        const auto old = account.roster.find(*jid);
        const bool known = old != account.roster.end() && old->second.listed;
        if (element.attr("subscription") == "remove") {
            if (!known) return StanzaError::item_not_found();
            return remove(account, old->second, batch);
        }
        if (!known && account.roster.size() >= max_contacts) {
            return StanzaError::resource_constraint("the roster is full");
        }
        RosterItem item;
        if (old != account.roster.end()) item = old->second;
        item.jid = *jid;
        item.listed = true;
        item.name = std::string(element.attr("name"));
        if (item.name.size() > max_name) return StanzaError::not_acceptable("the name is too long");
        item.groups.clear();
        std::set<std::string> groups;
        for (const auto* group : element.elements()) {
            if (!group->is("group", ns::roster)) continue;
            auto name = group->text();
            if (name.empty() || name.size() > max_name) return StanzaError::not_acceptable("bad group name");
            if (!groups.insert(std::move(name)).second)
                return StanzaError::bad_request("a group stands twice");
        }
        item.groups.assign(groups.begin(), groups.end());
        AccountChange change;
        change.put.push_back(item);
        ctx_.cluster().change_account(account, std::move(change), batch);
        push_roster(account, item, false, batch);
        return Element{};
    }

    /// §2.5: what the subscription gave goes with the item, on both sides.
    IqResult remove(AccountData& account, RosterItem item, Batch& batch) {
        AccountChange change;
        change.remove.push_back(item.jid);
        ctx_.cluster().change_account(account, std::move(change), batch);
        push_roster(account, item, true, batch);
        ContactRemoved event{account, item, batch};
        ctx_.hooks().run(event);
        return Element{};
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_roster(ModuleContext& ctx) { return std::make_unique<RosterModule>(ctx); }

}  // namespace hexad

// RFC 6121 §3 Managing Presence Subscriptions, Appendix A
#include "hooks/module.hpp"
#include "modules/roster_push.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

Subscription with_to(Subscription s) {
    return s == Subscription::from || s == Subscription::both ? Subscription::both : Subscription::to;
}
Subscription with_from(Subscription s) {
    return s == Subscription::to || s == Subscription::both ? Subscription::both : Subscription::from;
}
Subscription without_to(Subscription s) {
    return s == Subscription::both || s == Subscription::from ? Subscription::from : Subscription::none;
}
Subscription without_from(Subscription s) {
    return s == Subscription::both || s == Subscription::to ? Subscription::to : Subscription::none;
}

/// Subscription stanzas: first the sender's roster (the "outbound" tables of Appendix A.2), then the
/// recipient's (A.3). Both are decided here over loaded accounts, each a change of its own.
class SubscriptionsModule final : public Module {
public:
    explicit SubscriptionsModule(ModuleContext& ctx) : ctx_(ctx) {
        ctx.on(Phase::act, this, &SubscriptionsModule::from_client);
        ctx.on(Phase::act, this, &SubscriptionsModule::contact_removed);
    }

private:
    Verdict from_client(StanzaFromClient& event) {
        const auto verdict = decide(event);
        // Presence comes behind the subscription stanza and the roster push that explain it (§3.1.5, §3.1.6).
        for (auto& notice : presences_) event.batch.notices.push_back(std::move(notice));
        presences_.clear();
        return verdict;
    }

    Verdict contact_removed(ContactRemoved& event) {
        const auto contact = event.item.jid.bare();
        const auto recipient = ctx_.accounts().find(contact);
        const auto& own = event.account.jid;
        if (recipient && recipient->jid != own && !ModuleContext::blocks(*recipient, own)) {
            for (const auto* type : {"unsubscribe", "unsubscribed"}) {
                const bool due = std::string_view(type) == "unsubscribe"
                                     ? event.item.has_to() || event.item.ask
                                     : event.item.has_from() || !event.item.pending_in.empty();
                if (due) inbound(*recipient, own, type, make_presence(own, contact, type), event.batch);
            }
        }
        if (event.item.has_from()) show_presence(event.account, contact, false);
        for (auto& notice : presences_) event.batch.notices.push_back(std::move(notice));
        presences_.clear();
        return Verdict::pass;
    }

    Verdict decide(StanzaFromClient& event) {
        auto& stanza = event.stanza;
        if (stanza.kind != StanzaKind::presence || stanza.to.empty()) return Verdict::pass;
        const auto type = std::string(stanza.type());
        if (type != "subscribe" && type != "subscribed" && type != "unsubscribe" && type != "unsubscribed") {
            return Verdict::pass;
        }
        auto& account = *event.session.account;
        const auto contact = stanza.to.bare();
        if (contact == account.jid) return Verdict::handled;
        std::string label;
        const bool local = ctx_.cluster().is_local_host(contact.domain());
        // §3.1.2: the address is bare on the way out, and the sender's is too.
        stanza.xml.set("from", account.jid.to_string());
        stanza.xml.set("to", contact.to_string());
        if (!outbound(account, contact, type, event.batch)) return Verdict::handled;
        if (!local) {
            if (ctx_.cluster().host_of_service(contact.domain(), label).empty()) {
                event.refusal = StanzaError::remote_server_not_found();
            }
            return Verdict::handled;
        }
        const auto recipient = ctx_.accounts().find(contact);
        if (!recipient)
            return Verdict::handled;  // RFC 6121 §8.5.1: nothing comes back; the request stays open
        if (!ModuleContext::blocks(*recipient, account.jid))
            inbound(*recipient, account.jid, type, stanza.xml, event.batch);
        return Verdict::handled;
    }

    static RosterItem item_of(const AccountData& account, const Jid& contact) {
        const auto it = account.roster.find(contact);
        if (it != account.roster.end()) return it->second;
        RosterItem item;
        item.jid = contact;
        item.listed = false;
        return item;
    }

    void put(AccountData& account, const RosterItem& item, Batch& batch) {
        AccountChange change;
        if (!item.listed && item.pending_in.empty() && !item.approved) {
            change.remove.push_back(item.jid);
        } else {
            change.put.push_back(item);
        }
        ctx_.cluster().change_account(account, std::move(change), batch);
    }

    /// The sender's side (A.2). False: the stanza goes no further.
    bool outbound(AccountData& account, const Jid& contact, const std::string& type, Batch& batch) {
        auto item = item_of(account, contact);
        const auto before = item;
        bool route = true;
        if (type == "subscribe") {
            if (!item.has_to()) {
                item.ask = true;
                item.listed = true;
            }
        } else if (type == "unsubscribe") {
            item.subscription = without_to(item.subscription);
            item.ask = false;
        } else if (type == "subscribed") {
            if (!item.pending_in.empty()) {
                item.pending_in.clear();
                item.subscription = with_from(item.subscription);
                item.listed = true;
            } else {
                route = false;
                if (!item.has_from()) {  // §3.4: pre-approval
                    item.approved = true;
                    item.listed = true;
                }
            }
        } else {
            route = item.has_from() || !item.pending_in.empty();
            item.subscription = without_from(item.subscription);
            item.pending_in.clear();
            item.approved = false;
        }
        if (!(item == before)) {
            put(account, item, batch);
            if (item.listed) push_roster(account, item, false, batch);
        }
        if (type == "subscribed" && item.has_from() && !before.has_from())
            show_presence(account, contact, true);
        if (type == "unsubscribed" && before.has_from()) show_presence(account, contact, false);
        return route;
    }

    /// The recipient's side (A.3).
    void inbound(AccountData& account, const Jid& from, const std::string& type, const Element& stanza,
                 Batch& batch) {
        auto item = item_of(account, from);
        const auto before = item;
        if (type == "subscribe") {
            if (item.has_from()) {  // already allowed: answered for the user
                answer(account, from, "subscribed", batch);
                return;
            }
            if (item.approved) {
                item.subscription = with_from(item.subscription);
                put(account, item, batch);
                push_roster(account, item, false, batch);
                answer(account, from, "subscribed", batch);
                show_presence(account, from, true);
                return;
            }
            auto text = stanza.to_string(ns::client);
            if (item.pending_in.empty()) {
                deliver(account, text, batch);
            }
            item.pending_in = std::move(text);
            put(account, item, batch);
        } else if (type == "subscribed") {
            if (!item.ask || item.has_to()) return relied_on(account, batch);
            item.ask = false;
            item.subscription = with_to(item.subscription);
            put(account, item, batch);
            deliver(account, stanza.to_string(ns::client), batch);
            push_roster(account, item, false, batch);
        } else if (type == "unsubscribe") {
            if (!item.has_from() && item.pending_in.empty()) return relied_on(account, batch);
            const bool had = item.has_from();
            item.subscription = without_from(item.subscription);
            item.pending_in.clear();
            put(account, item, batch);
            deliver(account, stanza.to_string(ns::client), batch);
            if (item.listed && had) push_roster(account, item, false, batch);
            if (had) show_presence(account, from, false);
        } else {
            if (!item.has_to() && !item.ask) return relied_on(account, batch);
            item.subscription = without_to(item.subscription);
            item.ask = false;
            put(account, item, batch);
            deliver(account, stanza.to_string(ns::client), batch);
            if (item.listed) push_roster(account, item, false, batch);
        }
    }

    /// Nothing changes because of how the account is: in a cluster the store is asked whether it is still so.
    void relied_on(AccountData& account, Batch& batch) {
        if (!batch.accounts.empty()) ctx_.cluster().change_account(account, {}, batch);
    }

    /// The recipient's server answers in his name; the asker's side of it is decided here as well.
    void answer(AccountData& account, const Jid& to, const std::string& type, Batch& batch) {
        if (const auto asker = ctx_.accounts().find(to)) {
            inbound(*asker, account.jid, type, make_presence(account.jid, to, type), batch);
        }
    }

    /// To every available resource, whether or not it asked for the roster.
    static void deliver(const AccountData& account, std::string xml, Batch& batch) {
        Notice notice;
        notice.audience = Notice::Audience::available;
        notice.account = account.jid;
        notice.xml = make_bytes(std::move(xml));
        batch.notices.push_back(std::move(notice));
    }

    /// The contact sees the account's resources come (or go) with the subscription.
    void show_presence(const AccountData& account, const Jid& contact, bool come) {
        const auto* route = ctx_.routes().find(account.jid);
        if (route == nullptr) return;
        for (const auto& entry : route->sessions) {
            if (!entry.available) continue;
            Notice notice;
            notice.audience = Notice::Audience::available;
            notice.account = contact;
            if (come) {
                auto presence = parse_element(entry.presence);
                if (!presence) continue;
                presence->set("to", contact.to_string());
                notice.xml = make_bytes(presence->to_string(ns::client));
            } else {
                notice.xml =
                    make_bytes(make_presence(entry.jid, contact, "unavailable").to_string(ns::client));
            }
            presences_.push_back(std::move(notice));
        }
    }

    ModuleContext& ctx_;
    std::vector<Notice> presences_;  ///< of the decision under way
};

}  // namespace

std::unique_ptr<Module> make_subscriptions(ModuleContext& ctx) {
    return std::make_unique<SubscriptionsModule>(ctx);
}

}  // namespace hexad

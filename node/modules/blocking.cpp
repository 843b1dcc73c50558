// XEP-0191 Blocking Command, version 1.3
#include "base/ids.hpp"
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class BlockingModule final : public Module {
public:
    explicit BlockingModule(ModuleContext& ctx) : ctx_(ctx) {
        const std::string space(ns::blocking);
        ctx.decide_get(Target::account(), QName{space, "blocklist"}, this, &BlockingModule::list);
        ctx.decide_set(Target::account(), QName{space, "block"}, this, &BlockingModule::block);
        ctx.decide_set(Target::account(), QName{space, "unblock"}, this, &BlockingModule::unblock);
        ctx.feature(Target::server(), ns::blocking);
        ctx.on(Phase::guard, this, &BlockingModule::outbound);
    }

private:
    IqResult list(IqRequest& request, Batch&) {
        if (request.account != request.sender) return StanzaError::forbidden();
        auto& session = *request.session;
        if (!session.block_interested) {
            session.block_interested = true;
            session.touch();
        }
        Element list("blocklist", ns::blocking);
        for (const auto& jid : request.account->blocked) {
            list.add(Element("item", ns::blocking).set("jid", jid.to_string()));
        }
        return list;
    }

    static Result<std::vector<Jid>, StanzaError> items(const Element& payload) {
        std::vector<Jid> jids;
        for (const auto* item : payload.elements()) {
            if (!item->is("item", ns::blocking)) return StanzaError::bad_request();
            auto jid = Jid::parse(item->attr("jid"));
            if (!jid) return StanzaError::jid_malformed();
            jids.push_back(std::move(*jid));
        }
        return jids;
    }

    void push(const AccountData& account, const Element& payload, Batch& batch) {
        Element push("iq", ns::client);
        push.set("type", "set").set("id", "block-" + random_id(8));
        push.add(payload);
        Notice notice;
        notice.audience = Notice::Audience::block_interested;
        notice.account = account.jid;
        notice.xml = make_bytes(push.to_string(ns::client));
        notice.address = true;
        batch.notices.push_back(std::move(notice));
    }

    /// Contacts that see the account's presence and match what is (un)blocked: they see it go, or come back
    /// (§3.3, §3.4).
    void presence(const AccountData& account, const std::vector<Jid>& jids, bool available, Batch& batch) {
        const auto* route = ctx_.routes().find(account.jid);
        if (route == nullptr) return;
        for (const auto& [contact, item] : account.roster) {
            if (!item.has_from()) continue;
            const bool meant = std::any_of(jids.begin(), jids.end(), [&, c = contact](const Jid& jid) {
                return jid == c.bare() || (jid.local().empty() && jid.domain() == c.domain());
            });
            if (!meant) continue;
            for (const auto& entry : route->sessions) {
                if (!entry.available) continue;
                Notice notice;
                notice.audience = Notice::Audience::available;
                notice.account = contact.bare();
                if (available) {
                    auto element = parse_element(entry.presence);
                    if (!element) continue;
                    element->set("to", contact.bare().to_string());
                    notice.xml = make_bytes(element->to_string(ns::client));
                } else {
                    notice.xml = make_bytes(
                        make_presence(entry.jid, contact.bare(), "unavailable").to_string(ns::client));
                }
                batch.notices.push_back(std::move(notice));
            }
            if (!available || !item.has_to()) continue;
            // What the contact has become in the meantime (§3.4 leaves it to the server; users expect it).
            if (const auto* theirs = ctx_.routes().find(contact.bare())) {
                for (const auto& entry : theirs->sessions) {
                    if (!entry.available) continue;
                    auto element = parse_element(entry.presence);
                    if (!element) continue;
                    element->set("to", account.jid.to_string());
                    Notice notice;
                    notice.audience = Notice::Audience::available;
                    notice.account = account.jid;
                    notice.xml = make_bytes(element->to_string(ns::client));
                    batch.notices.push_back(std::move(notice));
                }
            }
        }
    }

    /// The routes of all resources carry who must not see them.
    void touch_sessions(const AccountData& account, SessionState& session, Batch& batch) {
        session.touch();
        const auto* route = ctx_.routes().find(account.jid);
        if (route == nullptr) return;
        for (auto entry : route->sessions) {
            if (entry.sid == session.sid) continue;
            entry.hidden_from.assign(account.blocked.begin(), account.blocked.end());
            RouteChange change;
            change.account = account.jid;
            change.entry = std::move(entry);
            change.moves_version = true;
            batch.routes.push_back(std::move(change));
        }
    }

    IqResult block(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        auto jids = items(request.iq.payload);
        if (!jids) return jids.error();
        if (jids->empty()) return StanzaError::bad_request("nobody is named");
        auto& account = *request.account;
        presence(account, *jids, false, batch);
        AccountChange change;
        change.block = *jids;
        ctx_.cluster().change_account(account, std::move(change), batch);
        touch_sessions(account, *request.session, batch);
        push(account, request.iq.payload, batch);
        return Element{};
    }

    IqResult unblock(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        auto jids = items(request.iq.payload);
        if (!jids) return jids.error();
        auto& account = *request.account;
        if (jids->empty()) jids->assign(account.blocked.begin(), account.blocked.end());
        AccountChange change;
        change.unblock = *jids;
        ctx_.cluster().change_account(account, std::move(change), batch);
        touch_sessions(account, *request.session, batch);
        presence(account, *jids, true, batch);
        push(account, request.iq.payload, batch);
        return Element{};
    }

    /// §3.3: what the user sends to one he has blocked is refused.
    Verdict outbound(StanzaFromClient& event) {
        const auto& to = event.stanza.to;
        if (to.empty() || to.bare() == event.session.account->jid) return Verdict::pass;
        if (!ModuleContext::blocks(*event.session.account, to)) return Verdict::pass;
        if (event.stanza.kind == StanzaKind::presence && event.stanza.type() == "unavailable")
            return Verdict::pass;
        StanzaError error("cancel", "not-acceptable");
        error.app = Element("blocked", ns::blocking_errors);
        event.refusal = std::move(error);
        return Verdict::handled;
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_blocking(ModuleContext& ctx) { return std::make_unique<BlockingModule>(ctx); }

}  // namespace hexad

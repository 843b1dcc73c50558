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

    /// `watcher`, an account or one resource, sees a resource come or go.
    void show(const RouteEntry& entry, const Jid& watcher, bool come, Batch& batch) {
        auto presence =
            come ? parse_element(entry.presence) : make_presence(entry.jid, watcher, "unavailable");
        if (!presence) return;
        presence->set("to", watcher.to_string());
        send(*presence, watcher, batch);
    }

    void send(const Element& presence, const Jid& watcher, Batch& batch) {
        Notice notice;
        notice.account = watcher.bare();
        notice.audience = Notice::Audience::available;
        if (watcher.is_full()) {
            const auto* one = ctx_.routes().find_session(watcher);
            if (one == nullptr) return;
            notice.audience = Notice::Audience::session;
            notice.sid = one->sid;
        }
        notice.xml = make_bytes(presence.to_string(ns::client));
        batch.notices.push_back(std::move(notice));
    }

    /// Contacts that see the account's presence and match what is (un)blocked: they see it go, or come back
    /// (§3.3, §3.4).
    void presence(const AccountData& account, const std::vector<Jid>& jids, bool available, Batch& batch) {
        const auto* route = ctx_.routes().find(account.jid);
        if (route == nullptr) return;
        for (const auto& [contact, item] : account.roster) {
            if (!item.has_from()) continue;
            if (available && ModuleContext::blocks(account, contact)) continue;  // by another entry still
            const auto meant = [&, c = contact](const Jid& jid) {
                return jid == c.bare() || (jid.local().empty() && jid.domain() == c.domain());
            };
            const bool whole = std::any_of(jids.begin(), jids.end(), meant);
            std::vector<Jid> watchers;  // the contact, or those of its resources that are named (§7)
            if (whole) {
                watchers.push_back(contact.bare());
            } else {
                std::copy_if(jids.begin(), jids.end(), std::back_inserter(watchers),
                             [&, c = contact](const Jid& jid) {
                                 if (!jid.is_full() || jid.bare_view() != c.bare_view()) return false;
                                 const auto* one = ctx_.routes().find_session(jid);
                                 return one != nullptr && one->available;
                             });
            }
            for (const auto& watcher : watchers) {
                for (const auto& entry : route->sessions) {
                    if (entry.available) show(entry, watcher, available, batch);
                }
            }
            if (!available || !item.has_to() || watchers.empty()) continue;
            // What the contact has become in the meantime (§3.4 leaves it to the server; users expect it).
            if (const auto* theirs = ctx_.routes().find(contact.bare())) {
                for (const auto& entry : theirs->sessions) {
                    if (!entry.available) continue;
                    if (!whole && std::ranges::find(watchers, entry.jid) == watchers.end()) continue;
                    show(entry, account.jid, true, batch);
                }
            }
        }
    }

    /// Who is no contact but was sent presence by this resource sees it go as well.
    void take_back(SessionState& session, const std::vector<Jid>& jids, Batch& batch) {
        for (auto it = session.directed.begin(); it != session.directed.end();) {
            const auto to = *it;
            const bool meant = std::any_of(jids.begin(), jids.end(), [&](const Jid& jid) {
                return jid == to || jid == to.bare() || jid == to.domain_jid();
            });
            if (!meant) {
                ++it;
                continue;
            }
            it = session.directed.erase(it);
            const bool is_told = ModuleContext::subscribed(*session.account, to) && session.available;
            if (!is_told) send(make_presence(session.jid, to, "unavailable"), to, batch);
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
        take_back(*request.session, *jids, batch);
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
        std::erase_if(*jids, [&](const Jid& jid) { return !account.blocked.contains(jid); });
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
        // A room that was blocked from inside can still be left.
        if (event.stanza.kind == StanzaKind::presence && event.stanza.type() == "unavailable" &&
            !ctx_.cluster().is_local_host(to.domain()))
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

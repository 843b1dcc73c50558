#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "hooks/cluster_view.hpp"
#include "hooks/hooks.hpp"
#include "hooks/http_routes.hpp"

namespace hexad {

/// A feature: one XEP or one part of RFC 6121. It registers handlers at construction and meets others through
/// events.
class Module {
public:
    virtual ~Module() = default;
};

/// Options that the configuration gives to modules.
struct ModuleOptions {
    bool archives_accounts = true;
    std::size_t archive_page_limit = 250;
    std::string rooms_label = "rooms";
    HttpOptions http;
    std::string version;  ///< of the software, for XEP-0092
};

/// All that a module may touch.
class ModuleContext {
public:
    ModuleContext(Hooks& hooks, ClusterView& cluster, const ModuleOptions& options)
        : hooks_(hooks), cluster_(cluster), options_(options) {}

    template <class M, class Event>
    void on(Phase phase, M* module, Verdict (M::*handler)(Event&)) {
        hooks_.on<Event>(phase, [module, handler](Event& event) { return (module->*handler)(event); });
    }
    template <class M>
    void on_get(const Target& target, const QName& payload, M* module,
                awaitable<IqResult> (M::*handler)(IqRequest&)) {
        hooks_.answer(target, false, payload,
                      [module, handler](IqRequest& r) { return (module->*handler)(r); });
    }
    template <class M>
    void on_set(const Target& target, const QName& payload, M* module,
                awaitable<IqResult> (M::*handler)(IqRequest&)) {
        hooks_.answer(target, true, payload,
                      [module, handler](IqRequest& r) { return (module->*handler)(r); });
    }
    template <class M>
    void decide_get(const Target& target, const QName& payload, M* module,
                    IqResult (M::*handler)(IqRequest&, Batch&)) {
        hooks_.decide(target, false, payload,
                      [module, handler](IqRequest& r, Batch& b) { return (module->*handler)(r, b); });
    }
    template <class M>
    void decide_set(const Target& target, const QName& payload, M* module,
                    IqResult (M::*handler)(IqRequest&, Batch&)) {
        hooks_.decide(target, true, payload,
                      [module, handler](IqRequest& r, Batch& b) { return (module->*handler)(r, b); });
    }
    void feature(const Target& target, std::string_view name) { hooks_.feature(target, name); }

    Hooks& hooks() { return hooks_; }
    ClusterView& cluster() { return cluster_; }
    Store& store() { return cluster_.store(); }
    RouteTable& routes() { return cluster_.routes(); }
    AccountCache& accounts() { return cluster_.accounts(); }
    const ModuleOptions& options() const { return options_; }

    /// `sender` (bare) may see `account`'s presence: its own, or from/both in the roster (RFC 6121 §4.3.2).
    static bool subscribed(const AccountData& account, const Jid& sender) {
        const auto bare = sender.bare();
        if (bare == account.jid) return true;
        const auto it = account.roster.find(bare);
        return it != account.roster.end() && it->second.has_from();
    }
    /// Never its own resources, whatever its list says (XEP-0191 §5): it could not even unblock itself.
    static bool blocks(const AccountData& account, const Jid& jid) {
        if (account.blocked.empty() || jid.bare_view() == account.jid.bare_view()) return false;
        return account.blocked.contains(jid) || account.blocked.contains(jid.bare()) ||
               account.blocked.contains(jid.domain_jid());
    }

private:
    Hooks& hooks_;
    ClusterView& cluster_;
    const ModuleOptions& options_;
};

}  // namespace hexad

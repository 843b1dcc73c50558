// XEP-0030 Service Discovery, version 2.5rc3, with the server's XEP-0115 Entity Capabilities
#include "hooks/disco.hpp"

#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class DiscoModule final : public Module {
public:
    explicit DiscoModule(ModuleContext& ctx) : ctx_(ctx) {
        const QName info{std::string(ns::disco_info), "query"};
        const QName items{std::string(ns::disco_items), "query"};
        ctx.decide_get(Target::server(), info, this, &DiscoModule::server_info);
        ctx.decide_get(Target::server(), items, this, &DiscoModule::server_items);
        ctx.decide_get(Target::account(), info, this, &DiscoModule::account_info);
        ctx.decide_get(Target::account(), items, this, &DiscoModule::account_items);
        ctx.decide_get(Target::missing_account(), items, this, &DiscoModule::no_items);
        ctx.hooks().identity(Target::server(), {"server", "im", "hexad"});
        ctx.hooks().identity(Target::account(), {"account", "registered", ""});
        ctx.feature(Target::server(), ns::caps);
    }

private:
    IqResult server_info(IqRequest& request, Batch&) {
        auto info = disco_info(ctx_.hooks(), Target::server());
        const auto node = request.iq.payload.attr("node");
        if (!node.empty()) {
            if (node != std::string(caps_node) + '#' + caps_hash(info)) return StanzaError::item_not_found();
            info.set("node", node);
        }
        return info;
    }

    IqResult server_items(IqRequest& request, Batch&) {
        if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
        Element query("query", ns::disco_items);
        for (const auto& [label, name] : ctx_.hooks().services()) {
            query.add(Element("item", ns::disco_items)
                          .set("jid", label + '.' + std::string(request.iq.to.domain()))
                          .set("name", name));
        }
        return query;
    }

    IqResult account_info(IqRequest& request, Batch&) {
        // §8: an account says nothing about itself to those who may not see its presence.
        if (!ModuleContext::subscribed(*request.account, request.iq.from))
            return StanzaError::service_unavailable();
        if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
        return disco_info(ctx_.hooks(), Target::account());
    }

    /// §8: an account that is not there has no items, and looks like one that shows none.
    IqResult no_items(IqRequest& request, Batch&) {
        Element query("query", ns::disco_items);
        const auto node = request.iq.payload.attr("node");
        if (!node.empty()) query.set("node", node);
        return query;
    }

    IqResult account_items(IqRequest& request, Batch& batch) {
        if (!ModuleContext::subscribed(*request.account, request.iq.from)) return no_items(request, batch);
        if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
        Element query("query", ns::disco_items);
        if (const auto* route = ctx_.routes().find(request.account->jid)) {
            for (const auto& entry : route->sessions) {
                if (entry.available)
                    query.add(Element("item", ns::disco_items).set("jid", entry.jid.to_string()));
            }
        }
        return query;
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_disco(ModuleContext& ctx) { return std::make_unique<DiscoModule>(ctx); }

}  // namespace hexad

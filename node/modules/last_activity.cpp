// XEP-0012 Last Activity, version 2.0
#include <charconv>

#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class LastActivityModule final : public Module {
public:
    explicit LastActivityModule(ModuleContext& ctx) : ctx_(ctx), started_(wall_now()) {
        const QName query{std::string(ns::last), "query"};
        ctx.on_get(Target::account(), query, this, &LastActivityModule::answer);
        ctx.decide_get(Target::server(), query, this, &LastActivityModule::uptime);
        ctx.on(Phase::observe, this, &LastActivityModule::remember);
    }

private:
    static Element reply(Timestamp since, std::string_view status) {
        Element query("query", ns::last);
        const auto idle = std::chrono::floor<seconds>(wall_now() - since).count();
        query.set("seconds", std::to_string(std::max<std::int64_t>(0, idle)));
        if (!status.empty()) query.text(status);
        return query;
    }

    IqResult uptime(IqRequest&, Batch&) { return reply(started_, {}); }

    /// Seconds since the account's last resource left, for those who may see its presence (§3).
    awaitable<IqResult> answer(IqRequest& request) {
        if (!ModuleContext::subscribed(*request.account, request.iq.from)) co_return StanzaError::forbidden();
        const auto* route = ctx_.routes().find(request.account->jid);
        if (route != nullptr) {
            for (const auto& entry : route->sessions) {
                if (entry.available) co_return reply(wall_now(), {});
            }
        }
        const auto stored = co_await ctx_.store().document(request.account->id, "last", "");
        if (!stored) co_return StanzaError::try_again();
        std::int64_t at = 0;
        const auto space = stored->find(' ');
        const auto [end, ec] =
            std::from_chars(stored->data(), stored->data() + std::min(space, stored->size()), at);
        if (stored->empty() || ec != std::errc{}) co_return StanzaError::item_not_found();
        const auto status =
            space == std::string::npos ? std::string_view{} : std::string_view(*stored).substr(space + 1);
        co_return reply(Timestamp(std::chrono::microseconds(at)), status);
    }

    /// Decides without waiting: the row is an effect of this turn and commits with it.
    Verdict remember(ResourceUnavailable& event) {
        auto text = std::to_string(wall_now().time_since_epoch().count()) + ' ' + event.status;
        event.batch.documents.push_back({event.session.account->id, "last", "", std::move(text)});
        return Verdict::pass;
    }

    ModuleContext& ctx_;
    Timestamp started_;
};

}  // namespace

std::unique_ptr<Module> make_last_activity(ModuleContext& ctx) {
    return std::make_unique<LastActivityModule>(ctx);
}

}  // namespace hexad

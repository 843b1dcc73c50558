// XEP-0054 vcard-temp, version 1.3
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class VcardModule final : public Module {
public:
    explicit VcardModule(ModuleContext& ctx) : ctx_(ctx) {
        const QName vcard{std::string(ns::vcard), "vCard"};
        ctx.on_get(Target::account(), vcard, this, &VcardModule::get);
        ctx.decide_set(Target::account(), vcard, this, &VcardModule::set);
        ctx.decide_get(Target::server(), vcard, this, &VcardModule::of_server);
    }

private:
    awaitable<IqResult> get(IqRequest& request) {
        const bool own = request.account == request.sender;
        const auto stored = co_await ctx_.store().document(request.account->id, "vcard", "");
        if (!stored) co_return StanzaError::try_again();
        if (stored->empty()) {
            // §3.1: the owner gets an empty card. §3.3: others learn as little as of an account that is not
            // there.
            if (own) co_return Element("vCard", ns::vcard);
            co_return StanzaError::service_unavailable();
        }
        auto element = parse_element(*stored, ns::vcard);
        if (!element) co_return StanzaError::internal_server_error();
        co_return std::move(*element);
    }

    IqResult set(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        batch.documents.push_back(
            {request.account->id, "vcard", "", request.iq.payload.to_string(ns::vcard)});
        return Element{};
    }

    IqResult of_server(IqRequest&, Batch&) {
        Element card("vCard", ns::vcard);
        card.add_text_child("FN", ns::vcard, "hexad");
        return card;
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_vcard(ModuleContext& ctx) { return std::make_unique<VcardModule>(ctx); }

}  // namespace hexad

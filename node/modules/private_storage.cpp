// XEP-0049 Private XML Storage, version 1.2
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class PrivateStorageModule final : public Module {
public:
    explicit PrivateStorageModule(ModuleContext& ctx) : ctx_(ctx) {
        const QName query{std::string(ns::private_storage), "query"};
        ctx.on_get(Target::account(), query, this, &PrivateStorageModule::get);
        ctx.decide_set(Target::account(), query, this, &PrivateStorageModule::set);
    }

private:
    awaitable<IqResult> get(IqRequest& request) {
        if (request.account != request.sender) co_return StanzaError::forbidden();
        const auto* asked = request.iq.payload.first_element();
        if (asked == nullptr || request.iq.payload.elements().size() != 1)
            co_return StanzaError::bad_request();
        Element answer = *asked;
        const auto stored =
            co_await ctx_.store().document(request.account->id, "private", answer.ns() + ' ' + answer.name());
        if (!stored) co_return StanzaError::try_again();
        if (!stored->empty()) {
            auto element = parse_element(*stored, ns::private_storage);
            if (!element) co_return StanzaError::internal_server_error();
            answer = std::move(*element);
        }
        Element query("query", ns::private_storage);
        query.add(std::move(answer));
        co_return query;
    }

    IqResult set(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        const auto elements = request.iq.payload.elements();
        if (elements.empty()) return StanzaError::bad_request();
        for (const auto* element : elements) {
            if (element->ns().empty() || element->ns() == ns::private_storage)
                return StanzaError::not_acceptable();
            batch.documents.push_back({request.account->id, "private", element->ns() + ' ' + element->name(),
                                       element->to_string(ns::private_storage)});
        }
        return Element{};
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_private_storage(ModuleContext& ctx) {
    return std::make_unique<PrivateStorageModule>(ctx);
}

}  // namespace hexad

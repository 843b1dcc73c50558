// XEP-0280 Message Carbons, version 1.0.1
#include "hooks/module.hpp"
#include "storage/sub_number.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

/// §6.1, with the store and carbon rules for receipts, chat states and markers.
bool eligible(const Element& message) {
    if (message.find("private", ns::carbons) != nullptr || message.find("no-copy", ns::hints) != nullptr)
        return false;
    if (message.find_ns(ns::carbons) != nullptr) return false;
    switch (message_type(message)) {
        case MessageType::chat:
            return true;
        case MessageType::normal:
            if (message.find("body", ns::client) != nullptr) return true;
            if (message.find("x", ns::conference) != nullptr) return true;  // XEP-0249
            if (const auto* user = message.find("x", ns::muc_user); user != nullptr)
                return user->find("invite", ns::muc_user) != nullptr;
            return message.find_ns(ns::receipts) != nullptr || message.find_ns(ns::chatstates) != nullptr ||
                   message.find_ns(ns::markers) != nullptr;
        case MessageType::error:
            return false;
        case MessageType::groupchat:
        case MessageType::headline:
            break;
    }
    return false;
}

Bytes wrap(std::string_view direction, const Element& message, const Jid& account, const Jid& to) {
    Element copy("message", ns::client);
    copy.set("from", account.to_string()).set("to", to.to_string()).set("type", message.attr("type"));
    if (copy.attr("type").empty()) copy.remove_attr("type");
    Element forwarded("forwarded", ns::forward);
    forwarded.add(message);
    copy.add(Element(direction, ns::carbons).add(std::move(forwarded)));
    return make_bytes(copy.to_string(ns::client));
}

class CarbonsModule final : public Module {
public:
    explicit CarbonsModule(ModuleContext& ctx) : ctx_(ctx) {
        ctx.decide_set(Target::account(), QName{std::string(ns::carbons), "enable"}, this,
                       &CarbonsModule::enable);
        ctx.decide_set(Target::account(), QName{std::string(ns::carbons), "disable"}, this,
                       &CarbonsModule::disable);
        ctx.feature(Target::server(), ns::carbons);
        ctx.on(Phase::act, this, &CarbonsModule::sent);
        ctx.on(Phase::act, this, &CarbonsModule::received);
    }

private:
    IqResult enable(IqRequest& request, Batch&) { return turn(request, true); }
    IqResult disable(IqRequest& request, Batch&) { return turn(request, false); }

    static IqResult turn(IqRequest& request, bool on) {
        if (request.account != request.sender) return StanzaError::forbidden();
        request.session->carbons = on;
        request.session->touch();
        return Element{};
    }

    Verdict sent(MessageFromAccount& event) {
        if (!eligible(event.stanza.xml)) return Verdict::pass;
        const auto& own = event.sender.account->jid;
        const auto* route = ctx_.routes().find(own);
        if (route == nullptr) return Verdict::pass;
        for (const auto& entry : route->sessions) {
            if (!entry.carbons || entry.sid == event.sender.sid) continue;
            // A message to oneself reaches this resource as itself.
            if (event.stanza.to.bare() == own && (event.stanza.to == entry.jid || event.stanza.to.is_bare()))
                continue;
            LogAppend append;
            append.sid = entry.sid;
            append.origin = event.batch.origin;
            append.origin.sub = next_sub(event.batch, append.sid);
            append.stanza_id = event.stanza_id;
            append.kind = EntryKind::carbon;
            append.owner = event.sender.account->id;
            append.xml = wrap("sent", event.xml, own, entry.jid);
            event.batch.appends.push_back(std::move(append));
        }
        return Verdict::pass;
    }

    Verdict received(MessageToAccount& event) {
        if (!eligible(event.stanza.xml)) return Verdict::pass;
        const auto* route = ctx_.routes().find(event.recipient.jid);
        if (route == nullptr) return Verdict::pass;
        for (const auto& entry : route->sessions) {
            if (!entry.carbons) continue;
            // What waits is copied to a resource with a negative priority (§7): it is no login that it waits
            // for. One that is about to become available gets it from the backlog.
            if (event.deliverable_offline && !entry.available) continue;
            bool has_it = event.sender != nullptr && event.sender->sid == entry.sid;
            for (const auto& target : event.targets) has_it = has_it || target.session == &entry;
            if (has_it) continue;
            event.targets.push_back({&entry, EntryKind::carbon,
                                     wrap("received", event.xml, event.recipient.jid, entry.jid), true});
        }
        return Verdict::pass;
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_carbons(ModuleContext& ctx) { return std::make_unique<CarbonsModule>(ctx); }

}  // namespace hexad

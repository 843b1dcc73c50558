// XEP-0160 Best Practices for Handling Offline Messages, version 1.0.1, with XEP-0203 delay
#include "base/text.hpp"
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class OfflineModule final : public Module {
public:
    explicit OfflineModule(ModuleContext& ctx) {
        ctx.feature(Target::server(), ns::offline);
        ctx.on(Phase::act, this, &OfflineModule::keep);
    }

private:
    Verdict keep(MessageToAccount& event) {
        if (!event.deliverable_offline) return Verdict::pass;
        const auto& xml = event.xml;
        // A chat state alone has nothing to say to one who comes later (XEP-0160 §3), nor has a marker.
        const bool body = xml.find("body", ns::client) != nullptr;
        if (xml.find("no-store", ns::hints) != nullptr) return Verdict::pass;
        if (!body && xml.find("store", ns::hints) == nullptr) {
            bool other = xml.elements().empty();
            for (const auto* child : xml.elements()) {
                const auto& space = child->ns();
                if (space != ns::chatstates && space != ns::markers && space != ns::hints &&
                    space != ns::sid && child->name() != "thread") {
                    other = true;
                }
            }
            if (!other) return Verdict::pass;
        }
        Element copy = xml;
        // XEP-0203 §4: only this server speaks for itself.
        copy.remove_if([&](const Element& e) {
            return e.is("delay", ns::delay) && e.attr("from") == event.recipient.jid.domain();
        });
        copy.add(Element("delay", ns::delay)
                     .set("from", event.recipient.jid.domain())
                     .set("stamp", format_time(event.at)));
        event.batch.offline.push_back({event.recipient.id, event.stanza_id, event.stanza.from, event.at,
                                       make_bytes(copy.to_string(ns::client))});
        return Verdict::pass;
    }
};

}  // namespace

std::unique_ptr<Module> make_offline(ModuleContext& ctx) { return std::make_unique<OfflineModule>(ctx); }

}  // namespace hexad

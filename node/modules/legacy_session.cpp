// RFC 3921 §3 Session Establishment: a step that old clients still take; it does nothing
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class LegacySessionModule final : public Module {
public:
    explicit LegacySessionModule(ModuleContext& ctx) {
        const QName session{std::string(ns::session), "session"};
        ctx.decide_set(Target::account(), session, this, &LegacySessionModule::establish);
        ctx.decide_set(Target::server(), session, this, &LegacySessionModule::establish);
    }

private:
    IqResult establish(IqRequest&, Batch&) { return Element{}; }
};

}  // namespace

std::unique_ptr<Module> make_legacy_session(ModuleContext& ctx) {
    return std::make_unique<LegacySessionModule>(ctx);
}

}  // namespace hexad

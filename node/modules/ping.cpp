// XEP-0199 XMPP Ping, version 2.0.1
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class PingModule final : public Module {
public:
    explicit PingModule(ModuleContext& ctx) {
        const QName ping{std::string(ns::ping), "ping"};
        ctx.decide_get(Target::server(), ping, this, &PingModule::pong);
        ctx.decide_get(Target::account(), ping, this, &PingModule::pong);
    }

private:
    IqResult pong(IqRequest&, Batch&) { return Element{}; }
};

}  // namespace

std::unique_ptr<Module> make_ping(ModuleContext& ctx) { return std::make_unique<PingModule>(ctx); }

}  // namespace hexad

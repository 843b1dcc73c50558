// XEP-0202 Entity Time, version 2.0
#include "base/text.hpp"
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class EntityTimeModule final : public Module {
public:
    explicit EntityTimeModule(ModuleContext& ctx) {
        ctx.decide_get(Target::server(), QName{std::string(ns::time), "time"}, this, &EntityTimeModule::now);
    }

private:
    IqResult now(IqRequest&, Batch&) {
        Element time("time", ns::time);
        time.add_text_child("tzo", ns::time, "+00:00");
        time.add_text_child("utc", ns::time, format_time_s(wall_now()));
        return time;
    }
};

}  // namespace

std::unique_ptr<Module> make_entity_time(ModuleContext& ctx) {
    return std::make_unique<EntityTimeModule>(ctx);
}

}  // namespace hexad

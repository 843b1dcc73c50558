// XEP-0092 Software Version, version 1.1
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

class SoftwareVersionModule final : public Module {
public:
    explicit SoftwareVersionModule(ModuleContext& ctx) : version_(ctx.options().version) {
        ctx.decide_get(Target::server(), QName{std::string(ns::version), "query"}, this,
                       &SoftwareVersionModule::tell);
    }

private:
    IqResult tell(IqRequest&, Batch&) {
        Element query("query", ns::version);
        query.add_text_child("name", ns::version, "hexad");
        query.add_text_child("version", ns::version, version_);
        return query;
    }

    std::string version_;
};

}  // namespace

std::unique_ptr<Module> make_software_version(ModuleContext& ctx) {
    return std::make_unique<SoftwareVersionModule>(ctx);
}

}  // namespace hexad

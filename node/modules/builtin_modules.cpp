#include "modules/builtin_modules.hpp"

namespace hexad {

#define HEXAD_MODULE(name) std::unique_ptr<Module> make_##name(ModuleContext& ctx);
#include "builtin_modules.inc"
#undef HEXAD_MODULE

std::vector<std::unique_ptr<Module>> make_builtin_modules(ModuleContext& ctx) {
    std::vector<std::unique_ptr<Module>> modules;
#define HEXAD_MODULE(name) modules.push_back(make_##name(ctx));
#include "builtin_modules.inc"
#undef HEXAD_MODULE
    return modules;
}

}  // namespace hexad

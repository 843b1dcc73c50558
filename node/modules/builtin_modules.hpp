#pragma once

#include <memory>
#include <vector>

#include "hooks/module.hpp"

namespace hexad {

/// One of each module of the list in modules/CMakeLists.txt, registered with the context.
std::vector<std::unique_ptr<Module>> make_builtin_modules(ModuleContext& ctx);

}  // namespace hexad

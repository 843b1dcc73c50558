#pragma once

#include <string>
#include <string_view>

namespace hexad {

/// Source of cluster/scripts/<name>.lua behind the common prelude. Throws std::out_of_range for a name that
/// is none.
std::string script_source(std::string_view name);

}  // namespace hexad

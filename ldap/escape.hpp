#pragma once

#include <string>
#include <string_view>

namespace hexad::ldap {

/// A value as it may stand in a search filter (RFC 4515 §3): `*`, `(`, `)`, `\`, NUL and every byte that is
/// no printable ASCII become `\xx`. What a filter makes of the result is the value, byte for byte.
///
///     escape_filter("a*(b)") == "a\\2a\\28b\\29"
std::string escape_filter(std::string_view value);

/// `(&<filter>(<attribute>=<value>))` with the value escaped; `filter` is taken as it is, an empty one left
/// out.
std::string filter_for(std::string_view filter, std::string_view attribute, std::string_view value);

}  // namespace hexad::ldap

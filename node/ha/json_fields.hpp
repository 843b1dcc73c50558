#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

namespace hexad {

/// A member of what another node or an administrator sent; null if it is missing.
inline const boost::json::value& field(const boost::json::object& object, std::string_view key) {
    static const boost::json::value none;
    const auto* value = object.if_contains(key);
    return value == nullptr ? none : *value;
}
/// Empty if it is missing or no text.
inline std::string text(const boost::json::object& object, std::string_view key) {
    const auto& value = field(object, key);
    return value.is_string() ? std::string(value.as_string()) : std::string();
}
/// False if it is missing or no truth value.
inline bool flag(const boost::json::object& object, std::string_view key) {
    const auto& value = field(object, key);
    return value.is_bool() && value.as_bool();
}

}  // namespace hexad

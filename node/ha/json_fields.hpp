#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "cluster/protocol.hpp"

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

/// As a node tells which forms of what goes between nodes it reads; one that tells nothing reads the first.
inline boost::json::object to_json(const Protocol& protocol) {
    return {{"min", protocol.min}, {"max", protocol.max}};
}
inline Protocol protocol_of(const boost::json::object& told) {
    Protocol out{1, 1};
    const auto& value = field(told, "protocol");
    if (!value.is_object()) return out;
    for (auto [key, number] : {std::pair("min", &out.min), std::pair("max", &out.max)}) {
        if (const auto& n = field(value.as_object(), key); n.is_number())
            *number = n.to_number<std::uint32_t>();
    }
    return out;
}

}  // namespace hexad

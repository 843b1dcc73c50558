#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace hexad::sql {

/// Bytes that are no text, as a parameter.
struct Blob {
    std::string_view bytes;
};

/// A parameter of a statement that is put together at run time.
using Value = std::variant<std::int64_t, std::string>;

/// Times are stored as microseconds since 1970.
inline std::int64_t to_micros(Timestamp at) { return at.time_since_epoch().count(); }
inline Timestamp from_micros(std::int64_t micros) { return Timestamp(std::chrono::microseconds(micros)); }

/// archive.id_hash of a stanza-id: FNV-1a, 32 bits. Stored, so never to be changed.
inline std::int64_t id_hash(std::string_view stanza_id) {
    std::uint32_t hash = 2166136261U;
    for (const char c : stanza_id) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    return static_cast<std::int32_t>(hash);
}

}  // namespace hexad::sql

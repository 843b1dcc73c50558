#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace hexad {

std::string base64_encode(std::string_view bytes);
/// Strict RFC 4648 §4 with padding; anything else is nothing.
std::optional<std::string> base64_decode(std::string_view text);
std::string hex_encode(std::string_view bytes);
std::string sha1(std::string_view bytes);    ///< 20 raw bytes
std::string sha256(std::string_view bytes);  ///< 32 raw bytes
/// Well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view bytes);

/// XEP-0082 DateTime in UTC with microseconds as given: `2026-11-01T13:41:10.031000Z`; `format_time_s` to the
/// second.
std::string format_time(Timestamp at);
std::string format_time_s(Timestamp at);
/// XEP-0082 DateTime; fraction and offset allowed. Anything else is nothing.
std::optional<Timestamp> parse_time(std::string_view text);

}  // namespace hexad

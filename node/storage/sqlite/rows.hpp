#pragma once

#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace hexad::sqlite {

/// Times are stored as microseconds since 1970.
inline std::int64_t to_micros(Timestamp at) { return at.time_since_epoch().count(); }
inline Timestamp from_micros(std::int64_t micros) { return Timestamp(std::chrono::microseconds(micros)); }

}  // namespace hexad::sqlite

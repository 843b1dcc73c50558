#pragma once

#include <cstdint>

namespace hexad::sqlite {

/// Row key of an entry of a log, of what is held, or of a room's inbox: 32 bits of owner, 32 of position.
inline std::int64_t key_of(std::int64_t id, std::uint64_t position) {
    return (id << 32) | static_cast<std::int64_t>(position & 0xffffffffU);
}

/// Between the co-targets of an entry.
constexpr char co_target_separator = '\x1f';

constexpr std::int64_t minute = 60;  ///< in seconds, as ages are kept

}  // namespace hexad::sqlite

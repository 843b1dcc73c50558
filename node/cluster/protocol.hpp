#pragma once

#include <algorithm>
#include <cstdint>

namespace hexad {

/// What goes between nodes (docs/delivery.md, "Versions") has a number. A node reads every form from `min` to
/// `max`, and writes the one that all nodes of its cluster can read. A new form raises `max`; `min` follows a
/// release later, when the form before it is read by nobody any more.
///
/// 2: a room has its home in Redis too, and can move to another one (`room-home`).
struct Protocol {
    std::uint32_t min = 1, max = 1;
    friend bool operator==(const Protocol&, const Protocol&) = default;
};

inline constexpr Protocol spoken_protocol{1, 2};
inline constexpr std::uint32_t rooms_move_since = 2;

/// Whether two nodes can be in one cluster.
constexpr bool fit(const Protocol& a, const Protocol& b) {
    return std::max(a.min, b.min) <= std::min(a.max, b.max);
}

}  // namespace hexad

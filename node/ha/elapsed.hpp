#pragma once

#include "base/clock.hpp"

namespace hexad {

/// Between two moments of the steady clock; a day if the first one never was.
inline milliseconds elapsed(SteadyClock::time_point since, SteadyClock::time_point now) {
    if (since == SteadyClock::time_point{}) return std::chrono::hours(24);
    return std::chrono::duration_cast<milliseconds>(now - since);
}

}  // namespace hexad

#pragma once

#include <chrono>

namespace hexad {

using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;
/// Wall-clock time with microseconds: what is stored and shown. Never used to decide who owns what.
using Timestamp = std::chrono::sys_time<std::chrono::microseconds>;

inline Timestamp wall_now() {
    return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

}  // namespace hexad

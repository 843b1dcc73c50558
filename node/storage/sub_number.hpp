#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "storage/batch.hpp"

namespace hexad {

/// Sub-number of the next append to this session among the effects of one input. Counted for each target by
/// itself: the same input decided again, at a node that lists the account's sessions in another order, must
/// give each target the same origin.
inline std::uint32_t next_sub(const Batch& batch, const std::string& sid) {
    const auto to_it = [&sid](const LogAppend& append) { return append.sid == sid; };
    return static_cast<std::uint32_t>(std::count_if(batch.appends.begin(), batch.appends.end(), to_it)) + 1;
}

}  // namespace hexad

#pragma once

#include <cstdint>
#include <string>

namespace hexad {

using AccountId = std::int64_t;  ///< account.id in the store; 0 = none
using RoomId = std::int64_t;     ///< room.id in the store; 0 = none

/// `bytes` random bytes from the system's generator as lower-case base32 (a–z, 2–7), no padding. Unguessable
/// with 16 bytes (128 bits): stream ids, session ids, resumption ids, upload slots.
std::string random_id(std::size_t bytes = 16);

}  // namespace hexad

#pragma once

#include <functional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace hexad {

/// What a module needs of the node's HTTPS service without knowing about sockets: where it is reached, and
/// its options.
struct HttpOptions {
    std::string public_url;                           ///< `https://host:port`, no slash at the end
    std::string files;                                ///< directory of uploaded files
    std::string secret;                               ///< key that signs upload slots, the same on all nodes
    std::uint64_t max_upload = 100ull * 1024 * 1024;  ///< bytes
    std::uint64_t daily_quota = 1ull << 30;           ///< bytes for an account and a day; 0 = no limit
    seconds retention{30 * 86400};                    ///< age at which a file goes; 0 = never
};

}  // namespace hexad

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// How much each account may still upload today (UTC). The sums lie in small files beside the uploads, so
/// that all nodes that share these share the sums, too. Calls block on the disk; any thread.
class UploadQuota {
public:
    /// `limit`: bytes for an account and a day; 0 = no limit.
    UploadQuota(std::string folder, std::uint64_t limit) : folder_(std::move(folder)), limit_(limit) {}

    std::uint64_t limit() const { return limit_; }
    /// Books `size` bytes; nothing, or when to try again if they are too many for today. An error: the sum
    /// cannot be kept.
    Result<std::optional<Timestamp>> take(const Jid& account, std::uint64_t size, Timestamp now) const;

private:
    std::string folder_;
    std::uint64_t limit_;
};

}  // namespace hexad

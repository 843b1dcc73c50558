#pragma once

#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"

namespace hexad {

/// A password that a directory accepted, for when none answers: a salted scrypt hash, never the password.
struct OfflineLogin {
    std::string salt, hash;  ///< raw bytes
    Timestamp last_login;
};

/// Which entry of a directory an account mirrors.
struct MirroredEntry {
    std::string agreement, uuid;  ///< uuid: 32 hex digits
};

/// Where all nodes of a cluster find them. Called on the protocol thread, like Store. Errors: StorageError.
class OfflineLoginStore {
public:
    virtual ~OfflineLoginStore() = default;
    virtual awaitable<Result<std::optional<MirroredEntry>>> mirrored_entry(AccountId account) = 0;
    virtual awaitable<Result<std::optional<OfflineLogin>>> offline_login(AccountId account) = 0;
    /// Replaces it; nothing = forgets it. Kept only for an account that may log in; true if something
    /// changed.
    virtual awaitable<Result<bool>> set_offline_login(AccountId account,
                                                      std::optional<OfflineLogin> login) = 0;
};

}  // namespace hexad

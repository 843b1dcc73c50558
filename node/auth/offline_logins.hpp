#pragma once

#include <string>
#include <unordered_map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "storage/offline_login.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// Logins while no host of a directory answers: what a directory accepted within the last 72 hours, as a
/// salted scrypt hash in the store that all nodes share. Hashing takes tens of milliseconds, on a thread of
/// its own with low priority. Protocol thread.
class OfflineLogins {
public:
    OfflineLogins(asio::io_context& io, OfflineLoginStore& store) : io_(io), store_(store) {}
    ~OfflineLogins();

    /// The directory has just accepted it. Returns at once; written in the background, at most twice a day
    /// for the same password.
    void accepted(const Jid& jid, AccountId account, std::string password, std::string fingerprint);
    /// The directory has just refused one: the next time it is away there is nothing to fall back on.
    awaitable<void> refused(const Jid& jid, AccountId account);
    /// True if this password was accepted lately.
    awaitable<bool> check(AccountId account, std::string password);
    void forget(const Jid& jid) { known_.erase(jid); }
    awaitable<Result<std::optional<MirroredEntry>>> entry_of(AccountId account) {
        return store_.mirrored_entry(account);
    }

private:
    awaitable<void> write(Jid jid, AccountId account, std::string password, std::string fingerprint);

    asio::io_context& io_;
    OfflineLoginStore& store_;
    asio::thread_pool worker_{1};
    struct Known {
        std::string fingerprint;  ///< of the password, under a key of this process
        SteadyClock::time_point at;
    };
    std::unordered_map<Jid, Known> known_;  ///< what this process has written
    std::size_t waiting_ = 0;
};

}  // namespace hexad

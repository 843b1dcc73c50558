#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>

#include <boost/asio/thread_pool.hpp>

#include "auth/authenticator.hpp"
#include "auth/offline_logins.hpp"
#include "base/clock.hpp"
#include "base/config.hpp"
#include "storage/store.hpp"
#include "stream/sasl.hpp"
#include "stream/scram.hpp"

namespace hexad {

/// What a directory said of a name and a password.
enum class DirectoryVerdict {
    good,
    wrong,
    disabled,
    expired,
    temporary,   ///< it answers, but says nothing about the password
    unreachable  ///< no host answers
};
/// Asks the directory about the entry that an account mirrors, never about whoever has its name now. Runs on
/// the protocol thread, waits for its workers.
using DirectoryCheck =
    std::function<awaitable<DirectoryVerdict>(std::string host, MirroredEntry entry, std::string password)>;

/// SCRAM keys of a password for SHA-1, SHA-256 and SHA-512, with one salt each; empty if SASLprep refuses the
/// password. Slow: runs on a worker.
std::vector<ScramCredential> derive_keys(const std::string& password);

/// Who may log in: SCRAM and PLAIN for local accounts, PLAIN against the directory for mirrored ones (one
/// source per account). Protocol thread; PBKDF2 runs on worker threads.
class AuthService final : public Authenticator {
public:
    /// `secret`: makes up the salts of accounts that do not exist; the same on all nodes. `offline`: where
    /// logins are kept for when no directory answers; none without one.
    AuthService(asio::io_context& io, Store& store, std::vector<HostConfig> hosts, std::string secret,
                DirectoryCheck directory, OfflineLoginStore* offline = nullptr);
    ~AuthService() override;

    std::vector<std::string> mechanisms(const std::string& host,
                                        const ChannelBinding& binding) const override;
    std::unique_ptr<SaslSession> begin(const std::string& host, const std::string& mechanism,
                                       const ChannelBinding& binding, const std::string& peer) override;

    awaitable<std::vector<ScramCredential>> derive(std::string password);
    /// Checks a name and a password (SASL PLAIN).
    awaitable<Result<Jid, SaslFailure>> check_plain(std::string host, std::string message, std::string peer);
    struct Lookup {
        Jid jid;
        std::optional<AccountRow> row;
        std::vector<ScramCredential> keys;
    };
    awaitable<Result<Lookup, SaslFailure>> look_up(std::string host, std::string username,
                                                   std::string authzid);
    /// Whether accounts without a home node are refused, as they are in a cluster.
    void refuse_unassigned(bool yes) { refuses_unassigned_ = yes; }
    /// Why an account whose password was right may not log in all the same.
    std::optional<SaslFailure> barred(const AccountRow& row) const;
    const std::string& secret() const { return secret_; }
    /// Waits as long as this name from this address has to after failures; `failed` makes the next wait
    /// longer.
    awaitable<void> throttle(std::string key);
    void failed(const std::string& key);
    void succeeded(const std::string& key) { failures_.erase(key); }
    /// Forgets what it remembers of good passwords (an account changed).
    void forget(const Jid& account) {
        cache_.erase(account);
        if (offline_) offline_->forget(account);
    }

private:
    /// Nothing: it may log in. `key`: as for throttle().
    awaitable<std::optional<SaslFailure>> ask_directory(AccountRow row, std::string password,
                                                        std::string key);
    const HostConfig* host(const std::string& name) const;
    bool cached(const Jid& account, const std::string& password);
    void remember(const Jid& account, const std::string& password);
    std::string fingerprint(const Jid& account, const std::string& password) const;

    asio::io_context& io_;
    Store& store_;
    std::vector<HostConfig> hosts_;
    std::string secret_;
    bool refuses_unassigned_ = false;
    DirectoryCheck directory_;
    std::optional<OfflineLogins> offline_;
    asio::thread_pool workers_{2};
    struct Good {
        std::string fingerprint;  ///< HMAC-SHA-256 of the password under a key of this process
        SteadyClock::time_point until;
    };
    std::unordered_map<Jid, Good> cache_;
    std::string cache_key_;
    struct Failures {
        int count = 0;
        SteadyClock::time_point last;
    };
    std::unordered_map<std::string, Failures> failures_;
};

}  // namespace hexad

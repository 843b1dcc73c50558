#include "auth/offline_logins.hpp"

#include <sys/resource.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/log.hpp"
#include "storage/offload.hpp"

namespace hexad {

namespace {

constexpr auto lifetime = std::chrono::hours(72);
constexpr auto refresh = std::chrono::hours(12);
constexpr std::size_t max_waiting = 5000;  ///< above that a login is not remembered this time
constexpr std::size_t max_known = 100000;
constexpr std::size_t salt_bytes = 16, hash_bytes = 32;

/// scrypt with N = 2^14, r = 8, p = 1 (RFC 7914): 16 MiB and some 40 ms. Empty if it cannot be had.
std::string scrypt(const std::string& password, const std::string& salt) {
    thread_local const bool is_low = ::setpriority(PRIO_PROCESS, 0, 10) == 0;  // of this thread only
    static_cast<void>(is_low);
    std::string out(hash_bytes, '\0');
    if (EVP_PBE_scrypt(password.data(), password.size(), reinterpret_cast<const unsigned char*>(salt.data()),
                       salt.size(), 1U << 14, 8, 1, 64U << 20, reinterpret_cast<unsigned char*>(out.data()),
                       out.size()) != 1)
        return {};
    return out;
}

}  // namespace

OfflineLogins::~OfflineLogins() {
    worker_.stop();
    worker_.join();
}

void OfflineLogins::accepted(const Jid& jid, AccountId account, std::string password,
                             std::string fingerprint) {
    const auto found = known_.find(jid);
    if (found != known_.end() && found->second.fingerprint == fingerprint &&
        SteadyClock::now() - found->second.at < refresh)
        return;
    if (waiting_ >= max_waiting) return;
    ++waiting_;
    asio::co_spawn(io_, write(jid, account, std::move(password), std::move(fingerprint)), asio::detached);
}

awaitable<void> OfflineLogins::write(Jid jid, AccountId account, std::string password,
                                     std::string fingerprint) {
    OfflineLogin login;
    login.salt.resize(salt_bytes);
    login.last_login = wall_now();
    RAND_bytes(reinterpret_cast<unsigned char*>(login.salt.data()), static_cast<int>(salt_bytes));
    auto work = [password = std::move(password), salt = login.salt] { return scrypt(password, salt); };
    login.hash = co_await offload(worker_, std::move(work));
    --waiting_;
    if (login.hash.empty()) co_return;
    std::optional<OfflineLogin> kept(std::move(login));
    const auto written = co_await store_.set_offline_login(account, std::move(kept));
    if (!written || !*written) co_return;
    if (known_.size() >= max_known) known_.clear();
    known_[jid] = {std::move(fingerprint), SteadyClock::now()};
}

awaitable<void> OfflineLogins::refused(const Jid& jid, AccountId account) {
    known_.erase(jid);
    const auto forgotten = co_await store_.set_offline_login(account, std::nullopt);
    static_cast<void>(forgotten);  // if the store is away there will be no offline login either
}

awaitable<bool> OfflineLogins::check(AccountId account, std::string password) {
    const auto found = co_await store_.offline_login(account);
    if (!found || !*found) co_return false;
    const auto kept = **found;
    if (wall_now() - kept.last_login > lifetime) co_return false;
    auto work = [password = std::move(password), salt = kept.salt] { return scrypt(password, salt); };
    const auto hash = co_await offload(worker_, std::move(work));
    co_return hash.size() == kept.hash.size() && !hash.empty() &&
        CRYPTO_memcmp(hash.data(), kept.hash.data(), hash.size()) == 0;
}

}  // namespace hexad

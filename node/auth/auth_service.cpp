#include "auth/auth_service.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "storage/offload.hpp"

namespace hexad {

namespace {

constexpr auto cache_time = std::chrono::minutes(15);
constexpr std::size_t cache_size = 50000;

ScramKeys to_keys(const ScramCredential& c) {
    ScramKeys keys;
    keys.hash = scram_hash(c.mechanism).value_or(ScramHash::sha1);
    keys.salt = c.salt;
    keys.iterations = c.iterations;
    keys.stored_key = c.stored_key;
    keys.server_key = c.server_key;
    return keys;
}

SaslReply failure(SaslFailure why) {
    SaslReply reply;
    reply.kind = SaslReply::Kind::failure;
    reply.condition = std::string(sasl_condition(why));
    reply.text = std::string(sasl_text(why));
    return reply;
}

SaslReply success(Jid account, std::string data = {}) {
    SaslReply reply;
    reply.kind = SaslReply::Kind::success;
    reply.account = std::move(account);
    reply.data = std::move(data);
    return reply;
}

class PlainSession final : public SaslSession {
public:
    PlainSession(AuthService& service, std::string host, std::string peer)
        : service_(service), host_(std::move(host)), peer_(std::move(peer)) {}
    awaitable<SaslReply> step(std::string data) override {
        auto account = co_await service_.check_plain(host_, std::move(data), peer_);
        if (!account) co_return failure(account.error());
        co_return success(std::move(*account));
    }

private:
    AuthService& service_;
    std::string host_, peer_;
};

class ScramSession final : public SaslSession {
public:
    ScramSession(AuthService& service, std::string host, std::string peer, const std::string& mechanism,
                 const ChannelBinding& binding, bool plus_offered)
        : service_(service),
          host_(std::move(host)),
          peer_(std::move(peer)),
          hash_(scram_hash(mechanism).value()),
          server_(mechanism, ChannelBindings{binding.tls_exporter, binding.tls_server_end_point},
                  plus_offered) {}

    awaitable<SaslReply> step(std::string data) override {
        if (!challenged_) co_return co_await challenge(std::move(data));
        auto proof = server_.finish(data);
        if (!proof || !account_) {
            service_.failed(key_);
            co_return failure(proof ? SaslFailure::not_authorized : proof.error());
        }
        service_.succeeded(key_);
        if (account_->state != AccountState::active) co_return failure(SaslFailure::account_disabled);
        if (const auto why = service_.barred(*account_)) co_return failure(*why);
        co_return success(account_->jid, std::move(*proof));
    }

private:
    awaitable<SaslReply> challenge(std::string data) {
        auto first = server_.first(data);
        if (!first) {
            auto refused = failure(first.error());
            refused.guessed = false;
            co_return refused;
        }
        const auto account = sasl_account(first->username, {}, host_);
        key_ = (account ? account->to_string() : first->username + '@' + host_) + ' ' + peer_;
        co_await service_.throttle(key_);
        auto found = co_await service_.look_up(host_, first->username, first->authzid);
        if (!found) co_return failure(found.error());
        account_ = found->row;
        std::optional<ScramKeys> keys;
        for (const auto& credential : found->keys) {
            if (scram_hash(credential.mechanism) == hash_) keys = to_keys(credential);
        }
        if (!keys) account_.reset();
        challenged_ = true;
        SaslReply reply;
        reply.kind = SaslReply::Kind::challenge;
        reply.data = server_.challenge(keys ? &*keys : nullptr, service_.secret());
        co_return reply;
    }

    AuthService& service_;
    std::string host_, peer_, key_;
    ScramHash hash_;
    ScramServer server_;
    std::optional<AccountRow> account_;
    bool challenged_ = false;
};

}  // namespace

std::vector<ScramCredential> derive_keys(const std::string& password) {
    std::vector<ScramCredential> out;
    for (const auto hash : {ScramHash::sha1, ScramHash::sha256, ScramHash::sha512}) {
        auto keys = derive_credentials(password, hash);
        if (!keys) return {};
        out.push_back({std::string(scram_name(hash)), keys->salt, keys->iterations, keys->stored_key,
                       keys->server_key});
    }
    return out;
}

AuthService::AuthService(asio::io_context& io, Store& store, std::vector<HostConfig> hosts,
                         std::string secret, DirectoryCheck directory, OfflineLoginStore* offline)
    : io_(io),
      store_(store),
      hosts_(std::move(hosts)),
      secret_(std::move(secret)),
      directory_(std::move(directory)),
      cache_key_(random_id(32)) {
    if (offline != nullptr) offline_.emplace(io, *offline);
}

AuthService::~AuthService() {
    workers_.stop();
    workers_.join();
}

const HostConfig* AuthService::host(const std::string& name) const {
    for (const auto& h : hosts_) {
        if (h.name == name) return &h;
    }
    return nullptr;
}

std::vector<std::string> AuthService::mechanisms(const std::string& name,
                                                 const ChannelBinding& binding) const {
    const auto* h = host(name);
    if (h == nullptr) return {};
    std::vector<std::string> out;
    const bool scram = h->auth == HostAuth::local || (h->auth == HostAuth::mixed && h->mixed_scram);
    if (scram) {
        const bool plus = !binding.tls_exporter.empty() || !binding.tls_server_end_point.empty();
        for (const auto hash : {ScramHash::sha512, ScramHash::sha256, ScramHash::sha1}) {
            if (plus) out.push_back(std::string(scram_name(hash)) + "-PLUS");
        }
        for (const auto hash : {ScramHash::sha512, ScramHash::sha256, ScramHash::sha1}) {
            out.emplace_back(scram_name(hash));
        }
    }
    out.emplace_back("PLAIN");
    return out;
}

std::unique_ptr<SaslSession> AuthService::begin(const std::string& name, const std::string& mechanism,
                                                const ChannelBinding& binding, const std::string& peer) {
    const auto offered = mechanisms(name, binding);
    if (std::find(offered.begin(), offered.end(), mechanism) == offered.end()) return nullptr;
    if (mechanism == "PLAIN") return std::make_unique<PlainSession>(*this, name, peer);
    const bool plus_offered = offered.front().ends_with("-PLUS");
    return std::make_unique<ScramSession>(*this, name, peer, mechanism, binding, plus_offered);
}

awaitable<std::vector<ScramCredential>> AuthService::derive(std::string password) {
    auto work = [password = std::move(password)] { return derive_keys(password); };
    co_return co_await offload(workers_, std::move(work));
}

awaitable<Result<AuthService::Lookup, SaslFailure>> AuthService::look_up(std::string name,
                                                                         std::string username,
                                                                         std::string authzid) {
    Lookup found;
    auto jid = sasl_account(username, authzid, name);
    if (!jid) {
        if (jid.error() == SaslFailure::invalid_authzid) co_return jid.error();
        co_return found;
    }
    found.jid = *jid;
    auto row = co_await store_.find_account(*jid);
    if (!row) co_return SaslFailure::temporary_auth_failure;
    found.row = *row;
    if (found.row) {
        auto keys = co_await store_.credentials(found.row->id);
        if (!keys) co_return SaslFailure::temporary_auth_failure;
        found.keys = std::move(*keys);
    }
    co_return found;
}

awaitable<Result<Jid, SaslFailure>> AuthService::check_plain(std::string name, std::string message,
                                                             std::string peer) {
    const auto plain = parse_plain(message);
    if (!plain) co_return plain.error();
    if (plain->password.empty()) co_return SaslFailure::not_authorized;
    // By the account, not by how its name is spelt.
    const auto account = sasl_account(plain->username, {}, name);
    const auto key = (account ? account->to_string() : plain->username + '@' + name) + ' ' + peer;
    co_await throttle(key);
    auto found = co_await look_up(name, plain->username, plain->authzid);
    if (!found) co_return found.error();
    if (!found->row) {
        failed(key);
        co_return SaslFailure::not_authorized;
    }
    const auto& row = *found->row;
    if (!cached(row.jid, plain->password)) {
        if (row.source == AccountSource::ldap) {
            if (const auto refused = co_await ask_directory(row, plain->password, key)) co_return *refused;
        } else {
            bool good = false;
            for (const auto& credential : found->keys) {
                if (scram_hash(credential.mechanism) != ScramHash::sha256 && found->keys.size() > 1) continue;
                auto work = [keys = to_keys(credential), password = plain->password] {
                    return hexad::check_plain(password, keys);
                };
                good = co_await offload(workers_, std::move(work));
                break;
            }
            if (!good) {
                failed(key);
                co_return SaslFailure::not_authorized;
            }
        }
        remember(row.jid, plain->password);
    }
    succeeded(key);
    if (row.state != AccountState::active && row.state != AccountState::missing)
        co_return SaslFailure::account_disabled;
    if (const auto why = barred(row)) co_return *why;
    co_return row.jid;
}

std::optional<SaslFailure> AuthService::barred(const AccountRow& row) const {
    if (!refuses_unassigned_ || !row.home_node.empty()) return std::nullopt;
    log_warn("login_unassigned", {{"jid", row.jid.to_string()}});
    return SaslFailure::unassigned;
}

awaitable<std::optional<SaslFailure>> AuthService::ask_directory(AccountRow row, std::string password,
                                                                 std::string key) {
    if (row.state == AccountState::deactivated) co_return SaslFailure::not_authorized;
    if (!offline_) co_return SaslFailure::temporary_auth_failure;  // no mirror without a cluster's store
    const auto entry = co_await offline_->entry_of(row.id);
    if (!entry) co_return SaslFailure::temporary_auth_failure;
    if (!*entry) {
        log_warn("login_without_entry", {{"jid", row.jid.to_string()}});
        failed(key);
        co_return SaslFailure::not_authorized;
    }
    const auto verdict = co_await directory_(std::string(row.jid.domain()), **entry, password);
    // Asked all the same: a lock-out that has run its time ends in the directory with a good bind, and here
    // with the next run of the agent.
    if (row.state == AccountState::disabled) co_return SaslFailure::account_disabled;
    switch (verdict) {
        case DirectoryVerdict::good:
            offline_->accepted(row.jid, row.id, password, fingerprint(row.jid, password));
            co_return std::nullopt;
        case DirectoryVerdict::temporary:
            co_return SaslFailure::temporary_auth_failure;
        case DirectoryVerdict::unreachable:
            // Who is missing was said to be gone: only the directory can take that back.
            if (row.state == AccountState::active && co_await offline_->check(row.id, password)) {
                log_info("login_offline", {{"jid", row.jid.to_string()}});
                co_return std::nullopt;
            }
            // Wrong, or new since: only the directory knows.
            failed(key);
            co_return SaslFailure::temporary_auth_failure;
        default:
            break;
    }
    cache_.erase(row.jid);
    co_await offline_->refused(row.jid, row.id);
    if (verdict == DirectoryVerdict::disabled) co_return SaslFailure::account_disabled;
    if (verdict == DirectoryVerdict::expired) co_return SaslFailure::credentials_expired;
    failed(key);
    co_return SaslFailure::not_authorized;
}

awaitable<void> AuthService::throttle(std::string key) {
    const auto it = failures_.find(key);
    if (it == failures_.end()) co_return;
    const auto wait = milliseconds(100) * (1 << std::min(it->second.count, 6));
    if (it->second.count >= 3) {
        asio::steady_timer timer(io_, it->second.last + wait);
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

void AuthService::failed(const std::string& key) {
    if (failures_.size() > 10000) failures_.clear();
    auto& entry = failures_[key];
    ++entry.count;
    entry.last = SteadyClock::now();
    if (entry.count == 10) log_warn("auth_throttled", {{"name", key}});
}

std::string AuthService::fingerprint(const Jid& account, const std::string& password) const {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    const auto text = account.to_string() + '\0' + password;
    HMAC(EVP_sha256(), cache_key_.data(), static_cast<int>(cache_key_.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &length);
    return {reinterpret_cast<const char*>(out), length};
}

bool AuthService::cached(const Jid& account, const std::string& password) {
    const auto it = cache_.find(account);
    if (it == cache_.end() || it->second.until < SteadyClock::now()) return false;
    const auto print = fingerprint(account, password);
    return CRYPTO_memcmp(print.data(), it->second.fingerprint.data(), print.size()) == 0;
}

void AuthService::remember(const Jid& account, const std::string& password) {
    if (cache_.size() >= cache_size) cache_.clear();
    cache_[account] = {fingerprint(account, password), SteadyClock::now() + cache_time};
}

}  // namespace hexad

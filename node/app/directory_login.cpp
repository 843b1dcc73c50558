#include "app/directory_login.hpp"

#include <algorithm>
#include <deque>

#include "ldap/agreement.hpp"

namespace hexad {

DirectoryLogin::DirectoryLogin(const Config& config) {
    for (const auto& agreement : config.agreements) {
        auto directory = ldap::directory_of(agreement);
        agreements_.push_back({agreement, std::make_unique<ldap::LdapAuthenticator>(std::move(directory))});
    }
}

std::map<std::string, std::string> DirectoryLogin::down() const {
    std::map<std::string, std::string> out;
    for (const auto& one : agreements_) {
        const auto hosts = one.authenticator->health();
        const auto is_up = [](const ldap::HostHealth& host) { return host.is_up; };
        if (hosts.empty() || std::any_of(hosts.begin(), hosts.end(), is_up)) continue;
        out[one.agreement.name] = hosts.front().host + ": " + hosts.front().reason;
    }
    return out;
}

namespace {

/// As the directory writes it (RFC 4530): 8-4-4-4-12.
std::string dashed(const std::string& uuid) {
    if (uuid.size() != 32) return uuid;
    return uuid.substr(0, 8) + '-' + uuid.substr(8, 4) + '-' + uuid.substr(12, 4) + '-' + uuid.substr(16, 4) +
           '-' + uuid.substr(20);
}

DirectoryVerdict verdict_of(const ldap::LoginAnswer& told) {
    switch (told.result) {
        case ldap::LoginResult::ok:
            return DirectoryVerdict::good;
        case ldap::LoginResult::account_disabled:
            return DirectoryVerdict::disabled;
        case ldap::LoginResult::credentials_expired:
            return DirectoryVerdict::expired;
        case ldap::LoginResult::not_authorized:
            return DirectoryVerdict::wrong;
        case ldap::LoginResult::temporary_failure:
            break;
    }
    return told.is_unreachable ? DirectoryVerdict::unreachable : DirectoryVerdict::temporary;
}

}  // namespace

awaitable<DirectoryVerdict> DirectoryLogin::check(std::string host, MirroredEntry entry,
                                                  std::string password) {
    // The entry's own agreement first. One in which it is not (it has moved since the last run) leaves the
    // others of the host to ask; the immutable id tells that it is the same person.
    std::deque<One*> asked;
    for (auto& one : agreements_) {
        if (one.agreement.name == entry.agreement) {
            asked.push_front(&one);
        } else if (one.agreement.host == host) {
            asked.push_back(&one);
        }
    }
    bool is_unsure = false;
    for (auto* one : asked) {
        ldap::LoginRequest request;
        request.base = one->agreement.base;
        request.filter = one->agreement.filter;
        request.attribute = "entryUUID";
        request.name = dashed(entry.uuid);
        request.password = password;
        const auto told = co_await one->authenticator->authenticate(std::move(request));
        // Who has the entry has the last word; so has its own agreement, unless it says that it has it no
        // more.
        const bool has_it = !told.dn.empty();
        const bool is_own = one->agreement.name == entry.agreement;
        if (has_it || (is_own && told.result != ldap::LoginResult::not_authorized))
            co_return verdict_of(told);
        is_unsure = is_unsure || told.result != ldap::LoginResult::not_authorized;
    }
    co_return is_unsure ? DirectoryVerdict::temporary : DirectoryVerdict::wrong;
}

}  // namespace hexad

#include "app/directory_login.hpp"

#include <algorithm>

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
    std::vector<One*> asked;
    for (auto& one : agreements_)
        if (one.agreement.name == entry.agreement) asked.push_back(&one);
    if (asked.empty()) co_return DirectoryVerdict::wrong;
    for (auto& one : agreements_)
        if (one.agreement.host == host && one.agreement.name != entry.agreement) asked.push_back(&one);
    for (auto* one : asked) {
        ldap::LoginRequest request;
        request.base = one->agreement.base;
        request.filter = one->agreement.filter;
        request.attribute = "entryUUID";
        request.name = dashed(entry.uuid);
        request.password = password;
        const auto told = co_await one->authenticator->authenticate(std::move(request));
        const bool is_elsewhere = told.result == ldap::LoginResult::not_authorized && told.dn.empty();
        if (!is_elsewhere && (one == asked.front() || !told.dn.empty())) co_return verdict_of(told);
    }
    co_return DirectoryVerdict::wrong;
}

}  // namespace hexad

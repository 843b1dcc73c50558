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

awaitable<DirectoryVerdict> DirectoryLogin::check(std::string host, std::string uid, std::string password) {
    // No agreement knows what another one's directory would say: one that answers "no" and one that cannot be
    // reached are together no verdict.
    bool is_answered = false, is_unreachable = false, is_unsure = false;
    for (auto& one : agreements_) {
        if (one.agreement.host != host) continue;
        ldap::LoginRequest request;
        request.base = one.agreement.base;
        request.filter = one.agreement.filter;
        request.attribute = one.agreement.uid_attribute;
        request.name = uid;
        request.password = password;
        const auto told = co_await one.authenticator->authenticate(std::move(request));
        switch (told.result) {
            case ldap::LoginResult::ok:
                co_return DirectoryVerdict::good;
            case ldap::LoginResult::account_disabled:
                co_return DirectoryVerdict::disabled;
            case ldap::LoginResult::credentials_expired:
                co_return DirectoryVerdict::expired;
            case ldap::LoginResult::temporary_failure:
                (told.is_unreachable ? is_unreachable : is_unsure) = true;
                break;
            case ldap::LoginResult::not_authorized:
                is_answered = true;
                break;
        }
    }
    if (is_unreachable && !is_answered && !is_unsure) co_return DirectoryVerdict::unreachable;
    co_return is_unreachable || is_unsure ? DirectoryVerdict::temporary : DirectoryVerdict::wrong;
}

}  // namespace hexad

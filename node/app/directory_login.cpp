#include "app/directory_login.hpp"

#include <fstream>

#include "base/log.hpp"

namespace hexad {

DirectoryLogin::DirectoryLogin(const Config& config) {
    for (const auto& agreement : config.agreements) {
        ldap::DirectoryConfig directory;
        directory.name = agreement.name;
        directory.hosts = agreement.hosts;
        directory.tls = agreement.tls == "ldaps"  ? ldap::Tls::ldaps
                        : agreement.tls == "none" ? ldap::Tls::none
                                                  : ldap::Tls::starttls;
        directory.ca_file = agreement.ca;
        directory.bind_dn = agreement.bind_dn;
        if (!agreement.password_file.empty()) {
            std::ifstream in(agreement.password_file);
            std::getline(in, directory.password);
        }
        agreements_.push_back({agreement, std::make_unique<ldap::LdapAuthenticator>(std::move(directory))});
    }
}

awaitable<DirectoryAnswer> DirectoryLogin::check(std::string host, std::string uid, std::string password) {
    auto answer = SaslFailure::not_authorized;
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
                co_return true;
            case ldap::LoginResult::account_disabled:
                co_return SaslFailure::account_disabled;
            case ldap::LoginResult::credentials_expired:
                co_return SaslFailure::credentials_expired;
            case ldap::LoginResult::temporary_failure:
                answer = SaslFailure::temporary_auth_failure;
                break;
            case ldap::LoginResult::not_authorized:
                break;
        }
    }
    co_return answer;
}

}  // namespace hexad

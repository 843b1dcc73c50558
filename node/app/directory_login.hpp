#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "auth/auth_service.hpp"
#include "base/config.hpp"
#include "ldap/authenticator.hpp"

namespace hexad {

/// Checks passwords of mirrored entries against the directories of the agreements: one authenticator each.
/// Protocol thread.
class DirectoryLogin {
public:
    explicit DirectoryLogin(const Config& config);
    /// Agreements none of whose hosts answers, each with the reason of the last failure.
    std::map<std::string, std::string> down() const;
    awaitable<DirectoryVerdict> check(std::string host, MirroredEntry entry, std::string password);

private:
    struct One {
        AgreementConfig agreement;
        std::unique_ptr<ldap::LdapAuthenticator> authenticator;
    };
    std::vector<One> agreements_;
};

}  // namespace hexad

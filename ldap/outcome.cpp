#include "ldap/outcome.hpp"

#include <ldap.h>

namespace hexad::ldap {

std::string_view sasl_condition(LoginResult result) {
    switch (result) {
        case LoginResult::ok:
            return "";
        case LoginResult::not_authorized:
            return "not-authorized";
        case LoginResult::account_disabled:
            return "account-disabled";
        case LoginResult::credentials_expired:
            return "credentials-expired";
        case LoginResult::temporary_failure:
            return "temporary-auth-failure";
    }
    return "temporary-auth-failure";
}

std::string_view active_directory_code(std::string_view diagnostic) {
    constexpr std::string_view mark = "data ";
    const auto at = diagnostic.find(mark);
    if (at == std::string_view::npos) return {};
    const auto rest = diagnostic.substr(at + mark.size());
    const auto length = rest.find_first_not_of("0123456789abcdefABCDEF");
    return rest.substr(0, length);
}

LoginResult classify_bind(int code, std::string_view diagnostic, int password_policy) {
    const bool must_change = password_policy == PP_passwordExpired || password_policy == PP_changeAfterReset;
    if (code == LDAP_SUCCESS) return must_change ? LoginResult::credentials_expired : LoginResult::ok;

    switch (code) {
        case LDAP_INVALID_CREDENTIALS: {
            const auto detail = active_directory_code(diagnostic);
            if (detail == "533" || detail == "775" || detail == "701" || detail == "530" || detail == "531")
                return LoginResult::account_disabled;
            if (detail == "532" || detail == "773" || must_change) return LoginResult::credentials_expired;
            if (password_policy == PP_accountLocked) return LoginResult::account_disabled;
            return LoginResult::not_authorized;
        }
        // 389 Directory Server and its kin: an inactivated account, and too many wrong passwords.
        case LDAP_UNWILLING_TO_PERFORM:
        case LDAP_CONSTRAINT_VIOLATION:
            return LoginResult::account_disabled;
        case LDAP_NO_SUCH_OBJECT:
        case LDAP_INVALID_DN_SYNTAX:
        case LDAP_INAPPROPRIATE_AUTH:
        case LDAP_INSUFFICIENT_ACCESS:
            return LoginResult::not_authorized;
        default:
            return LoginResult::temporary_failure;
    }
}

}  // namespace hexad::ldap

#pragma once

#include <string>
#include <string_view>

#include "ldap/directory.hpp"

namespace hexad::ldap {

/// What a directory says about a name and a password, as far as a login needs to know.
enum class LoginResult {
    ok,
    not_authorized,       ///< wrong password, unknown name, several hits
    account_disabled,     ///< disabled, locked, expired, not at this hour or machine
    credentials_expired,  ///< the password must be changed first
    temporary_failure,    ///< no host could be asked: says nothing about the password
};

/// The SASL condition (RFC 6120 §6.5) of a result; empty for ok.
std::string_view sasl_condition(LoginResult result);

/// Reads the answer to a user's bind. Active Directory hides the reason in the diagnostic message ("…, data
/// 533, …"), a password policy control in `password_policy`; both also count when the bind itself was a
/// success.
LoginResult classify_bind(int code, std::string_view diagnostic, int password_policy);

/// The hexadecimal sub-code after "data " of an Active Directory message; empty if there is none.
std::string_view active_directory_code(std::string_view diagnostic);

}  // namespace hexad::ldap

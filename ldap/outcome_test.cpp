#include "ldap/outcome.hpp"

#include <catch2/catch.hpp>
#include <ldap.h>

using namespace hexad::ldap;

TEST_CASE("the answers of directories become SASL conditions", "[ldap][directory-sync-9]") {
    const auto condition = [](int code, std::string_view diagnostic = {}, int policy = -1) {
        return sasl_condition(classify_bind(code, diagnostic, policy));
    };
    const auto ad = [&](const char* data) {
        return condition(
            LDAP_INVALID_CREDENTIALS,
            std::string("80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data ") +
                data + ", v4563");
    };
    CHECK(condition(LDAP_SUCCESS) == "");
    CHECK(condition(LDAP_INVALID_CREDENTIALS) == "not-authorized");
    CHECK(ad("52e") == "not-authorized");
    CHECK(ad("525") == "not-authorized");
    CHECK(ad("533") == "account-disabled");
    CHECK(ad("775") == "account-disabled");
    CHECK(ad("701") == "account-disabled");
    CHECK(ad("530") == "account-disabled");
    CHECK(ad("531") == "account-disabled");
    CHECK(ad("532") == "credentials-expired");
    CHECK(ad("773") == "credentials-expired");
    CHECK(condition(LDAP_INVALID_CREDENTIALS, "", PP_accountLocked) == "account-disabled");
    CHECK(condition(LDAP_INVALID_CREDENTIALS, "", PP_passwordExpired) == "credentials-expired");
    CHECK(condition(LDAP_SUCCESS, "", PP_changeAfterReset) == "credentials-expired");
    CHECK(condition(LDAP_UNWILLING_TO_PERFORM, "Account inactivated.") == "account-disabled");
    CHECK(condition(LDAP_CONSTRAINT_VIOLATION, "Exceed password retry limit.") == "account-disabled");
    CHECK(condition(LDAP_NO_SUCH_OBJECT) == "not-authorized");
    CHECK(condition(LDAP_BUSY) == "temporary-auth-failure");
    CHECK(condition(LDAP_UNAVAILABLE) == "temporary-auth-failure");
    CHECK(condition(LDAP_SERVER_DOWN) == "temporary-auth-failure");
    CHECK(condition(LDAP_CONFIDENTIALITY_REQUIRED) == "temporary-auth-failure");
}

TEST_CASE("a message without a sub-code has none", "[ldap]") {
    CHECK(active_directory_code("") == "");
    CHECK(active_directory_code("data ") == "");
    CHECK(active_directory_code("data 52e") == "52e");
    CHECK(active_directory_code("no data here") == "");
}

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// Why a SASL exchange failed; each names its RFC 6120 §6.5 condition.
enum class SaslFailure {
    aborted,
    account_disabled,
    credentials_expired,
    encryption_required,
    incorrect_encoding,
    invalid_authzid,
    invalid_mechanism,
    malformed_request,
    mechanism_too_weak,
    not_authorized,
    temporary_auth_failure,
    unassigned  ///< no node has room for the account: to the client it is disabled, with a text that says why
};
/// The element name, e.g. `not-authorized`.
std::string_view sasl_condition(SaslFailure failure);
/// What is told besides; mostly nothing.
std::string_view sasl_text(SaslFailure failure);
std::ostream& operator<<(std::ostream&, SaslFailure);

/// SASLprep (RFC 4013) of a user name or password in UTF-8. Unassigned code points pass, so that passwords
/// may hold what keyboards have. Nothing if the text is empty afterwards, not UTF-8, or holds what the
/// profile prohibits.
std::optional<std::string> saslprep(std::string_view text);

/// What a client said in a SASL PLAIN message (RFC 4616).
struct PlainMessage {
    std::string authzid;   ///< as sent, may be empty
    std::string username;  ///< after SASLprep
    std::string password;  ///< as sent: a directory compares its own way, check_plain() prepares
};
/// `message` is the decoded base64. Failures: malformed_request, incorrect_encoding (not UTF-8).
Result<PlainMessage, SaslFailure> parse_plain(std::string_view message);

/// The bare JID that authenticates: `username` at `domain`; a username that is a bare JID of this domain is
/// taken too. An authzid, if any, must be the same bare JID (RFC 6120 §6.3.8): acting for others is not
/// offered. Failures: not_authorized (no valid localpart, other domain), invalid_authzid.
Result<Jid, SaslFailure> sasl_account(std::string_view username, std::string_view authzid,
                                      std::string_view domain);

}  // namespace hexad

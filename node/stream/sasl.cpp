#include "stream/sasl.hpp"

#include <algorithm>
#include <ostream>
#include <stdexcept>
#include <vector>

#include <unicode/usprep.h>
#include <unicode/ustring.h>

#include "base/text.hpp"

namespace hexad {
namespace {

constexpr std::size_t max_field = 1023;

const UStringPrepProfile* saslprep_profile() {
    static const auto* profile = [] {
        UErrorCode status = U_ZERO_ERROR;
        const auto* opened = usprep_openByType(USPREP_RFC4013_SASLPREP, &status);
        if (U_FAILURE(status))
            throw std::runtime_error(std::string("ICU has no SASLprep: ") + u_errorName(status));
        return opened;
    }();
    return profile;
}

}  // namespace

std::string_view sasl_condition(SaslFailure failure) {
    switch (failure) {
        case SaslFailure::aborted:
            return "aborted";
        case SaslFailure::account_disabled:
            return "account-disabled";
        case SaslFailure::credentials_expired:
            return "credentials-expired";
        case SaslFailure::encryption_required:
            return "encryption-required";
        case SaslFailure::incorrect_encoding:
            return "incorrect-encoding";
        case SaslFailure::invalid_authzid:
            return "invalid-authzid";
        case SaslFailure::invalid_mechanism:
            return "invalid-mechanism";
        case SaslFailure::malformed_request:
            return "malformed-request";
        case SaslFailure::mechanism_too_weak:
            return "mechanism-too-weak";
        case SaslFailure::not_authorized:
            return "not-authorized";
        case SaslFailure::unassigned:
            return "account-disabled";
        case SaslFailure::temporary_auth_failure:
            return "temporary-auth-failure";
    }
    return "not-authorized";
}

std::string_view sasl_text(SaslFailure failure) {
    if (failure == SaslFailure::unassigned)
        return "The account is not assigned to a server yet; please ask the administrator";
    return {};
}

std::ostream& operator<<(std::ostream& out, SaslFailure failure) { return out << sasl_condition(failure); }

std::optional<std::string> saslprep(std::string_view text) {
    if (text.empty() || text.size() > max_field) return std::nullopt;
    const bool ascii =
        std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
    if (ascii) return std::string(text);
    UErrorCode status = U_ZERO_ERROR;
    UChar wide[max_field];
    std::int32_t wide_size = 0;
    u_strFromUTF8(wide, max_field, &wide_size, text.data(), static_cast<std::int32_t>(text.size()), &status);
    if (U_FAILURE(status)) return std::nullopt;
    // A code point may become up to 18 (U+FDFA, by NFKC).
    std::vector<UChar> prepared(static_cast<std::size_t>(wide_size) * 18 + 1);
    const auto size =
        usprep_prepare(saslprep_profile(), wide, wide_size, prepared.data(),
                       static_cast<std::int32_t>(prepared.size()), USPREP_ALLOW_UNASSIGNED, nullptr, &status);
    if (U_FAILURE(status) || size == 0) return std::nullopt;
    std::string out(static_cast<std::size_t>(size) * 3, '\0');
    std::int32_t bytes = 0;
    u_strToUTF8(out.data(), static_cast<std::int32_t>(out.size()), &bytes, prepared.data(), size, &status);
    if (U_FAILURE(status)) return std::nullopt;
    out.resize(static_cast<std::size_t>(bytes));
    return out;
}

Result<PlainMessage, SaslFailure> parse_plain(std::string_view message) {
    const auto first = message.find('\0');
    if (first == std::string_view::npos) return SaslFailure::malformed_request;
    const auto second = message.find('\0', first + 1);
    if (second == std::string_view::npos || message.find('\0', second + 1) != std::string_view::npos)
        return SaslFailure::malformed_request;
    if (!is_utf8(message)) return SaslFailure::incorrect_encoding;
    PlainMessage plain;
    plain.authzid = message.substr(0, first);
    plain.password = message.substr(second + 1);
    auto username = saslprep(message.substr(first + 1, second - first - 1));
    if (!username || plain.password.empty() || plain.password.size() > max_field)
        return SaslFailure::malformed_request;
    plain.username = std::move(*username);
    return plain;
}

Result<Jid, SaslFailure> sasl_account(std::string_view username, std::string_view authzid,
                                      std::string_view domain) {
    // A localpart holds no "@", so there is no doubt which form it is.
    const auto account =
        username.find('@') == std::string_view::npos ? Jid::make(username, domain) : Jid::parse(username);
    const auto host = Jid::make({}, domain);
    if (!account || !host || account->local().empty() || account->is_full() ||
        account->domain() != host->domain())
        return SaslFailure::not_authorized;
    if (!authzid.empty()) {
        const auto other = Jid::parse(authzid);
        if (!other || *other != *account) return SaslFailure::invalid_authzid;
    }
    return *account;
}

}  // namespace hexad

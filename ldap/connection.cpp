#include "ldap/connection.hpp"

#include <csignal>
#include <stdexcept>

#include <ldap.h>

#include "ldap/message.hpp"

namespace hexad::ldap {

namespace {

/// The page cookie of a search result: empty after the last page.
std::string page_cookie(LDAP* handle, LDAPControl* found) {
    if (found == nullptr) return {};
    ber_int_t estimate = 0;
    berval cookie{};
    if (ldap_parse_pageresponse_control(handle, found, &estimate, &cookie) != LDAP_SUCCESS) return {};
    std::string result(cookie.bv_val ? cookie.bv_val : "", cookie.bv_len);
    ber_memfree(cookie.bv_val);
    return result;
}

}  // namespace

bool Failure::is_transport() const {
    switch (code) {
        case LDAP_SERVER_DOWN:
        case LDAP_TIMEOUT:
        case LDAP_CONNECT_ERROR:
        case LDAP_LOCAL_ERROR:
        case LDAP_DECODING_ERROR:
        case LDAP_BUSY:
        case LDAP_UNAVAILABLE:
            return true;
        default:
            return false;
    }
}

std::string Failure::to_string() const {
    return text + " (" + std::to_string(code) + ")" + (diagnostic.empty() ? "" : ": " + diagnostic);
}

void throw_exception_from_error(const Failure& failure, const boost::source_location&) {
    throw std::runtime_error("ldap: " + failure.to_string());
}

std::optional<std::string_view> Entry::first(std::string_view name) const {
    const auto& values = all(name);
    if (values.empty()) return std::nullopt;
    return values.front();
}

const std::vector<std::string>& Entry::all(std::string_view name) const {
    static const std::vector<std::string> none;
    const auto found = attributes.find(name);
    return found == attributes.end() ? none : found->second;
}

void LdapConnection::Unbind::operator()(::ldap* handle) const { ldap_unbind_ext(handle, nullptr, nullptr); }

Failure LdapConnection::failure(int code) const {
    char* diagnostic = nullptr;
    ldap_get_option(handle_.get(), LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
    return {code, ldap_err2string(code), take(diagnostic)};
}

LdapResult<LdapConnection> LdapConnection::open(const DirectoryConfig& config, const std::string& host) {
    // libldap's TLS writes with plain write(): a server that has gone must not end the process.
    static const auto previous = std::signal(SIGPIPE, SIG_IGN);
    static_cast<void>(previous);

    LDAP* raw = nullptr;
    if (const int code = ldap_initialize(&raw, host.c_str()); code != LDAP_SUCCESS)
        return Failure{code, ldap_err2string(code), "not an LDAP address: " + host};
    LdapConnection connection(raw);
    connection.timeout_ = config.operation_timeout;

    const int version = LDAP_VERSION3;
    const auto connect = to_timeval(config.connect_timeout);
    const auto operation = to_timeval(config.operation_timeout);
    ldap_set_option(raw, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(raw, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    ldap_set_option(raw, LDAP_OPT_RESTART, LDAP_OPT_ON);
    ldap_set_option(raw, LDAP_OPT_NETWORK_TIMEOUT, &connect);
    ldap_set_option(raw, LDAP_OPT_TIMEOUT, &connect);  // of StartTLS; what follows waits longer
    if (!config.local_address.empty())
        ldap_set_option(raw, LDAP_OPT_SOCKET_BIND_ADDRESSES, config.local_address.c_str());

    if (config.tls != Tls::none) {
        // Hard: the chain must lead to our authority, the name must be the one in the address.
        const int require = LDAP_OPT_X_TLS_HARD;
        ldap_set_option(raw, LDAP_OPT_X_TLS_REQUIRE_CERT, &require);
        if (!config.ca_file.empty()) ldap_set_option(raw, LDAP_OPT_X_TLS_CACERTFILE, config.ca_file.c_str());
        const int least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
        ldap_set_option(raw, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least);
        const int is_server = 0;
        if (const int code = ldap_set_option(raw, LDAP_OPT_X_TLS_NEWCTX, &is_server);
            code != LDAP_OPT_SUCCESS)
            return Failure{LDAP_LOCAL_ERROR, "TLS cannot be set up", config.ca_file};
    }
    if (const int code = ldap_connect(raw); code != LDAP_SUCCESS) return connection.failure(code);
    if (config.tls == Tls::starttls) {
        if (const int code = ldap_start_tls_s(raw, nullptr, nullptr); code != LDAP_SUCCESS)
            return connection.failure(code);
    }
    ldap_set_option(raw, LDAP_OPT_TIMEOUT, &operation);
    return connection;
}

LdapResult<BindAnswer> LdapConnection::bind(const std::string& dn, const std::string& password) {
    if (password.empty() && !dn.empty())
        return Failure{LDAP_INVALID_CREDENTIALS, ldap_err2string(LDAP_INVALID_CREDENTIALS), "empty password"};
    LDAPControl* asked = nullptr;
    if (const int code = ldap_create_passwordpolicy_control(handle_.get(), &asked); code != LDAP_SUCCESS)
        return failure(code);
    const Control policy(asked);
    LDAPControl* controls[] = {asked, nullptr};
    berval secret{password.size(), const_cast<char*>(password.data())};
    int id = 0;
    if (const int code =
            ldap_sasl_bind(handle_.get(), dn.c_str(), LDAP_SASL_SIMPLE, &secret, controls, nullptr, &id);
        code != LDAP_SUCCESS)
        return failure(code);

    auto wait = to_timeval(timeout_);
    LDAPMessage* raw = nullptr;
    const int kind = ldap_result(handle_.get(), id, LDAP_MSG_ALL, &wait, &raw);
    const Message message(raw);
    if (kind == 0) {
        ldap_abandon_ext(handle_.get(), id, nullptr, nullptr);
        return Failure{LDAP_TIMEOUT, ldap_err2string(LDAP_TIMEOUT), {}};
    }
    if (kind < 0) return failure(LDAP_SERVER_DOWN);

    const auto outcome = read_outcome(handle_.get(), raw);
    Failure told = outcome.failure();
    if (LDAPControl* found = outcome.find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE)) {
        ber_int_t expires = 0;
        ber_int_t grace = 0;
        LDAPPasswordPolicyError error = PP_noError;
        if (ldap_parse_passwordpolicy_control(handle_.get(), found, &expires, &grace, &error) ==
                LDAP_SUCCESS &&
            error != PP_noError)
            told.password_policy = static_cast<int>(error);
    }
    if (outcome.code != LDAP_SUCCESS) return told;
    return BindAnswer{told.password_policy};
}

LdapResult<Capabilities> LdapConnection::root_dse() {
    SearchRequest request{"", Scope::base, "(objectClass=*)", {"*", "+"}, 0, 0};
    auto found = find(request);
    if (!found) return found.error();
    if (found->empty()) return Failure{LDAP_NO_SUCH_OBJECT, "no root DSE", {}};
    const auto& dse = found->front();
    const auto set_of = [&dse](std::string_view name) {
        const auto& values = dse.all(name);
        return std::set<std::string>(values.begin(), values.end());
    };
    Capabilities result;
    result.controls = set_of("supportedcontrol");
    result.extensions = set_of("supportedextension");
    result.features = set_of("supportedcapabilities");
    result.features.merge(set_of("supportedfeatures"));
    result.naming_contexts = dse.all("namingcontexts");
    result.vendor = dse.first("vendorname").value_or("");
    result.directory_service_name = dse.first("dsservicename").value_or("");
    result.highest_committed_usn = dse.first("highestcommittedusn").value_or("");
    return result;
}

ReadSummary LdapConnection::search(const SearchRequest& request, const std::function<void(Entry)>& on_entry) {
    ReadSummary summary;
    auto attributes = to_attributes(request);
    std::string cookie;
    do {
        Control page;
        if (request.page_size > 0) {
            berval from{cookie.size(), cookie.data()};
            LDAPControl* made = nullptr;
            // Not critical: a server without paging answers in one piece, and says so by sending no cookie.
            ldap_create_page_control(handle_.get(), request.page_size, cookie.empty() ? nullptr : &from, 0,
                                     &made);
            page.reset(made);
        }
        LDAPControl* controls[] = {page.get(), nullptr};
        int id = 0;
        const int code =
            ldap_search_ext(handle_.get(), request.base.c_str(), to_scope(request.scope),
                            request.filter.c_str(), attributes.empty() ? nullptr : attributes.data(), 0,
                            page ? controls : nullptr, nullptr, nullptr, request.size_limit, &id);
        if (code != LDAP_SUCCESS) {
            summary.failure = failure(code);
            return summary;
        }
        for (bool is_done = false; !is_done;) {
            auto wait = to_timeval(timeout_);
            LDAPMessage* raw = nullptr;
            const int kind = ldap_result(handle_.get(), id, LDAP_MSG_ONE, &wait, &raw);
            const Message message(raw);
            switch (kind) {
                case LDAP_RES_SEARCH_ENTRY:
                    ++summary.entries;
                    on_entry(read_entry(handle_.get(), raw));
                    break;
                case LDAP_RES_SEARCH_REFERENCE:
                    for (auto& url : read_reference(handle_.get(), raw))
                        summary.referrals.push_back(std::move(url));
                    break;
                case LDAP_RES_SEARCH_RESULT: {
                    is_done = true;
                    const auto outcome = read_outcome(handle_.get(), raw);
                    if (outcome.code != LDAP_SUCCESS) {
                        summary.failure = outcome.failure();
                        return summary;
                    }
                    cookie = page_cookie(handle_.get(), outcome.find(LDAP_CONTROL_PAGEDRESULTS));
                    break;
                }
                case 0:
                    ldap_abandon_ext(handle_.get(), id, nullptr, nullptr);
                    summary.failure = Failure{LDAP_TIMEOUT, ldap_err2string(LDAP_TIMEOUT), {}};
                    return summary;
                case LDAP_RES_INTERMEDIATE:
                    break;
                default:
                    summary.failure = failure(LDAP_SERVER_DOWN);
                    return summary;
            }
        }
    } while (!cookie.empty());
    return summary;
}

LdapResult<std::vector<Entry>> LdapConnection::find(const SearchRequest& request) {
    std::vector<Entry> entries;
    auto summary = search(request, [&entries](Entry entry) { entries.push_back(std::move(entry)); });
    if (summary.failure) return *summary.failure;
    return entries;
}

LdapResult<std::vector<std::string>> LdapConnection::values_of(const std::string& dn,
                                                               const std::string& attribute) {
    std::vector<std::string> values;
    std::string asked = attribute;
    while (true) {
        SearchRequest request{dn, Scope::base, "(objectClass=*)", {asked}, 0, 0};
        auto found = find(request);
        if (!found) return found.error();
        if (found->empty()) return values;
        const auto plain = lowered(attribute);
        bool has_more = false;
        for (const auto& [name, part] : found->front().attributes) {
            const auto range = plain + ";range=";
            if (name != plain && !name.starts_with(range)) continue;
            values.insert(values.end(), part.begin(), part.end());
            // "member;range=0-1499": there are more, from 1500 on; "1500-*": these were the last.
            const auto dash = name.rfind('-');
            if (name == plain || dash == std::string::npos || name.substr(dash + 1) == "*" || part.empty())
                continue;
            asked = attribute + ";range=" + std::to_string(values.size()) + "-*";
            has_more = true;
        }
        if (!has_more) return values;
    }
}

}  // namespace hexad::ldap

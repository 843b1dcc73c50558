#include "ldap/message.hpp"

#include <algorithm>

namespace hexad::ldap {

timeval to_timeval(milliseconds time) {
    return {static_cast<time_t>(time.count() / 1000), static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

std::string take(char* text) {
    std::string result = text ? text : "";
    ldap_memfree(text);
    return result;
}

std::string lowered(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return text;
}

Entry read_entry(LDAP* handle, LDAPMessage* message) {
    Entry entry;
    entry.dn = take(ldap_get_dn(handle, message));
    BerElement* at = nullptr;
    for (char* name = ldap_first_attribute(handle, message, &at); name != nullptr;
         name = ldap_next_attribute(handle, message, at)) {
        auto& values = entry.attributes[lowered(name)];
        if (berval** found = ldap_get_values_len(handle, message, name)) {
            for (berval** value = found; *value != nullptr; ++value)
                values.emplace_back((*value)->bv_val, (*value)->bv_len);
            ldap_value_free_len(found);
        }
        ldap_memfree(name);
    }
    if (at != nullptr) ber_free(at, 0);
    return entry;
}

std::vector<std::string> read_reference(LDAP* handle, LDAPMessage* message) {
    std::vector<std::string> result;
    char** urls = nullptr;
    if (ldap_parse_reference(handle, message, &urls, nullptr, 0) != LDAP_SUCCESS || urls == nullptr)
        return result;
    for (char** url = urls; *url != nullptr; ++url) result.emplace_back(*url);
    ber_memvfree(reinterpret_cast<void**>(urls));
    return result;
}

int to_scope(Scope scope) {
    switch (scope) {
        case Scope::base:
            return LDAP_SCOPE_BASE;
        case Scope::one_level:
            return LDAP_SCOPE_ONELEVEL;
        case Scope::subtree:
            return LDAP_SCOPE_SUBTREE;
    }
    return LDAP_SCOPE_SUBTREE;
}

std::vector<char*> to_attributes(const SearchRequest& request) {
    std::vector<char*> result;
    for (const auto& name : request.attributes) result.push_back(const_cast<char*>(name.c_str()));
    if (!result.empty()) result.push_back(nullptr);
    return result;
}

Outcome read_outcome(LDAP* handle, LDAPMessage* message) {
    Outcome outcome;
    char* diagnostic = nullptr;
    LDAPControl** controls = nullptr;
    const int parsed =
        ldap_parse_result(handle, message, &outcome.code, nullptr, &diagnostic, nullptr, &controls, 0);
    outcome.diagnostic = take(diagnostic);
    outcome.controls.reset(controls);
    if (parsed != LDAP_SUCCESS) outcome.code = parsed;
    return outcome;
}

}  // namespace hexad::ldap

#pragma once

// libldap's messages and controls as values: shared by the files that read answers.

#include <memory>
#include <string>
#include <vector>

#include <ldap.h>

#include "ldap/directory.hpp"

namespace hexad::ldap {

struct FreeMessage {
    void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using Message = std::unique_ptr<LDAPMessage, FreeMessage>;

struct FreeControl {
    void operator()(LDAPControl* control) const { ldap_control_free(control); }
};
using Control = std::unique_ptr<LDAPControl, FreeControl>;

struct FreeControls {
    void operator()(LDAPControl** controls) const { ldap_controls_free(controls); }
};
using Controls = std::unique_ptr<LDAPControl*, FreeControls>;

struct FreeBer {
    void operator()(BerElement* ber) const { ber_free(ber, 1); }
};
using Ber = std::unique_ptr<BerElement, FreeBer>;

timeval to_timeval(milliseconds time);
/// Takes over a string that libldap has allocated; null is empty.
std::string take(char* text);
/// ASCII letters in lower case.
std::string lowered(std::string text);
int to_scope(Scope scope);
/// A null-terminated list that points into the request; empty for "all".
std::vector<char*> to_attributes(const SearchRequest& request);

Entry read_entry(LDAP* handle, LDAPMessage* message);
/// The URLs of a continuation reference.
std::vector<std::string> read_reference(LDAP* handle, LDAPMessage* message);

/// The end of an operation: its code, the server's words and controls.
struct Outcome {
    int code = LDAP_SUCCESS;
    std::string diagnostic;
    Controls controls;

    LDAPControl* find(const char* oid) const {
        return controls ? ldap_control_find(oid, controls.get(), nullptr) : nullptr;
    }
    Failure failure() const { return {code, ldap_err2string(code), diagnostic}; }
};
Outcome read_outcome(LDAP* handle, LDAPMessage* message);

}  // namespace hexad::ldap

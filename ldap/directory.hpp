#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace hexad::ldap {

enum class Tls {
    none,      ///< passwords in the clear: for tests only
    starttls,  ///< RFC 4511 §4.14 on an ldap:// port
    ldaps,     ///< TLS from the first byte
};

/// Where a directory is and how to get in. The values of one `[[agreement]]`.
struct DirectoryConfig {
    std::string name;                ///< of the agreement, for the log
    std::vector<std::string> hosts;  ///< `ldap://host:389`, in the order in which they are tried
    Tls tls = Tls::starttls;
    std::string ca_file;        ///< PEM; empty: the system's authorities
    std::string local_address;  ///< outgoing connections come from here; empty: the system chooses
    std::string bind_dn;        ///< the service account; empty: anonymous
    std::string password;
    milliseconds connect_timeout{5000};
    milliseconds operation_timeout{60000};  ///< without any answer of the server
};

/// Why an operation failed: an LDAP result code (RFC 4511 §A.1) or, below zero, one of libldap's own.
struct Failure {
    int code = 0;
    std::string text;          ///< what the code means
    std::string diagnostic;    ///< the server's words, of RFC 4511's diagnosticMessage
    int password_policy = -1;  ///< error of the password policy response control, -1: none
    /// The server could not be reached, did not answer in time or says that it is busy: another host may do
    /// better.
    bool is_transport() const;
    std::string to_string() const;
};
[[noreturn]] void throw_exception_from_error(const Failure& failure, const boost::source_location& where);

template <class T>
using LdapResult = Result<T, Failure>;

/// One entry. Attribute names are lower-cased and keep their options (`member;range=0-1499`); values are
/// bytes.
struct Entry {
    std::string dn;
    std::map<std::string, std::vector<std::string>, std::less<>> attributes;

    /// The first value, or nothing. `name` in lower case.
    std::optional<std::string_view> first(std::string_view name) const;
    /// All values; empty if there are none.
    const std::vector<std::string>& all(std::string_view name) const;
};

enum class Scope { base, one_level, subtree };

struct SearchRequest {
    std::string base;
    Scope scope = Scope::subtree;
    std::string filter = "(objectClass=*)";
    std::vector<std::string> attributes;  ///< empty: all user attributes
    int page_size = 500;                  ///< RFC 2696; 0: not paged
    int size_limit = 0;                   ///< entries, asked of the server; 0: the server's own
};

/// How a read ended. Only a complete one may be taken as all there is.
struct ReadSummary {
    std::size_t entries = 0;
    std::vector<std::string> referrals;  ///< continuation references (RFC 4511 §4.5.3), never followed
    std::optional<Failure> failure;      ///< limits of size, time and administration are failures too
    /// Every page came with success and no part of the tree is elsewhere.
    bool complete() const { return !failure && referrals.empty(); }
};

/// What a server says it can do, from its root DSE (RFC 4512 §5.1).
struct Capabilities {
    std::set<std::string> controls, extensions, features;  ///< OIDs
    std::vector<std::string> naming_contexts;
    std::string vendor;
    std::string directory_service_name;  ///< AD: the DC's own object, changes with the DC
    std::string highest_committed_usn;   ///< AD
    bool paged_results() const { return controls.contains("1.2.840.113556.1.4.319"); }
    bool content_sync() const { return controls.contains("1.3.6.1.4.1.4203.1.9.1.1"); }
    bool password_policy() const { return controls.contains("1.3.6.1.4.1.42.2.27.8.5.1"); }
    bool start_tls() const { return extensions.contains("1.3.6.1.4.1.1466.20037"); }
    bool is_active_directory() const { return features.contains("1.2.840.113556.1.4.800"); }
};

/// What a content synchronisation (RFC 4533, refreshOnly) tells, entry by entry.
struct SyncHandlers {
    std::function<void(std::string uuid, Entry)> changed;  ///< added or modified; uuid: 16 bytes
    std::function<void(const std::string& uuid)> present;  ///< unchanged and still there
    std::function<void(const std::string& uuid)> deleted;
};

struct SyncSummary {
    ReadSummary read;
    std::string cookie;  ///< for the next time; empty if the server gave none
    /// The refresh was a present phase: what was neither `changed` nor `present` is gone.
    bool unmentioned_are_gone = false;
    /// The server does not know the cookie any more (e-syncRefreshRequired): begin again without one.
    bool refresh_required = false;
};

}  // namespace hexad::ldap

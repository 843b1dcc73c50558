#pragma once

#include <memory>

#include "ldap/directory.hpp"

struct ldap;

namespace hexad::ldap {

/// What came with a successful bind.
struct BindAnswer {
    int password_policy =
        -1;  ///< error of the password policy response control ("must change now"); -1: none
};

/// One connection to one host. Blocking, one operation at a time: lives on a worker thread, never on the
/// protocol thread. After a transport failure it is of no more use.
class LdapConnection {
public:
    /// Connects and secures the connection; does not bind. Errors: transport, or TLS (a certificate that is
    /// not trusted or not for this host is never accepted).
    static LdapResult<LdapConnection> open(const DirectoryConfig& config, const std::string& host);

    /// Simple bind (RFC 4513 §5.1). An empty password with a name is refused here with `invalidCredentials`:
    /// servers answer it with success (§5.1.2).
    LdapResult<BindAnswer> bind(const std::string& dn, const std::string& password);
    /// The service account of the configuration.
    LdapResult<BindAnswer> bind_service(const DirectoryConfig& config) {
        return bind(config.bind_dn, config.password);
    }

    LdapResult<Capabilities> root_dse();

    /// Reads page by page (RFC 2696) and hands each entry on as it comes.
    ReadSummary search(const SearchRequest& request, const std::function<void(Entry)>& on_entry);
    /// A small search: all entries, or why there are not.
    LdapResult<std::vector<Entry>> find(const SearchRequest& request);
    /// All values of one attribute, ranges followed (`member;range=0-1499`, …). Nothing there: empty.
    LdapResult<std::vector<std::string>> values_of(const std::string& dn, const std::string& attribute);

    /// Changes since `cookie` (RFC 4533 refreshOnly), everything without one.
    SyncSummary refresh(const SearchRequest& request, const std::string& cookie,
                        const SyncHandlers& handlers);

private:
    struct Unbind {
        void operator()(::ldap* handle) const;
    };
    explicit LdapConnection(::ldap* handle) : handle_(handle) {}
    Failure failure(int code) const;

    std::unique_ptr<::ldap, Unbind> handle_;
    milliseconds timeout_{60000};
};

}  // namespace hexad::ldap

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "ldap/directory.hpp"
#include "ldap/host_states.hpp"
#include "ldap/outcome.hpp"

namespace hexad::ldap {

/// Whose password it is said to be: found by one search, then tried by a bind.
struct LoginRequest {
    std::string base;
    std::string filter;             ///< of the agreement, e.g. `(objectClass=inetOrgPerson)`
    std::string attribute = "uid";  ///< what the name is compared with
    std::string name;               ///< as the user typed it, prepared; escaped here
    std::string password;
};

struct LoginAnswer {
    LoginResult result = LoginResult::temporary_failure;
    std::string dn;      ///< of the one hit, if there was one
    std::string detail;  ///< for the log; holds no password
    /// Of a temporary failure: no host could be reached (a host that answers, whatever it says, is an
    /// answer).
    bool is_unreachable = false;
};

struct AuthenticatorOptions {
    int search_threads = 2;
    int bind_threads = 3;
    milliseconds patience{2000};        ///< with one host, before the next one is asked
    milliseconds breaker_pause{30000};  ///< a failed host is left alone so long, unless a probe reaches it
    milliseconds probe_interval{5000};
    int binds_per_second = 200;      ///< per directory; above that logins wait in line
    std::size_t queue_limit = 2000;  ///< above that they fail at once, temporarily
};

/// Logs users of one directory in. Search and bind run on worker threads with connections of their own (a
/// bind changes who a connection is), so that a storm of binds does not starve searches; a third thread
/// probes every host.
///
/// Hosts are tried in order, the next one only after a transport failure, never after "wrong password": that
/// would count twice towards a lock-out. An empty password is refused without asking anybody. When the
/// service account is refused twice, nobody is asked any more until `reset()`: a wrong secret must not lock
/// the account.
///
/// `authenticate` is for the protocol thread; the rest is safe from any. The executor that a login waits on
/// must outlive this object, whose destructor answers what still waits with a temporary failure.
class LdapAuthenticator {
public:
    LdapAuthenticator(DirectoryConfig config, AuthenticatorOptions options = {});
    ~LdapAuthenticator();
    LdapAuthenticator(const LdapAuthenticator&) = delete;
    LdapAuthenticator& operator=(const LdapAuthenticator&) = delete;

    awaitable<LoginAnswer> authenticate(LoginRequest request);
    /// The same with a callback, which runs on a worker thread.
    void authenticate(LoginRequest request, std::function<void(LoginAnswer)> done);

    std::vector<HostHealth> health() const;
    bool is_service_account_refused() const;
    /// After a change of configuration: the service account is tried again.
    void reset();

private:
    class Workers;
    std::unique_ptr<Workers> workers_;
};

}  // namespace hexad::ldap

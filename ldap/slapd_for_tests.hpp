#pragma once

#include <filesystem>
#include <string>
#include <sys/types.h>

namespace hexad::ldap {

/// A slapd of a test's own: temporary folder, a free port of loopback, TLS with a certificate authority of
/// its own, syncprov, and a handful of entries below `dc=test`. Ends with the object.
class Slapd {
public:
    /// True if this machine has the programs; a test prints `SKIPPED no slapd` otherwise.
    static bool is_there();

    /// `extra`: lines of slapd.conf for the database; `ldif`: entries after the base ones.
    explicit Slapd(const std::string& extra = "", const std::string& ldif = "");
    ~Slapd();
    Slapd(const Slapd&) = delete;
    Slapd& operator=(const Slapd&) = delete;

    std::string address() const { return "ldap://127.0.0.1:" + std::to_string(port_); }
    std::string secure_address() const { return "ldaps://127.0.0.1:" + std::to_string(secure_port_); }
    std::string ca_file() const { return (folder_ / "ca.pem").string(); }

    void stop();    ///< SIGTERM and wait
    void start();   ///< again, on the same ports
    void freeze();  ///< SIGSTOP
    void thaw();
    /// Changes by ldapmodify as the root DN; `ldif` in its change format.
    void modify(const std::string& ldif) const;

    static constexpr const char* service_dn = "cn=service,dc=test";
    static constexpr const char* service_password = "service secret";

private:
    std::filesystem::path folder_;
    int port_ = 0;
    int secure_port_ = 0;
    pid_t pid_ = -1;
};

}  // namespace hexad::ldap

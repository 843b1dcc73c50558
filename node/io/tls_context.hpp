#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/ssl.h>

#include "base/clock.hpp"

namespace hexad {

/// A certificate as configured. Files are PEM; the chain file begins with the server's own certificate.
struct TlsCertificate {
    std::vector<std::string> names;  ///< host and services it must cover; empty = no check
    std::string chain_file;
    std::string key_file;
    /// Not empty: shown to those alone who ask for this very name, which it need not cover, and who show a
    /// certificate of `client_ca_file` themselves; nobody else is asked for one.
    std::string only_for;
    std::string client_ca_file;
};

/// What holds for all certificates of a context.
struct TlsPolicy {
    std::string min_version = "1.2";  ///< 1.2 or 1.3
    std::string client_ca_file;       ///< whose client certificates are trusted; empty = none
};

/// What an administrator wants to know of a loaded certificate.
struct TlsCertificateInfo {
    std::string chain_file;
    std::vector<std::string> names;  ///< DNS names of the certificate
    Timestamp not_after;
};

/// Certificates of the server side, chosen by SNI, else by a name the caller knows (a stream's `to`), else
/// the first.
///
/// A host's certificate may be exchanged while streams run: reload() makes new handshakes use the new files,
/// and sessions keep what they have. Belongs to the protocol thread.
class TlsContext {
public:
    /// Throws std::runtime_error with file and reason, for people: file missing, no PEM in it, key of another
    /// certificate, name not covered.
    explicit TlsContext(std::vector<TlsCertificate> certificates, TlsPolicy policy = {});

    /// Reads all files again. Throws as the constructor does, and then nothing has changed.
    void reload();
    std::vector<TlsCertificateInfo> info() const;
    /// Whether a certificate covers this DNS name (RFC 6125: exact, or `*.` for one label).
    bool covers(std::string_view name) const;

    class State;  ///< what one generation of files gave; used by TlsStream
    std::shared_ptr<const State> state() const { return state_; }

private:
    std::vector<TlsCertificate> certificates_;
    TlsPolicy policy_;
    std::shared_ptr<const State> state_;
};

/// The client side: whom to trust, and what to present.
class TlsClientContext {
public:
    /// `ca_file` empty = the system's authorities. Certificate and key for mutual TLS, or both empty. Throws
    /// as TlsContext does.
    explicit TlsClientContext(const std::string& ca_file, const std::string& chain_file = {},
                              const std::string& key_file = {});
    /// Encrypts, trusts anyone: for probes that only ask whether somebody answers.
    static TlsClientContext unverified();

    SSL_CTX* native() const { return ctx_.get(); }

private:
    TlsClientContext() = default;
    std::shared_ptr<SSL_CTX> ctx_;
};

/// Writes a self-signed certificate (ECDSA P-256, ten years) for `host`, `*.host` and the IP address if one
/// is given, key file with mode 0600. Throws std::runtime_error with file and reason.
void make_self_signed(const std::string& host, const std::string& chain_file, const std::string& key_file,
                      const std::string& address = {});

/// Whether a certificate's DNS name `pattern` covers `name`; both any case.
bool tls_name_matches(std::string_view pattern, std::string_view name);
/// DNS names of a certificate's subjectAltName, lower-cased.
std::vector<std::string> tls_dns_names(X509* certificate);

}  // namespace hexad

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/ssl.h>

#include "io/tls_context.hpp"

namespace hexad {

/// One generation of a TlsContext's files. A handshake keeps its generation alive.
class TlsContext::State {
public:
    struct Entry {
        std::vector<std::string> configured;
        TlsCertificateInfo info;
        std::shared_ptr<SSL_CTX> ctx;
        bool only_configured = false;  ///< shown under no other name, and to nobody without a certificate
    };
    std::vector<Entry> entries;

    /// Best match for a name; nullptr if none.
    SSL_CTX* select(std::string_view name) const;
    SSL_CTX* first() const { return entries.front().ctx.get(); }
    /// Whether who is shown this one must show a certificate, too.
    bool requires_client(const SSL_CTX* ctx) const;
};

/// What one server handshake needs in OpenSSL's callbacks; reached through the SSL object.
struct TlsHandshake {
    std::shared_ptr<const TlsContext::State> state;
    std::vector<std::string> alpn;
};
/// Index of the TlsHandshake pointer among an SSL object's extra data.
int tls_handshake_index();

/// The oldest error that OpenSSL queued, as a sentence; the queue is empty afterwards.
std::string tls_error_text();

}  // namespace hexad

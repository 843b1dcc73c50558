#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "admin/admin_api.hpp"
#include "base/config.hpp"
#include "io/http.hpp"
#include "io/listener.hpp"
#include "io/tls_context.hpp"
#include "net/c2s_connection.hpp"

namespace hexad {

/// Where clients come in: XMPP with STARTTLS, XMPP with TLS from the first byte, HTTPS. A port of 0 is not
/// listened at.
class ClientListeners {
public:
    ClientListeners(asio::io_context& io, const Config& config, std::string address,
                    std::shared_ptr<C2sContext> context);

    /// Opens those of XMPP that are not open. Throws std::runtime_error with a sentence for the
    /// administrator.
    void open();
    void close();
    bool is_open() const { return start_tls_ || direct_tls_; }
    /// Opens HTTPS. Throws as open() does.
    void open_https(Listener::OnAccept accept);
    void close_https();

private:
    void open_one(std::unique_ptr<Listener>& listener, std::uint16_t port, Listener::OnAccept accept,
                  const char* what);

    asio::io_context& io_;
    const Config& config_;
    std::string address_;
    std::shared_ptr<C2sContext> context_;
    std::unique_ptr<Listener> start_tls_, direct_tls_, https_;
};

/// Where administrators come in: a socket file, which trusts whoever may open it, and, if configured, a port
/// that asks for the token.
class AdminListeners {
public:
    /// Opens them. Throws std::runtime_error with a sentence for the administrator.
    AdminListeners(asio::io_context& io, const AdminContext& context, const TlsContext& tls,
                   const std::string& socket_file);
    void close();

private:
    std::unique_ptr<Listener> socket_, port_;
    HttpServer local_, remote_;
};

}  // namespace hexad

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "io/tls_context.hpp"

namespace hexad {

/// A connected TCP or Unix socket; `asio::ip::tcp::socket` and `asio::local::stream_protocol::socket` move
/// into it.
using StreamSocket = asio::generic::stream_protocol::socket;

/// How the server side of one handshake behaves.
class TlsAccept {
public:
    enum class ClientCertificate { none, optional, required };
    /// `alpn`: protocols spoken here, in order of preference, e.g. `{"xmpp-client"}`; a client that offers
    /// others only is refused, one that offers none is served. `name`: whose certificate to show a client
    /// without SNI (a stream's `to`).
    explicit TlsAccept(std::vector<std::string> alpn = {}, std::string name = {},
                       ClientCertificate client_certificate = ClientCertificate::none)
        : alpn_(std::move(alpn)), name_(std::move(name)), client_certificate_(client_certificate) {}
    const std::vector<std::string>& alpn() const { return alpn_; }
    const std::string& name() const { return name_; }
    ClientCertificate client_certificate() const { return client_certificate_; }

private:
    std::vector<std::string> alpn_;
    std::string name_;
    ClientCertificate client_certificate_;
};

/// A byte stream over TCP or a Unix socket, plain at first, with TLS after a handshake; about 15 KiB when
/// idle.
///
/// Owned by the coroutine that serves the connection; destroying it closes the socket, and operations that
/// still wait end with operation_aborted. All calls on the thread of the socket's executor. Cancelling an
/// operation (`a || b`) loses no bytes: what was not returned is returned by the next read().
class TlsStream {
public:
    explicit TlsStream(StreamSocket socket);
    ~TlsStream();
    TlsStream(TlsStream&&) noexcept;
    TlsStream& operator=(TlsStream&&) noexcept;

    /// Server side. What was given to send() before goes out in plain first. Bytes that the peer sent in
    /// plain after its
    /// `<starttls/>` become part of the handshake and break it: nothing can be smuggled in (the caller resets
    /// its parser, which holds what came together with `<starttls/>`).
    awaitable<error_code> handshake(const TlsContext& context, TlsAccept accept = TlsAccept());
    /// Client side; `expected_name` (DNS name or IP address) is checked against the certificate and sent as
    /// SNI unless `server_name` is to be asked for.
    awaitable<error_code> client_handshake(const TlsClientContext& context, std::string expected_name,
                                           std::vector<std::string> alpn = {}, std::string server_name = {});

    /// Waits until there are bytes. The view (at most 32 KiB) is valid until the next read() or the end of
    /// this stream. Errors: asio::error::eof when the peer closed in order; operation_aborted after
    /// cancellation or abort().
    awaitable<Result<std::string_view>> read();

    /// Appends to the outbox; what one turn of the loop appends goes out together. Does nothing once the
    /// stream broke: read() tells.
    void send(std::string_view bytes);
    /// Bytes not yet given to the kernel.
    std::size_t outbox() const;
    /// Called each time the outbox has become empty.
    void on_drained(std::function<void()> callback);
    /// Waits until the outbox holds at most `bytes`.
    awaitable<error_code> drained(std::size_t bytes = 0);

    /// Flushes, says close_notify, shuts down and waits for the peer to close, all within `linger`; then
    /// closes.
    awaitable<void> close(milliseconds linger);
    /// Closes at once. What waits ends with operation_aborted.
    void abort();
    /// As abort(); what was sent and has not arrived never will.
    void discard();
    bool is_open() const;
    /// The peer has closed its side, though nobody reads at the moment.
    bool peer_closed() const;
    /// Ends the stream after this time unless called again or with zero; a watchdog for protocols with
    /// deadlines.
    void abort_after(milliseconds time);

    bool encrypted() const;
    std::string tls_version() const;  ///< "TLSv1.3", empty if plain
    std::string cipher() const;       ///< empty if plain
    std::string alpn() const;         ///< protocol chosen, empty if none
    std::string server_name() const;  ///< the client's SNI, empty if none
    /// Channel binding data of RFC 9266; 32 bytes, empty unless TLS 1.3 (before it the binding is not
    /// unique).
    std::string tls_exporter() const;
    /// Channel binding data of RFC 5929 §4: hash of the server's certificate; empty if plain or undefined.
    std::string tls_server_end_point() const;
    /// DNS names of the peer's certificate; empty if it showed none or one that is not trusted.
    std::vector<std::string> peer_names() const;

    /// The peer; a default endpoint for Unix sockets.
    const asio::ip::tcp::endpoint& remote() const;
    asio::any_io_executor get_executor() const;

private:
    struct Core;
    std::shared_ptr<Core> core_;
};

}  // namespace hexad

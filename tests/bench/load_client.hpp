#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio.hpp>

#include "io/tls_stream.hpp"
#include "xml/stanza_parser.hpp"

namespace hexad::bench {

struct LoadOptions {
    std::string address;
    std::uint16_t port = 5223;  ///< direct TLS
    std::string domain;
    std::string prefix = "user";
    std::string password;
    bool stream_management = false;
    std::string source;  ///< local address; many connections need several
};

/// One client of the load generator: logs in with SCRAM-SHA-1 over direct TLS, then counts what comes.
class LoadClient {
public:
    LoadClient(asio::io_context& io, const LoadOptions& options, const TlsClientContext& tls,
               std::size_t number);

    /// Connects, authenticates, binds, sends initial presence. False if any step failed (`error` says which).
    awaitable<bool> log_in();
    /// XEP-0198 §5, on a new connection to this address. `gone`: the session cannot be resumed by anybody.
    enum class Resumed { yes, not_now, gone };
    awaitable<Resumed> resume(const std::string& address);
    /// Reads until the stream ends. `on_message` gets each message stanza.
    awaitable<void> read_on(std::function<void(const Element&)> on_message);
    void send(std::string_view xml) { stream_->send(xml); }
    const std::string& jid() const { return jid_; }
    const std::string& error() const { return error_; }

private:
    awaitable<bool> authenticate();
    /// TCP, TLS, SASL, and the stream after it.
    awaitable<bool> connect(const std::string& address);
    bool fail(std::string what);
    awaitable<Result<Element>> next();
    awaitable<bool> open();

    asio::io_context& io_;
    LoadOptions options_;
    const TlsClientContext& tls_;
    std::string name_, jid_, error_, resumption_id_;
    std::unique_ptr<TlsStream> stream_;
    StanzaParser parser_;
    std::uint32_t handled_ = 0;
    bool counting_ = false;
};

}  // namespace hexad::bench

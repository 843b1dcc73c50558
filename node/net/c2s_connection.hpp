#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "io/tls_stream.hpp"
#include "net/c2s_options.hpp"
#include "session/session.hpp"
#include "xml/stanza_parser.hpp"

namespace hexad {

/// One client stream: TLS, negotiation (RFC 6120 §4–7), stream management (XEP-0198), then stanzas for the
/// Router.
///
/// The coroutine `serve` owns it; returning is the whole clean-up of the connection. The session it attached
/// to may live on without it.
class C2sConnection final : public Wire {
public:
    /// Serves a connection until its stream ends. `direct_tls`: TLS from the first byte (XEP-0368).
    static awaitable<void> serve(StreamSocket socket, bool direct_tls, std::shared_ptr<C2sContext> context);

    C2sConnection(StreamSocket socket, std::shared_ptr<C2sContext> context);
    ~C2sConnection() override;

    // Wire
    void send(std::string_view xml) override;
    void end(std::string_view condition, std::string_view text) override;
    std::size_t outbox() const override { return stream_.outbox(); }
    void input_window_open() override;

private:
    enum class Step { header, features, sasl, bind, bound, closed };

    awaitable<void> run(bool direct_tls);
    awaitable<void> read_loop();
    awaitable<void> watch();
    awaitable<void> handle(StanzaParser::Event event);
    awaitable<void> on_header(const Element& header, const std::string& content_ns);
    awaitable<void> on_element(Element element);
    awaitable<void> negotiate(Element element);
    awaitable<void> start_tls();
    awaitable<void> sasl(const Element& element);
    awaitable<void> finish_sasl(SaslReply reply);
    awaitable<void> bind(const Element& iq);
    awaitable<void> resume(const Element& element);
    awaitable<bool> may_enter(Entry entry);
    awaitable<bool> may_start_tls();
    awaitable<bool> sent_elsewhere(const std::string& resource);
    milliseconds waited() const;
    awaitable<void> bound(Element element);
    awaitable<void> enable(const Element& element);
    bool at_canary_host(std::string_view to);
    void canary_sasl(const Element& element);
    void canary_stanza(Element element);
    void send_features();
    void send_header(std::string_view initiator);
    awaitable<void> finish_answers();
    void end_politely();
    void fail(std::string_view condition, std::string_view text = {});
    void sm_failed(std::string_view condition, bool has_h, std::uint64_t h);
    void authenticated_limits();
    bool secure() const { return stream_.encrypted(); }

    std::shared_ptr<C2sContext> context_;
    TlsStream stream_;
    StanzaParser parser_;
    Step step_ = Step::header;
    std::string id_;
    std::string host_;
    std::string lang_;  ///< of the client's stream
    Jid account_;       ///< after authentication
    std::unique_ptr<SaslSession> sasl_;
    bool canary_ = false;  ///< another node's: no session, not counted
    /// Outlives its stream in what waits for a commit.
    std::shared_ptr<C2sConnection*> self_ = std::make_shared<C2sConnection*>(this);
    SessionPtr session_;
    /// The session that this stream could not resume, and how many of its stanzas were handled.
    std::pair<std::string, std::uint64_t> not_resumed_;
    bool header_sent_ = false;
    bool closing_ = false;      ///< our stream end is written; nothing more is
    bool peer_closed_ = false;  ///< `</stream:stream>` came
    bool waiting_proof_ = false;
    bool asked_to_enter_ = false;  ///< to authenticate: once is enough, whatever mechanisms it tries
    Admission::Passage passage_;
    milliseconds waited_{0};                 ///< to be let in (Admission)
    SteadyClock::time_point waits_since_{};  ///< … and waits now
    bool binding_ = false;                   ///< the router has been given this stream and has not answered
    int failures_ = 0;                       ///< SASL exchanges that failed
    int guesses_ = 0;                        ///< those of them that compared a password
    SteadyClock::time_point started_;
    SteadyClock::time_point last_read_;
    SteadyClock::time_point last_write_progress_;
    std::size_t last_outbox_ = 0;
    bool pinged_ = false;
    asio::steady_timer window_;  ///< cancelled when the session takes input again
    asio::steady_timer finished_;
};

}  // namespace hexad

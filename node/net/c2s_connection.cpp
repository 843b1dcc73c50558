#include "net/c2s_connection.hpp"

#include <algorithm>
#include <charconv>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "hooks/disco.hpp"
#include "xmpp/errors.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

using namespace asio::experimental::awaitable_operators;

namespace {

constexpr std::size_t max_lang = 35;  ///< RFC 5646 §4.4.1: no language tag needs more

}  // namespace

awaitable<void> C2sConnection::serve(StreamSocket socket, bool direct_tls,
                                     std::shared_ptr<C2sContext> context) {
    C2sConnection connection(std::move(socket), context);
    try {
        co_await connection.run(direct_tls);
    } catch (const std::exception& e) {
        log_error("stream_failed", {{"stream", connection.id_}, {"error", e.what()}});
        connection.fail("internal-server-error");
    }
    if (auto session = std::move(connection.session_); session && session->wire == &connection) {
        context->router.stream_lost(session, connection.peer_closed_);
    }
    // The stream ended while the router was binding or resuming: it may have attached a session.
    if (connection.binding_) context->router.wire_lost(connection);
    co_await connection.stream_.close(seconds(2));
}

C2sConnection::C2sConnection(StreamSocket socket, std::shared_ptr<C2sContext> context)
    : context_(std::move(context)),
      stream_(std::move(socket)),
      parser_([this] {
          auto limits = context_->limits.xml;
          limits.max_stanza = context_->limits.max_unauthenticated_stanza;
          return limits;
      }()),
      id_("c2s-" + random_id(10)),
      started_(SteadyClock::now()),
      last_read_(started_),
      last_write_progress_(started_),
      window_(stream_.get_executor(), SteadyClock::time_point::max()),
      finished_(stream_.get_executor(), SteadyClock::time_point::max()) {
    ++context_->connections;
}

C2sConnection::~C2sConnection() {
    if (session_ && session_->wire == this) session_->detach();
    *self_ = nullptr;
    if (!canary_) --context_->connections;
}

awaitable<void> C2sConnection::run(bool direct_tls) {
    if (direct_tls) {
        if (!co_await may_start_tls()) {
            stream_.abort();
            co_return;
        }
        const auto deadline = std::chrono::duration_cast<milliseconds>(context_->limits.authenticate);
        stream_.abort_after(deadline);
        TlsAccept accept({"xmpp-client"});
        if (co_await stream_.handshake(context_->tls, std::move(accept))) co_return;
        stream_.abort_after(milliseconds(0));
    }
    co_await (read_loop() || watch());
}

awaitable<void> C2sConnection::read_loop() {
    while (!closing_) {
        const auto bytes = co_await stream_.read();
        if (!bytes) co_return;
        last_read_ = SteadyClock::now();
        pinged_ = false;
        parser_.feed(*bytes);
        while (!closing_) {
            auto event = parser_.next();
            if (!event) break;
            co_await handle(std::move(*event));
        }
        // Back-pressure: a session with a full window is not read.
        while (!closing_ && session_ && session_->wants_pause()) {
            co_await window_.async_wait(asio::as_tuple(asio::use_awaitable));
        }
    }
}

void C2sConnection::input_window_open() { window_.cancel(); }

awaitable<void> C2sConnection::watch() {
    const auto& limits = context_->limits;
    const auto look =
        std::clamp<milliseconds>(std::min(limits.idle, limits.write_stall) / 4, seconds(1), seconds(15));
    while (!closing_) {
        const auto now = SteadyClock::now();
        const auto wait = step_ == Step::bound ? SteadyClock::duration(look)
                                               : started_ + limits.authenticate + waited() - now;
        if (wait <= SteadyClock::duration::zero()) {
            fail("connection-timeout", "not bound in time");
            co_return;
        }
        finished_.expires_after(binding_ ? std::min<SteadyClock::duration>(wait, milliseconds(50)) : wait);
        co_await finished_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (closing_) co_return;
        // Nobody reads while the router binds or resumes: a client that went meanwhile must not be bound
        // later, in place of the stream that it has elsewhere.
        if (binding_ && stream_.peer_closed()) {
            closing_ = true;
            co_return;
        }
        const auto pending = stream_.outbox();
        if (pending > limits.max_outbox) {
            log_info("stream_overflow", {{"stream", id_}, {"outbox", static_cast<std::uint64_t>(pending)}});
            closing_ = true;
            stream_.abort();
            co_return;
        }
        const auto later = SteadyClock::now();
        if (pending == 0 || pending < last_outbox_) last_write_progress_ = later;
        last_outbox_ = pending;
        if (pending > 0 && later - last_write_progress_ > limits.write_stall) {
            closing_ = true;
            stream_.abort();
            co_return;
        }
        // Most streams are quiet most of the time.
        if (step_ == Step::bound && later - last_read_ >= look) parser_.release_memory();
        if (step_ != Step::bound || later - last_read_ < limits.idle) continue;
        if (pinged_ && later - last_read_ >= 2 * limits.idle) {
            fail("connection-timeout", "no answer to a ping");
            co_return;
        }
        if (!pinged_) {
            pinged_ = true;
            if (session_ && session_->sm) {
                send("<r xmlns='urn:xmpp:sm:3'/>");
            } else if (session_) {
                Element ping("iq", ns::client);
                ping.set("type", "get").set("id", "ping-" + random_id(6)).set("from", host_);
                ping.set("to", session_->state.jid.to_string()).add(Element("ping", ns::ping));
                send(ping.to_string(ns::client));
            }
        }
    }
}

void C2sConnection::send(std::string_view xml) {
    if (closing_) return;
    stream_.send(xml);
    if (stream_.outbox() > context_->limits.max_outbox) finished_.cancel();
}

void C2sConnection::end(std::string_view condition, std::string_view text) {
    session_.reset();
    fail(condition, text);
}

void C2sConnection::fail(std::string_view condition, std::string_view text) {
    if (closing_) return;
    if (!header_sent_) send_header({});
    stream_.send(stream_error(condition, text));
    stream_.send("</stream:stream>");
    closing_ = true;
    step_ = Step::closed;
    finished_.cancel();
    window_.cancel();
}

awaitable<void> C2sConnection::handle(StanzaParser::Event event) {
    switch (event.kind) {
        case StanzaParser::Kind::header:
            co_await on_header(event.element, event.content_ns);
            break;
        case StanzaParser::Kind::stanza:
            co_await on_element(std::move(event.element));
            break;
        case StanzaParser::Kind::footer:
            peer_closed_ = true;
            if (!closing_) {
                co_await finish_answers();
                end_politely();
            }
            break;
        case StanzaParser::Kind::error:
            fail(stream_condition(event.error));
            break;
    }
}

/// RFC 6120 §4.4: what the client asked before its close is answered before ours. A store that is away does
/// not hold it up for long.
awaitable<void> C2sConnection::finish_answers() {
    const auto session = session_;
    asio::steady_timer pause(stream_.get_executor());
    const auto until = SteadyClock::now() + seconds(1);
    while (!closing_ && session && session->wire == this && !session->answered() &&
           SteadyClock::now() < until) {
        pause.expires_after(milliseconds(2));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

void C2sConnection::end_politely() {
    if (closing_) return;
    stream_.send("</stream:stream>");
    closing_ = true;
    finished_.cancel();
}

/// `initiator`: the `from` of the client's header. An address that is none is not given back.
void C2sConnection::send_header(std::string_view initiator) {
    header_sent_ = true;
    std::string text = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='";
    text += ns::streams;
    text += "' version='1.0' xml:lang='en' id='" + random_id(16) + '\'';
    text += " from='" + host_ + '\'';  // empty in front of host-unknown (RFC 6120 §4.9.1.2)
    if (const auto to = Jid::parse(initiator)) {
        text += " to='";
        append_escaped(text, to->bare().to_string(), true);
        text += '\'';
    }
    text += '>';
    stream_.send(text);
}

awaitable<void> C2sConnection::on_header(const Element& header, const std::string& content_ns) {
    header_sent_ = false;
    const auto to = header.attr("to");
    const auto host = Jid::parse(to);
    const bool bare_host = host && host->local().empty() && host->is_bare();
    if (bare_host && (at_canary_host(host->domain()) || context_->router.is_local_host(host->domain()))) {
        if (!host_.empty() && host_ != host->domain()) {
            send_header(header.attr("from"));
            fail("host-unknown");
            co_return;
        }
        host_ = std::string(host->domain());
    } else {
        const bool none = to.empty();
        host_.clear();
        send_header(header.attr("from"));
        fail(none ? "improper-addressing" : "host-unknown");
        co_return;
    }
    send_header(header.attr("from"));
    const auto lang = header.attr("xml:lang");
    lang_ = lang.size() <= max_lang ? lang : std::string_view{};
    if (content_ns != ns::client) {
        fail("invalid-namespace");
        co_return;
    }
    const auto version = header.attr("version");
    int major = 0;
    std::from_chars(version.data(), version.data() + version.size(), major);
    if (major < 1) {
        fail("unsupported-version");
        co_return;
    }
    step_ = Step::features;
    send_features();
}

void C2sConnection::send_features() {
    std::string text = "<stream:features>";
    if (!secure()) {
        text += "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
    } else if (canary_) {
        text += account_.empty() ? "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
                                   "<mechanism>EXTERNAL</mechanism></mechanisms>"
                                 : "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>";
    } else if (account_.empty()) {
        const ChannelBinding binding{stream_.tls_exporter(), stream_.tls_server_end_point()};
        text += "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>";
        for (const auto& mechanism : context_->authenticator.mechanisms(host_, binding)) {
            text += "<mechanism>" + mechanism + "</mechanism>";
        }
        text += "</mechanisms>";
        text += "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>";
        if (!binding.tls_exporter.empty()) text += "<channel-binding type='tls-exporter'/>";
        if (!binding.tls_server_end_point.empty()) text += "<channel-binding type='tls-server-end-point'/>";
        text += "</sasl-channel-binding>";
    } else {
        text +=
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>"
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"
            "<sm xmlns='urn:xmpp:sm:3'/><csi xmlns='urn:xmpp:csi:0'/>";
        for (const auto& feature : context_->hooks.stream_features()) text += feature.to_string(ns::client);
        text += server_caps(context_->hooks).to_string(ns::client);
    }
    text += "</stream:features>";
    stream_.send(text);
}

awaitable<void> C2sConnection::on_element(Element element) {
    // RFC 6120 §4.9.1.1: there is nothing to say to it but the end of the stream.
    if (element.is("error", ns::streams)) {
        end_politely();
        co_return;
    }
    if (canary_) {
        element.ns() == ns::sasl ? canary_sasl(element) : canary_stanza(std::move(element));
    } else if (step_ == Step::bound) {
        co_await bound(std::move(element));
    } else {
        co_await negotiate(std::move(element));
    }
}

awaitable<void> C2sConnection::negotiate(Element element) {
    if (element.is("starttls", ns::tls)) {
        if (secure() || step_ != Step::features) {
            stream_.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
            closing_ = true;
            finished_.cancel();
            co_return;
        }
        co_await start_tls();
        co_return;
    }
    if (element.ns() == ns::sasl) {
        co_await sasl(element);
        co_return;
    }
    if (element.ns() == ns::sm) {
        if (account_.empty()) {
            sm_failed("unexpected-request", false, 0);
        } else if (element.name() == "resume") {
            co_await resume(element);
        } else {
            sm_failed("unexpected-request", false, 0);
        }
        co_return;
    }
    const bool stanza =
        element.ns() == ns::client &&
        (element.name() == "iq" || element.name() == "message" || element.name() == "presence");
    if (!stanza) {
        fail(account_.empty() && element.ns() != ns::client ? "not-authorized" : "unsupported-stanza-type");
        co_return;
    }
    if (account_.empty()) {
        fail("not-authorized");
        co_return;
    }
    if (element.name() == "iq" && element.find("bind", ns::bind) != nullptr) {
        co_await bind(element);
        co_return;
    }
    fail("not-authorized", "bind a resource first");
}

awaitable<void> C2sConnection::start_tls() {
    if (!canary_ && !co_await may_start_tls()) co_return;
    stream_.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    parser_.reset();  // what came in plain behind <starttls/> is gone
    step_ = Step::header;
    stream_.abort_after(std::chrono::duration_cast<milliseconds>(context_->limits.authenticate));
    TlsAccept accept({"xmpp-client"}, host_);
    const auto error = co_await stream_.handshake(context_->tls, std::move(accept));
    if (error) {
        closing_ = true;
        stream_.abort();
        finished_.cancel();
        co_return;
    }
    stream_.abort_after(milliseconds(0));
    header_sent_ = false;
}

}  // namespace hexad

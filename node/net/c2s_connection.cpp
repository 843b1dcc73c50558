#include "net/c2s_connection.hpp"

#include <algorithm>
#include <charconv>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/fail_point.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "hooks/disco.hpp"
#include "xmpp/errors.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

using namespace asio::experimental::awaitable_operators;

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
    --context_->connections;
}

awaitable<void> C2sConnection::run(bool direct_tls) {
    if (direct_tls) {
        const auto deadline = std::chrono::duration_cast<milliseconds>(context_->limits.authenticate);
        stream_.abort_after(deadline);
        if (co_await stream_.handshake(context_->tls, TlsAccept({"xmpp-client"}))) co_return;
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
        finished_.expires_after(wait);
        co_await finished_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (closing_) co_return;
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
                // What the client sent is finished before its session ends; the answer to its close waits for
                // nothing.
                stream_.send("</stream:stream>");
                closing_ = true;
                finished_.cancel();
            }
            break;
        case StanzaParser::Kind::error:
            fail(stream_condition(event.error));
            break;
    }
}

void C2sConnection::send_header(std::string_view to) {
    header_sent_ = true;
    std::string text = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='";
    text += ns::streams;
    text += "' version='1.0' xml:lang='en' id='" + random_id(16) + '\'';
    if (!host_.empty()) text += " from='" + host_ + '\'';
    if (!to.empty()) {
        text += " to='";
        append_escaped(text, to, true);
        text += '\'';
    }
    text += '>';
    stream_.send(text);
}

awaitable<void> C2sConnection::on_header(const Element& header, const std::string& content_ns) {
    header_sent_ = false;
    const auto to = header.attr("to");
    const auto host = Jid::parse(to);
    if (host && host->local().empty() && host->is_bare() && context_->router.is_local_host(host->domain())) {
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
    if (step_ == Step::bound) {
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
    stream_.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    parser_.reset();  // what came in plain behind <starttls/> is gone
    step_ = Step::header;
    stream_.abort_after(std::chrono::duration_cast<milliseconds>(context_->limits.authenticate));
    const auto error = co_await stream_.handshake(context_->tls, TlsAccept({"xmpp-client"}, host_));
    if (error) {
        closing_ = true;
        stream_.abort();
        finished_.cancel();
        co_return;
    }
    stream_.abort_after(milliseconds(0));
    header_sent_ = false;
}

// ---- SASL ----

awaitable<void> C2sConnection::sasl(const Element& element) {
    const auto refuse = [&](std::string_view condition, std::string_view text = {}, bool guessed = false) {
        sasl_.reset();
        Element failure("failure", ns::sasl);
        failure.add(Element(condition, ns::sasl));
        if (!text.empty()) failure.add(Element("text", ns::sasl).set("xml:lang", "en").text(text));
        stream_.send(failure.to_string(ns::client));
        context_->failures->add();
        // A client that cannot do what a mechanism asks for goes on to the next one: slixmpp 1.8 comes to
        // PLAIN after six of them. Only who guesses passwords is sent away at once.
        const auto& limits = context_->limits;
        guesses_ += guessed ? 1 : 0;
        if (guesses_ >= limits.max_auth_failures || ++failures_ >= limits.max_auth_attempts)
            fail("policy-violation", "too many failed attempts");
    };
    if (!secure()) {
        refuse("encryption-required");
        co_return;
    }
    if (!account_.empty() || step_ == Step::header) {
        fail("policy-violation", "authenticated already");
        co_return;
    }
    if (element.name() == "abort") {
        refuse("aborted");
        co_return;
    }
    std::string data;
    bool has_data = true;
    const auto text = element.text();
    if (text != "=") {
        if (text.empty()) {
            has_data = element.name() != "auth";
        } else if (auto decoded = base64_decode(text)) {
            data = std::move(*decoded);
        } else {
            refuse("incorrect-encoding");
            co_return;
        }
    }
    if (element.name() == "auth") {
        if (sasl_) {
            refuse("malformed-request", "an exchange is under way");
            co_return;
        }
        if (!asked_to_enter_ && !co_await may_enter(Entry::authentication)) co_return;
        asked_to_enter_ = true;
        const ChannelBinding binding{stream_.tls_exporter(), stream_.tls_server_end_point()};
        const auto peer = stream_.remote().address().to_string();
        sasl_ = context_->authenticator.begin(host_, std::string(element.attr("mechanism")), binding, peer);
        if (!sasl_) {
            refuse("invalid-mechanism");
            co_return;
        }
        if (!has_data) {
            stream_.send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            co_return;
        }
    } else if (element.name() != "response" || !sasl_) {
        refuse("malformed-request");
        co_return;
    }
    auto reply = co_await sasl_->step(std::move(data));
    if (closing_) co_return;
    switch (reply.kind) {
        case SaslReply::Kind::challenge:
            stream_.send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64_encode(reply.data) +
                         "</challenge>");
            break;
        case SaslReply::Kind::failure:
            refuse(reply.condition, reply.text, reply.guessed);
            break;
        case SaslReply::Kind::success:
            co_await finish_sasl(std::move(reply));
            break;
    }
}

awaitable<void> C2sConnection::finish_sasl(SaslReply reply) {
    sasl_.reset();
    account_ = reply.account;
    std::string text = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
    text += reply.data.empty() ? "/>" : '>' + base64_encode(reply.data) + "</success>";
    stream_.send(text);
    parser_.reset();
    parser_.set_limits(context_->limits.xml);
    step_ = Step::header;
    header_sent_ = false;
    context_->logins->add();
    co_return;
}

// ---- binding and stream management ----

milliseconds C2sConnection::waited() const {
    if (waits_since_ == SteadyClock::time_point{}) return waited_;
    return waited_ + std::chrono::duration_cast<milliseconds>(SteadyClock::now() - waits_since_);
}

/// False: the stream has ended. Time spent waiting is not the client's: it does not count against the time to
/// authenticate.
awaitable<bool> C2sConnection::may_enter(Entry entry) {
    if (context_->admission == nullptr) co_return true;
    waits_since_ = SteadyClock::now();
    const std::function<bool()> gone = [this] { return stream_.peer_closed(); };
    const auto answer = co_await context_->admission->ask(entry, waited_, gone);
    waited_ = waited();
    waits_since_ = {};
    if (closing_) co_return false;
    if (answer == Admission::Answer::enter) co_return true;
    if (answer == Admission::Answer::refuse)
        fail("resource-constraint", "the clients of a lost node are being let in; try again in a while");
    closing_ = true;
    finished_.cancel();
    co_return false;
}

/// Whether the client was told to go to the group that serves its account (RFC 6120 §4.9.3.19). Who resumes
/// is not asked: any node carries a session on.
awaitable<bool> C2sConnection::sent_elsewhere(const std::string& resource) {
    if (!context_->better_host) co_return false;
    const auto account = co_await context_->router.accounts().load(account_);
    if (closing_) co_return true;
    if (!account || !*account) co_return false;
    const auto host = context_->better_host((*account)->home_node);
    if (host.empty()) co_return false;
    const auto client = account_.to_string() + '/' + resource + ' ' + stream_.remote().address().to_string();
    if (!context_->redirects.may_send(client, SteadyClock::now())) co_return false;
    log_info("client_redirected", {{"stream", id_}, {"account", account_.to_string()}, {"host", host}});
    context_->redirected->add();
    fail("see-other-host", host);
    co_return true;
}

awaitable<void> C2sConnection::bind(const Element& iq) {
    const auto* request = iq.find("bind", ns::bind);
    const auto answer_error = [&](const StanzaError& error) {
        auto reply = make_error_reply(iq, error);
        reply.remove_attr("from");
        stream_.send(reply.to_string(ns::client));
    };
    if (iq.attr("type") != "set" || iq.attr("id").empty()) {
        answer_error(StanzaError::bad_request());
        co_return;
    }
    const auto resource = request->child_text("resource", ns::bind);
    if (co_await sent_elsewhere(resource)) co_return;
    if (!co_await may_enter(Entry::login)) co_return;
    step_ = Step::bind;
    binding_ = true;
    auto bound = co_await context_->router.bind(account_, resource, *this);
    if (closing_) co_return;
    binding_ = false;
    if (!bound) {
        step_ = Step::features;
        answer_error(bound.error());
        co_return;
    }
    session_ = std::move(*bound);
    if (!not_resumed_.first.empty())
        context_->router.follows(session_, not_resumed_.first, not_resumed_.second);
    step_ = Step::bound;
    Element result("iq", ns::client);
    result.set("type", "result").set("id", iq.attr("id"));
    Element inner("bind", ns::bind);
    inner.add_text_child("jid", ns::bind, session_->state.jid.to_string());
    result.add(std::move(inner));
    send(result.to_string(ns::client));
    log_info("session_bound",
             {{"stream", id_}, {"jid", session_->state.jid.to_string()}, {"tls", stream_.tls_version()}});
}

void C2sConnection::sm_failed(std::string_view condition, bool has_h, std::uint64_t h) {
    Element failed("failed", ns::sm);
    if (has_h) failed.set("h", std::to_string(static_cast<std::uint32_t>(h)));
    failed.add(Element(condition, ns::stanzas));
    stream_.send(failed.to_string(ns::client));
}

awaitable<void> C2sConnection::resume(const Element& element) {
    const auto text = element.attr("h");
    std::uint32_t h = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), h);
    const auto sid = std::string(element.attr("previd"));
    if (ec != std::errc{} || end != text.data() + text.size() || sid.empty()) {
        sm_failed("bad-request", false, 0);
        co_return;
    }
    if (!co_await may_enter(Entry::resumption)) co_return;
    binding_ = true;
    auto resumed = co_await context_->router.resume(sid, account_, h, *this);
    if (closing_) co_return;
    binding_ = false;
    if (!resumed) {
        const auto& refusal = resumed.error();
        if (refusal.has_h) not_resumed_ = {sid, refusal.h};
        sm_failed(refusal.condition, refusal.has_h, refusal.h);
        co_return;
    }
    session_ = std::move(*resumed);
    step_ = Step::bound;
    stream_.send("<resumed xmlns='urn:xmpp:sm:3' h='" + std::to_string(session_->h()) + "' previd='" + sid +
                 "'/>");
    log_info("session_resumed", {{"stream", id_}, {"jid", session_->state.jid.to_string()}});
    if (context_->router.resume_needs_proof()) {
        // Nothing else is written until the client has answered on this stream (docs/delivery.md, "Resume").
        stream_.send("<r xmlns='urn:xmpp:sm:3'/>");
        waiting_proof_ = true;
    } else {
        co_await context_->router.settle(session_, h);
    }
}

awaitable<void> C2sConnection::enable(const Element& element) {
    if (session_->sm) {
        sm_failed("unexpected-request", false, 0);
        co_return;
    }
    const auto wish = element.attr("resume");
    const bool resumable = wish == "true" || wish == "1";
    std::uint32_t wanted = 0;
    const auto max = element.attr("max");
    std::from_chars(max.data(), max.data() + max.size(), wanted);
    const auto session = session_;
    if (!co_await context_->router.enable(session, resumable, seconds(wanted)) || closing_) {
        if (!closing_) sm_failed("internal-server-error", false, 0);
        co_return;
    }
    std::string text = "<enabled xmlns='urn:xmpp:sm:3'";
    if (resumable) {
        text += " resume='true' id='" + session->state.sid + "' max='" +
                std::to_string(session->window.count()) + '\'';
        if (!context_->location.empty()) text += " location='" + context_->location + '\'';
    }
    stream_.send(text + "/>");
    session->enable();
}

awaitable<void> C2sConnection::bound(Element element) {
    // What a stanza causes may end this stream, and with it our hold on the session.
    const auto session = session_;
    const auto& space = element.ns();
    if (space == ns::client) {
        const auto& name = element.name();
        if (name != "message" && name != "presence" && name != "iq") {
            fail("unsupported-stanza-type");
            co_return;
        }
        // RFC 6120 §8.1.2.1: a `from` that is not this session's own is refused.
        const auto from = element.attr("from");
        if (!from.empty()) {
            const auto jid = Jid::parse(from);
            if (!jid || (*jid != session->state.jid && *jid != session->state.account->jid)) {
                fail("invalid-from");
                co_return;
            }
        }
        context_->router.receive(session, std::move(element));
        co_return;
    }
    if (space == ns::sm) {
        if (element.name() == "r") {
            context_->router.ack_requested(session);
        } else if (element.name() == "a") {
            const auto text = element.attr("h");
            std::uint32_t h = 0;
            const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), h);
            if (ec != std::errc{} || end != text.data() + text.size()) {
                fail("policy-violation", "bad h");
            } else if (waiting_proof_) {
                waiting_proof_ = false;
                fail_point("proved");
                co_await context_->router.settle(session, h);
            } else if (session->settled() && !session->acknowledged(h)) {
                // XEP-0198 §4: the client counts stanzas it was never sent.
                stream_.send(
                    "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                    "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='" +
                    std::to_string(h) + "' send-count='" + std::to_string(session->sent_count()) +
                    "'/></stream:error></stream:stream>");
                closing_ = true;
                finished_.cancel();
            }
        } else if (element.name() == "enable") {
            co_await enable(element);
        } else {
            sm_failed("unexpected-request", false, 0);
        }
        co_return;
    }
    if (space == ns::csi) {
        context_->router.set_inactive(session, element.name() == "inactive");
        co_return;
    }
    fail("unsupported-stanza-type");
}

}  // namespace hexad

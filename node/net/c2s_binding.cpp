// A client stream gets its session: it is let in, binds (RFC 6120 §7), resumes or enables stream management
// (XEP-0198), and then brings stanzas.
#include <charconv>

#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "net/c2s_connection.hpp"
#include "xmpp/errors.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

milliseconds C2sConnection::waited() const {
    if (waits_since_ == SteadyClock::time_point{}) return waited_;
    return waited_ + std::chrono::duration_cast<milliseconds>(SteadyClock::now() - waits_since_);
}

/// False: the stream has ended. Time spent waiting is not the client's: it does not count against the time to
/// authenticate.
awaitable<bool> C2sConnection::may_enter(Entry entry) {
    if (context_->admission == nullptr) co_return true;
    passage_.reset();
    waits_since_ = SteadyClock::now();
    const std::function<bool()> gone = [this] { return stream_.peer_closed(); };
    const auto answer = co_await context_->admission->ask(entry, waited_, gone);
    waited_ = waited();
    waits_since_ = {};
    if (closing_) co_return false;
    if (answer == Admission::Answer::enter) {
        if (entry == Entry::authentication) passage_ = context_->admission->passage();
        co_return true;
    }
    const bool in_plain = !secure() && step_ == Step::header;  // in front of direct TLS nothing can be said
    if (answer == Admission::Answer::refuse && !in_plain)
        fail("resource-constraint", "the clients of a lost node are being let in; try again in a while");
    closing_ = true;
    finished_.cancel();
    co_return false;
}

/// The handshake is the dearest part of coming in: after a loss the line is in front of it.
awaitable<bool> C2sConnection::may_start_tls() {
    if (context_->admission == nullptr || !context_->admission->in_force()) co_return true;
    asked_to_enter_ = true;
    co_return co_await may_enter(Entry::authentication);
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
    const auto full = account_.with_resource(resource);
    if (context_->has_room && !context_->has_room(full ? *full : account_)) {
        log_info("login_refused",
                 {{"stream", id_}, {"account", account_.to_string()}, {"reason", "sessions"}});
        answer_error(StanzaError::resource_constraint("this server carries as many sessions as it may"));
        co_return;
    }
    step_ = Step::bind;
    binding_ = true;
    finished_.cancel();  // watch() looks after the client more often
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
    finished_.cancel();  // watch() looks after the client more often
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
        // RFC 6120 §8.1.5: who gets it does not know the language of this stream.
        if (!lang_.empty() && !element.has_attr("xml:lang")) element.set("xml:lang", lang_);
        context_->router.receive(session, std::move(element));
        co_return;
    }
    if (space == ns::sm) {
        if (!session->sm && element.name() != "enable") {
            sm_failed("unexpected-request", false, 0);
        } else if (element.name() == "r") {
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

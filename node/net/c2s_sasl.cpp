// A client stream authenticates (RFC 6120 §6).
#include "base/text.hpp"
#include "net/c2s_connection.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

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

}  // namespace hexad

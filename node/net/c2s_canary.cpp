// A node that looks whether clients are served here (docs/redundancy-groups.md, "The canary"): SASL EXTERNAL
// with its certificate (XEP-0178), a bind that makes no session, and messages to itself, which come back when
// they are committed.
#include "base/log.hpp"
#include "base/text.hpp"
#include "net/c2s_connection.hpp"
#include "xmpp/errors.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

/// Whether this stream is for the canary's host. Inside TLS only a node of the cluster finds it there.
bool C2sConnection::at_canary_host(std::string_view to) {
    const auto& canary = context_->canary;
    if (canary.name.empty() || to != canary.name) return false;
    if (!secure()) return true;
    if (canary.node_of(stream_.peer_names()).empty()) return false;
    if (!canary_) --context_->connections;
    canary_ = true;
    return true;
}

void C2sConnection::canary_sasl(const Element& element) {
    const auto refuse = [this](std::string_view condition) {
        Element failure("failure", ns::sasl);
        failure.add(Element(condition, ns::sasl));
        stream_.send(failure.to_string(ns::client));
        fail("policy-violation");
    };
    if (!account_.empty() || step_ != Step::features || element.name() != "auth") {
        fail("policy-violation");
        return;
    }
    if (element.attr("mechanism") != "EXTERNAL") {
        refuse("invalid-mechanism");
        return;
    }
    const auto node = context_->canary.node_of(stream_.peer_names());
    const auto account = Jid::parse(node + '@' + context_->canary.name);
    const auto text = element.text();
    const auto wished = text == "=" ? std::string() : base64_decode(text).value_or("?");
    if (node.empty() || !account || (!wished.empty() && wished != account->to_string())) {
        refuse("not-authorized");
        return;
    }
    account_ = *account;
    stream_.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    parser_.reset();
    step_ = Step::header;
    header_sent_ = false;
}

void C2sConnection::canary_stanza(Element element) {
    if (account_.empty()) {
        fail("not-authorized");
        return;
    }
    const auto* request = element.find("bind", ns::bind);
    if (step_ == Step::features && element.is("iq", ns::client) && request != nullptr) {
        const auto full = account_.with_resource("canary");
        step_ = Step::bound;
        Element result("iq", ns::client);
        result.set("type", "result").set("id", element.attr("id"));
        Element inner("bind", ns::bind);
        inner.add_text_child("jid", ns::bind, full->to_string());
        result.add(std::move(inner));
        stream_.send(result.to_string(ns::client));
        return;
    }
    const auto to = Jid::parse(element.attr("to"));
    if (step_ != Step::bound || !element.is("message", ns::client) || !to || to->bare() != account_) {
        fail("policy-violation", "only messages to itself");
        return;
    }
    element.set("from", account_.to_string() + "/canary");
    context_->canary.commit([self = self_, xml = element.to_string(ns::client)](bool committed) {
        if (*self != nullptr && committed) (*self)->send(xml);
    });
}

}  // namespace hexad

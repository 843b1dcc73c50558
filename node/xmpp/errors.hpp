#pragma once

#include <string>
#include <string_view>

#include "xml/element.hpp"
#include "xml/stanza_parser.hpp"

namespace hexad {

/// A stanza error (RFC 6120 §8.3.3): `type` and `condition` as on the wire, an optional text and an optional
/// application-specific condition. The factories give each condition the type the RFC recommends.
struct StanzaError {
    std::string type;
    std::string condition;
    std::string text;
    Element app;  ///< application-specific condition; no name = none

    StanzaError() = default;
    StanzaError(std::string_view t, std::string_view c, std::string_view explanation = {})
        : type(t), condition(c), text(explanation) {}

    static StanzaError bad_request(std::string_view t = {}) { return {"modify", "bad-request", t}; }
    static StanzaError conflict(std::string_view t = {}) { return {"cancel", "conflict", t}; }
    static StanzaError feature_not_implemented(std::string_view t = {}) {
        return {"cancel", "feature-not-implemented", t};
    }
    static StanzaError forbidden(std::string_view t = {}) { return {"auth", "forbidden", t}; }
    static StanzaError gone(std::string_view t = {}) { return {"cancel", "gone", t}; }
    static StanzaError internal_server_error(std::string_view t = {}) {
        return {"cancel", "internal-server-error", t};
    }
    static StanzaError item_not_found(std::string_view t = {}) { return {"cancel", "item-not-found", t}; }
    static StanzaError jid_malformed(std::string_view t = {}) { return {"modify", "jid-malformed", t}; }
    static StanzaError not_acceptable(std::string_view t = {}) { return {"modify", "not-acceptable", t}; }
    static StanzaError not_allowed(std::string_view t = {}) { return {"cancel", "not-allowed", t}; }
    static StanzaError not_authorized(std::string_view t = {}) { return {"auth", "not-authorized", t}; }
    static StanzaError policy_violation(std::string_view t = {}) { return {"modify", "policy-violation", t}; }
    static StanzaError registration_required(std::string_view t = {}) {
        return {"auth", "registration-required", t};
    }
    static StanzaError remote_server_not_found(std::string_view t = {}) {
        return {"cancel", "remote-server-not-found", t};
    }
    static StanzaError resource_constraint(std::string_view t = {}) {
        return {"wait", "resource-constraint", t};
    }
    static StanzaError service_unavailable(std::string_view t = {}) {
        return {"cancel", "service-unavailable", t};
    }
    static StanzaError unexpected_request(std::string_view t = {}) {
        return {"wait", "unexpected-request", t};
    }
    /// The back end is away: try again (DESIGN: degraded modes).
    static StanzaError try_again(std::string_view t = {}) { return {"wait", "internal-server-error", t}; }

    /// `<error type=…><condition/>…</error>`
    Element to_element() const;
};

/// The error reply to `stanza`: same name and id, to and from exchanged, type error (RFC 6120 §8.3.1). The
/// caller makes sure that `stanza` is no error itself.
Element make_error_reply(const Element& stanza, const StanzaError& error);

/// `<stream:error>` with this condition (RFC 6120 §4.9.3), serialised for a stream with prefix `stream`. The
/// `text` of `see-other-host` is the host.
std::string stream_error(std::string_view condition, std::string_view text = {});
/// The stream error condition of an XML fault.
std::string_view stream_condition(XmlError error);

}  // namespace hexad

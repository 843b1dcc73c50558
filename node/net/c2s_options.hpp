#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "auth/authenticator.hpp"
#include "base/clock.hpp"
#include "base/metrics.hpp"
#include "hooks/hooks.hpp"
#include "io/tls_context.hpp"
#include "net/redirects.hpp"
#include "routing/admission.hpp"
#include "routing/router.hpp"
#include "xml/stanza_parser.hpp"

namespace hexad {

/// Limits of one client stream.
struct C2sLimits {
    XmlLimits xml;
    std::size_t max_unauthenticated_stanza = 16384;
    std::size_t max_outbox = 4u << 20;  ///< bytes the client may leave unread before its stream ends
    seconds authenticate{30};           ///< from accept to bound
    seconds idle{900};           ///< silence after which the server asks; then the same again and it closes
    seconds write_stall{60};     ///< the kernel took nothing for this long
    int max_auth_failures = 3;   ///< wrong passwords before the stream ends
    int max_auth_attempts = 10;  ///< failures of any kind: a client may try all mechanisms that are offered
};

/// The host at which the other nodes of the cluster look whether clients are served here
/// (docs/redundancy-groups.md, "The canary"). It has no accounts: who is there proves it by a certificate,
/// has no session, and may only send messages to itself.
struct CanaryHost {
    std::string name;  ///< empty: there is none
    /// The node that a certificate with these DNS names belongs to; empty: none of this cluster.
    std::function<std::string(const std::vector<std::string>& names)> node_of;
    /// Takes the way of a client's stanza, with no effects; answers when it is committed.
    std::function<void(std::function<void(bool committed)>)> commit;
};

/// What every client connection of a node shares. Protocol thread.
struct C2sContext {
    Router& router;
    Hooks& hooks;
    Authenticator& authenticator;
    TlsContext& tls;
    C2sLimits limits;
    std::size_t connections = 0;
    Counter* logins = nullptr;
    Counter* failures = nullptr;
    Counter* redirected = nullptr;  ///< with `better_host`
    std::string location;  ///< where to resume if this node is gone (XEP-0198 §3); empty = nothing is said
    Admission* admission = nullptr;  ///< nullptr: everybody comes in at once
    /// The host that serves accounts with this home node, if a client of theirs is to go there; else empty.
    std::function<std::string(const std::string& home)> better_host;
    Redirects redirects;
    CanaryHost canary;
    /// Whether a client may log in with this address, or there are as many sessions here as may be; empty:
    /// everybody may.
    std::function<bool(const Jid& full)> has_room;
};

}  // namespace hexad

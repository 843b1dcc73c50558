#pragma once

#include <string>

#include "base/config.hpp"
#include "io/tls_context.hpp"
#include "net/c2s_options.hpp"

namespace hexad {

// The host by which the nodes of a cluster log in to each other (docs/redundancy-groups.md, "The canary").

/// Whether the nodes of this node's group log in to each other to see that clients are served.
bool watches_peer(const Config& config, const std::string& node);

/// Its certificate: for the nodes of the cluster alone.
TlsCertificate canary_certificate(const Config& config);

/// Lets the other nodes in. `config` and `router` outlive the context.
void serve_canary(C2sContext& context, const Config& config, std::string node, Router& router);

}  // namespace hexad

#include "app/canary_host.hpp"

#include <algorithm>

#include "ha/canary.hpp"
#include "routing/router.hpp"

namespace hexad {

bool watches_peer(const Config& config, const std::string& node) {
    return config.is_cluster() && !config.peer_tls.cert.empty() && config.group_of(node)->nodes.size() > 1;
}

TlsCertificate canary_certificate(const Config& config) {
    TlsCertificate own;
    own.chain_file = config.peer_tls.cert;
    own.key_file = config.peer_tls.key;
    own.only_for = canary_host;
    own.client_ca_file = config.peer_tls.ca;
    return own;
}

void serve_canary(C2sContext& context, const Config& config, std::string node, Router& router) {
    auto& canary = context.canary;
    canary.name = canary_host;
    canary.node_of = [&config, node = std::move(node)](const std::vector<std::string>& names) {
        for (const auto& group : config.groups) {
            for (const auto& n : group.nodes) {
                const auto proves = [&n](const std::string& name) { return tls_name_matches(name, n.name); };
                if (n.name != node && std::any_of(names.begin(), names.end(), proves)) return n.name;
            }
        }
        return std::string();
    };
    canary.commit = [&router](std::function<void(bool)> done) {
        // A record that is not there is not changed; what else a stanza's commit is checked for, this is.
        Batch batch;
        SessionRecord nothing;
        nothing.sid = "canary";
        batch.sessions.push_back(std::move(nothing));
        router.submit(std::move(batch), std::move(done));
    };
}

}  // namespace hexad

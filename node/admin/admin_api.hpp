#pragma once

#include <functional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/config.hpp"
#include "ha/assignment.hpp"
#include "ha/manager.hpp"
#include "hooks/hooks.hpp"
#include "io/http.hpp"
#include "routing/router.hpp"
#include "storage/store.hpp"

namespace hexad {

/// What the admin API needs of the node besides its router. Protocol thread.
struct AdminContext {
    Router& router;
    Store& store;
    const Config& config;
    std::string node;
    std::string token;  ///< bearer token of the TCP listener; the Unix socket needs none
    std::function<bool()> ready;
    std::function<std::string()> not_ready_reason;
    /// SCRAM keys of a password, derived on a worker thread.
    std::function<awaitable<std::vector<ScramCredential>>(std::string password)> derive;
    /// State of every node as this one sees it; objects as in `lab status`.
    std::function<awaitable<std::vector<boost::json::object>>()> nodes;
    /// Accounts changed behind the router's back: other nodes must read them again.
    std::function<void(const Jid&)> account_changed;
    /// Destroys a room; false if there is none.
    std::function<awaitable<bool>(Jid)> destroy_room;
    /// The directory agent's desk: `what` (status, review, explain, ask) with its parameters; status as of
    /// HTTP. Empty: one node alone, which has no directory. Without an agreement it only explains.
    std::function<awaitable<std::pair<int, boost::json::value>>(std::string what, boost::json::object given)>
        sync;
    HaManager* ha = nullptr;                 ///< of a node in a cluster
    AssignmentKeeper* assignment = nullptr;  ///< likewise
};

/// Registers `/v1/…`, `/metrics`, `/healthz`, `/readyz`. JSON in and out; errors are `{"error": "…"}` with a
/// 4xx or 5xx status. `trusted`: no token is asked (Unix socket).
void serve_admin(HttpServer& server, const AdminContext& context, bool trusted);

}  // namespace hexad

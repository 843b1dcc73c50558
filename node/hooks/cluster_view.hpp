#pragma once

#include <functional>
#include <string>

#include "hooks/account_cache.hpp"
#include "hooks/route_table.hpp"
#include "storage/session_log.hpp"
#include "xml/element.hpp"

namespace hexad {

/// All that a module may know and do beyond its own account: routes, hosts, commits. One node or six, the
/// same calls. Protocol thread.
class ClusterView {
public:
    virtual ~ClusterView() = default;
    virtual RouteTable& routes() = 0;
    virtual AccountCache& accounts() = 0;
    virtual Store& store() = 0;
    virtual SessionLog& session_log() = 0;
    virtual bool is_local_host(std::string_view domain) const = 0;
    /// The host whose service `domain` is (`rooms.example.test` → `example.test`), empty if none; `label`
    /// gets `rooms`.
    virtual std::string host_of_service(std::string_view domain, std::string& label) const = 0;
    virtual const std::vector<std::string>& hosts() const = 0;
    /// Commits a batch that no client's stanza caused, then delivers its effects.
    virtual void submit(Batch batch) = 0;
    /// As submit; `done` runs after the effects were delivered, or with `false` if the batch was refused.
    virtual void submit(Batch batch, std::function<void(bool ok)> done) = 0;
    virtual const std::string& node_name() const = 0;
    virtual asio::io_context& io() = 0;
    /// Routes a stanza that a service or room made, as if it came from that entity: message rules for
    /// accounts, errors swallowed. The effects go into `batch`.
    virtual void route_from_service(const Element& stanza, const Jid& from, const Jid& to, Batch& batch) = 0;
    /// The store says where a room lives; what is sent to it from here goes there.
    virtual void learn_room_home(const Jid& room, const std::string& home) = 0;
    /// Changes an account in memory now and in the store with the batch; runs RosterChanged.
    virtual void change_account(AccountData& account, AccountChange change, Batch& batch) = 0;
};

}  // namespace hexad

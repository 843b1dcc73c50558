#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/batch.hpp"

namespace hexad {

/// The sessions of one online account, wherever they are carried.
struct Route {
    std::uint64_t version = 0;
    std::vector<RouteEntry> sessions;
};

/// This node's replica of every route of the cluster. Protocol thread. On a single node it is the truth; in a
/// cluster it follows the change stream.
class RouteTable {
public:
    /// nullptr: no session. The pointer holds until the next change.
    const Route* find(const Jid& bare) const;
    const RouteEntry* find_session(const Jid& full) const;
    const RouteEntry* find_sid(const Jid& bare, std::string_view sid) const;
    std::uint64_t version_of(const Jid& bare) const;
    void apply(const RouteChange& change);
    /// Sets the version that the cluster's script gave the route (cluster only).
    void set_version(const Jid& bare, std::uint64_t version);
    std::size_t accounts() const { return routes_.size(); }
    std::size_t sessions() const { return sessions_; }
    void for_each(const std::function<void(const Jid&, const Route&)>& visit) const;
    void clear();

private:
    std::unordered_map<Jid, Route> routes_;
    std::size_t sessions_ = 0;
};

}  // namespace hexad

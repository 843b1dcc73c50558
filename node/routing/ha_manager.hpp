#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/config.hpp"
#include "cluster/cluster_backend.hpp"
#include "routing/router.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

/// States of a node in its redundancy group (docs/redundancy-groups.md).
enum class NodeState {
    initializing,
    normal,
    taking_over,
    backup,
    failed_over,
    taking_back,
    falling_back,
    standalone,
    unknown
};
std::string_view node_state_name(NodeState state);

/// This node's part in its redundancy group: who serves which partition, when the peer is taken over, when a
/// node that came back gets its users again. Protocol thread.
///
/// A node becomes owner only by raising the partition's epoch, in the store first, then in Redis; evidence
/// alone (a silent peer) is never enough: the peer's lease must be gone.
class HaManager {
public:
    HaManager(asio::io_context& io, const Config& config, std::string node, ClusterBackend& cluster,
              EpochStore& epochs, Router& router);

    /// Takes its place in the group (T2, T3) and then watches until `stop`.
    awaitable<void> run();
    /// Announces the stop, so that the peer takes over at once (`peer-reboot`).
    awaitable<void> stop();

    NodeState state() const { return state_; }
    const std::string& reason() const { return reason_; }
    bool serves(const std::string& home) const { return serving_.contains(home); }
    /// Partitions came to this node or left it: the rooms follow.
    std::function<void(const std::string& home, bool ours)> on_partition;
    /// Every node of the cluster as this one sees it; keys as in `lab status`.
    awaitable<std::vector<boost::json::object>> nodes(std::map<std::string, std::uint64_t> assigned);

private:
    void enter(NodeState state, std::string reason);
    awaitable<void> take_place();
    awaitable<void> step();
    awaitable<void> take_over(std::string peer, std::uint64_t epoch, std::string reason);
    awaitable<void> take_back();
    awaitable<void> publish();
    awaitable<std::uint64_t> move(std::string home, std::uint64_t known);
    void partition_moved(const std::string& home, const std::string& serving, std::uint64_t epoch);
    void watch_clock();

    asio::io_context& io_;
    const Config& config_;
    std::string node_;
    std::string peer_;  ///< empty: a group of one
    ClusterBackend& cluster_;
    EpochStore& epochs_;
    Router& router_;
    NodeState state_ = NodeState::initializing;
    std::string reason_ = "initialization";
    Timestamp since_ = wall_now();
    std::set<std::string> serving_;
    std::map<std::string, std::uint64_t> epochs_known_;
    std::map<std::string, std::string> partition_of_;  ///< home → serving
    SteadyClock::time_point started_ = SteadyClock::now();
    SteadyClock::time_point healthy_since_ = SteadyClock::now();
    SteadyClock::time_point last_tick_ = SteadyClock::now();
    bool saw_peer_ = false;
    bool stopping_ = false;
    int automatic_moves_ = 0;
    SteadyClock::time_point budget_since_ = SteadyClock::now();
    asio::steady_timer timer_;
    asio::steady_timer clock_timer_;
};

}  // namespace hexad

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/config.hpp"
#include "ha/cluster_nodes.hpp"
#include "placement/capacity.hpp"
#include "placement/rebalance.hpp"
#include "storage/assignment_store.hpp"
#include "storage/store.hpp"

namespace hexad {

/// A rebalancing that this node drives.
struct DrivenRun {
    RebalanceRun run;
    double credit = 0;  ///< accounts that may be moved now
    SteadyClock::time_point credited = SteadyClock::now();
    std::vector<bool> dry;       ///< flows that find nobody any more
    std::uint64_t sessions = 0;  ///< clients that were sent to their new home node
    int failures = 0;            ///< rooms in a row that could not be moved
};

/// Keeps a cluster's accounts where they belong (docs/assignment.md): does what administrators ask, finds
/// homes for the unassigned, warns of what gets full, rebalances.
///
/// Runs on every node; what is for one node alone is done by whichever holds the job `assignment` in the
/// store, which another node takes over when its holder is gone. Protocol thread.
class AssignmentKeeper {
public:
    struct Parts {
        asio::io_context& io;
        const Config& config;
        std::string node;
        Store& store;
        AssignmentStore& assignment;
        ClusterNodes& ha;
        /// Other nodes must read the account again.
        std::function<void(const Jid&)> account_changed;
    };
    explicit AssignmentKeeper(Parts parts);

    awaitable<void> run();
    void stop();

    struct Answer {
        int status = 200;  ///< as of HTTP
        boost::json::value value;
    };
    /// `{"command": "assign" | "pin" | "unpin", "jid": …, "node": …, "force": false}`
    awaitable<Answer> command(boost::json::object request);
    /// `{"command": "move", "jid": room, "node": …}`
    awaitable<Answer> room_command(boost::json::object request);
    /// What a rebalancing would move; nothing is done.
    awaitable<Answer> plan();
    /// `{"command": "apply", "rate": accounts a second}` or `{"command": "stop"}`
    awaitable<Answer> rebalance(boost::json::object request);
    /// The last runs, newest first, with how far they are.
    awaitable<Answer> status(std::size_t runs);

private:
    struct Seen {
        Places places;
        SessionCounts sessions;
        std::map<std::string, std::uint64_t> rooms;  ///< by home node
        std::map<std::string, std::string> trouble;  ///< node → why nobody is moved from or to it
    };
    // assignment.cpp
    awaitable<std::optional<Seen>> look();
    awaitable<void> look_after();
    awaitable<void> place_unassigned(const Seen& seen);
    void warn(const Seen& seen);
    void register_metrics();
    awaitable<Answer> set_home(Jid jid, std::string node, bool pin, bool force);
    awaitable<Answer> unpin(Jid jid);
    awaitable<std::uint64_t> announce(const std::vector<AssignmentStore::Moved>& moved);
    std::string unknown_node(const std::string& node) const;
    // room_assignment.cpp
    awaitable<Answer> move_room(Jid jid, std::string node);
    RebalancePlan plan_of_rooms(const Seen& seen,
                                std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const;
    awaitable<void> move_rooms(std::size_t flow, std::uint64_t count);
    awaitable<void> finish_room_moves();
    // rebalance.cpp
    awaitable<void> start_by_itself(const Seen& seen);
    awaitable<std::int64_t> start(std::string cause, RebalancePlan plan, double rate);
    awaitable<Answer> apply(double rate);
    awaitable<Answer> stop_run();
    awaitable<void> find_run(const Seen& seen);
    awaitable<void> drive(SteadyClock::time_point until);
    awaitable<void> move_some(std::size_t flow, std::uint64_t count);
    awaitable<void> end(std::string state, std::string reason);
    awaitable<void> pause(milliseconds time);

    asio::io_context& io_;
    const Config& config_;
    PlacementRules rules_;
    std::string node_;
    Store& store_;
    AssignmentStore& assignment_;
    ClusterNodes& ha_;
    std::function<void(const Jid&)> account_changed_;
    asio::steady_timer timer_;
    milliseconds pace_;  ///< from look to look
    bool stopping_ = false;
    bool in_charge_ = false;  ///< holds the job
    std::optional<Seen> seen_;
    std::uint64_t told_unassigned_ = 0;
    std::map<std::string, LastingAlarm> high_;  ///< by what and measure
    LastingAlarm uneven_;

    std::optional<DrivenRun> driving_;
};

}  // namespace hexad

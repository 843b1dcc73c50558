#pragma once

#include <map>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/config.hpp"

namespace hexad {

/// What was found at the nodes of a cluster, before anybody judged it.
struct Symptoms {
    /// By node: `reachable`, and if so `version` `config` `store` `state_store` `certificates`
    /// `clock_ahead_ms` (of this node's clock).
    std::map<std::string, boost::json::object> health;
    bool high_availability = true;
    std::map<std::string, std::vector<std::string>>
        no_failover;  ///< node → why its loss could not be carried
    std::map<std::string, milliseconds> round_trips;
    std::map<std::string, std::string>
        service;  ///< node → what its peer finds as a client: `serves`, or why not
};

/// `hexactl doctor`: `good`, and `checks` [`check` `subject` `level` (`good`, `warning`, `bad`) `found`
/// `do`], the worst first. `good` is false if anything is bad. A plain function.
boost::json::object diagnose(const Config& config, const Symptoms& symptoms);

/// One node's row of `hexactl replication status`.
boost::json::object replication_row(const std::string& node, const boost::json::object& health);

}  // namespace hexad

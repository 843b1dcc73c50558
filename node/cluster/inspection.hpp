#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "storage/batch.hpp"

namespace hexad {

/// Something in Redis that the delivery protocol never leaves behind (docs/delivery.md, "Invariants").
struct Finding {
    std::string rule;     ///< e.g. `log-order`
    std::string subject;  ///< sid, account, room, partition or node
    std::string detail;
    friend auto operator<=>(const Finding& a, const Finding& b) {
        return std::tie(a.rule, a.subject) <=> std::tie(b.rule, b.subject);
    }
    friend bool operator==(const Finding& a, const Finding& b) {
        return a.rule == b.rule && a.subject == b.subject;
    }
};

/// Redis as a whole, read piece by piece while the cluster goes on: what is under way may look wrong once,
/// what is wrong looks wrong twice.
struct Inspection {
    struct Carried {
        std::string node;
        Epoch epoch;
        bool ending = false;
        bool live = false;  ///< its client is there and has its login backlog
    };
    std::map<std::string, Carried> sessions;  ///< by sid
    std::set<std::string> reached;            ///< accounts that a message reaches now, by bare JID
    std::size_t entries = 0;                  ///< in all logs
    std::size_t rooms = 0;
    std::map<std::string, std::string> serving;     ///< home → node, as Redis says
    std::map<std::string, std::string> room_homes;  ///< of rooms with occupants or input; empty: not told yet
    std::map<std::string, std::string> room_holders;  ///< the node that has it in memory
    std::set<Finding> findings;
};

}  // namespace hexad

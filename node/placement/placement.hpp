#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.hpp"
#include "storage/placing.hpp"

namespace hexad {

/// Who gets new accounts (docs/assignment.md): all nodes, the first of each group, or whom an administrator
/// names.
enum class AssignmentMode { balanced, active_standby, none };
/// The name in the configuration, e.g. `active-standby`.
std::string_view name_of(AssignmentMode mode);
AssignmentMode assignment_mode(std::string_view name);

/// A node as a place for accounts.
struct NodePlace {
    std::string node;
    std::uint64_t capacity = 0;
    std::uint64_t assigned = 0;
    std::uint64_t pinned = 0;  ///< of `assigned`: never moved by a machine
    friend bool operator==(const NodePlace&, const NodePlace&) = default;
};

/// A redundancy group as a place for accounts.
struct GroupPlace {
    std::string name;
    AssignmentMode mode = AssignmentMode::balanced;
    bool redundant = false;  ///< one node must be able to carry both
    std::vector<NodePlace> nodes;

    std::uint64_t assigned() const;
    /// Accounts it carries: the smaller node's if it is redundant, else the sum of the nodes that take
    /// accounts.
    std::uint64_t capacity() const;
    /// Whether a machine puts accounts on this node.
    bool takes(const NodePlace& node) const;
    bool has_room() const { return assigned() < capacity(); }
};

struct Places {
    std::vector<GroupPlace> groups;
    std::vector<NodePlace> strangers;  ///< homes that the configuration does not name any more
    std::uint64_t limit = 75000;       ///< accounts of the cluster, whatever the groups could carry
    std::uint64_t unassigned = 0;

    std::uint64_t assigned() const;
    std::uint64_t capacity() const;
    const GroupPlace* group_of(const std::string& node) const;
};

Places places_of(const Config& config, const Assignments& now);
/// Whether redundancy is wanted: as configured unless an administrator switched it.
bool is_redundant(const Config& config, const Assignments& now);

/// Homes of `count` new accounts: each goes to the node with the lowest assigned ÷ capacity of those that
/// take accounts and have room, in a group and a cluster that have room; ties by name. Empty where there is
/// none: never overload silently. A pure function.
///
///     place({two equal empty nodes n1, n2 in one group}, 3) == {"n1", "n2", "n1"}
std::vector<Home> place(Places places, std::size_t count);
/// `place` over a configuration, for the store. `config` must outlive it.
Placer placer_of(const Config& config);

/// Why an administrator's move of `count` accounts from `from` ("" = unassigned) to `to` would overload
/// something; empty = it fits.
std::string overload(const Places& places, const std::string& from, const std::string& to,
                     std::uint64_t count);
RoomCheck room_check_of(const Config& config);

}  // namespace hexad

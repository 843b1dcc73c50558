#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.hpp"
#include "placement/rules.hpp"
#include "storage/assignment_store.hpp"
#include "storage/placing.hpp"

namespace hexad {

/// Who gets new accounts (docs/assignment.md): all nodes, the first of each group, or whom an administrator
/// names.
enum class AssignmentMode { balanced, active_standby, none };
/// The name in the configuration, e.g. `active-standby`.
std::string_view name_of(AssignmentMode mode);
AssignmentMode assignment_mode(std::string_view name);

/// Accounts whom placement rules give to one group.
struct RuledPeople {
    std::string group;
    std::uint64_t users = 0;
    std::uint64_t pinned = 0;     ///< of `users`
    std::set<std::string> rules;  ///< their names, of those that are not pinned
    friend bool operator==(const RuledPeople&, const RuledPeople&) = default;
};

/// A node as a place for accounts.
struct NodePlace {
    std::string node;
    std::uint64_t capacity = 0;
    std::uint64_t assigned = 0;
    std::uint64_t pinned = 0;          ///< of `assigned`: never moved by a machine
    std::vector<RuledPeople> ruled{};  ///< of `assigned`: by group; for the rest there is no rule
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
    std::map<std::string, std::uint64_t> waiting;  ///< the unassigned by the group that rules name; "" = any

    std::uint64_t assigned() const;
    std::uint64_t capacity() const;
    const GroupPlace* group_of(const std::string& node) const;
    /// Accounts in another group than the one that a placement rule gives them to.
    std::uint64_t misplaced() const;
};

Places places_of(const Config& config, const Assignments& now);
/// The same with who is pinned and who is whose by the placement rules. The users of `now` are those of
/// `loads`.
Places places_of(const Config& config, const Assignments& now,
                 const std::vector<AssignmentStore::Load>& loads, const PlacementRules& rules);
/// Whether redundancy is wanted: as configured unless an administrator switched it.
bool is_redundant(const Config& config, const Assignments& now);

/// Homes of new accounts, each with the rule that fits it or nullptr: it goes to the node with the lowest
/// assigned ÷ capacity of those that take accounts and have room, in a group and a cluster that have room, of
/// the rule's group if there is a rule; ties by name. Empty where there is none: never overload silently, and
/// never leave the rule's group. A pure function.
std::vector<Home> place(Places places, const std::vector<const PlacementRule*>& accounts);
/// Of so many that no rule fits.
///
///     place({two equal empty nodes n1, n2 in one group}, 3) == {"n1", "n2", "n1"}
std::vector<Home> place(Places places, std::size_t count);
/// How many of the unassigned wait for room: no node takes one more of their kind. Whom only an administrator
/// assigns (mode *none*) does not.
struct WaitingForRoom {
    std::uint64_t users = 0;
    std::vector<std::string> groups;  ///< full ones that placement rules give people to
    bool somebody_fits = false;       ///< of the unassigned, now
};
WaitingForRoom waiting_for_room(const Places& places);
/// `place` over a configuration, for the store. `config` must outlive it.
Placer placer_of(const Config& config);

/// Why an administrator's move of `count` accounts from `from` ("" = unassigned) to `to` would overload
/// something; empty = it fits.
std::string overload(const Places& places, const std::string& from, const std::string& to,
                     std::uint64_t count);
RoomCheck room_check_of(const Config& config);

}  // namespace hexad

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace hexad {

/// How accounts are spread now: what new ones are placed by.
struct Assignments {
    std::map<std::string, std::uint64_t> users;  ///< by home node; "" = unassigned
    std::string high_availability;  ///< `on`, `off` as an administrator switched it; empty = he never did
};

/// What the directory says of an account that placement rules ask for (docs/assignment.md); local accounts
/// have none of it.
struct PlacingFacts {
    std::string site;
    std::vector<std::string> groups;  ///< of the directory, as folded_dn(): those that a rule names
    friend auto operator<=>(const PlacingFacts&, const PlacingFacts&) = default;
};

/// A home node and why it is that one; `node` empty = no node has room.
struct Home {
    std::string node;
    /// `balanced`, `active-standby`, both with `; ` and the placement rule if one fitted, `administrator`,
    /// `rebalance 7`
    std::string rule;
    friend bool operator==(const Home&, const Home&) = default;
};

/// Homes of new accounts, one for each. Called inside the transaction that makes them, on a worker thread: a
/// pure function.
using Placer = std::function<std::vector<Home>(const Assignments&, const std::vector<PlacingFacts>&)>;

/// Why a node may not take `count` more accounts that come from `from`; empty = it may. As a Placer.
using RoomCheck = std::function<std::string(const Assignments&, const std::string& from,
                                            const std::string& to, std::uint64_t count)>;

}  // namespace hexad

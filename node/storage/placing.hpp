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

/// A home node and why it is that one; `node` empty = no node has room.
struct Home {
    std::string node;
    std::string rule;  ///< `balanced`, `active-standby`, `administrator`, `rebalance 7`
    friend bool operator==(const Home&, const Home&) = default;
};

/// Homes of so many new accounts. Called inside the transaction that makes them, on a worker thread: a pure
/// function.
using Placer = std::function<std::vector<Home>(const Assignments&, std::size_t count)>;

/// Why a node may not take `count` more accounts that come from `from`; empty = it may. As a Placer.
using RoomCheck = std::function<std::string(const Assignments&, const std::string& from,
                                            const std::string& to, std::uint64_t count)>;

}  // namespace hexad

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hexad {

/// A node as a place for accounts.
struct Placement {
    std::string node;
    std::uint64_t assigned = 0;
    std::uint32_t capacity = 0;
};

/// Home nodes of `count` new accounts in mode *balanced*: each goes to the node with the lowest assigned ÷
/// capacity, ties by name. Empty where no node has room: never overload silently. A pure function.
///
///     place_balanced({{"n1", 0, 100}, {"n2", 0, 100}}, 3) == {"n1", "n2", "n1"}
std::vector<std::string> place_balanced(std::vector<Placement> nodes, std::size_t count);

}  // namespace hexad

#include "placement/placement.hpp"

#include <algorithm>

namespace hexad {

std::vector<std::string> place_balanced(std::vector<Placement> nodes, std::size_t count) {
    std::sort(nodes.begin(), nodes.end(),
              [](const Placement& a, const Placement& b) { return a.node < b.node; });
    std::vector<std::string> out;
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        Placement* best = nullptr;
        for (auto& n : nodes) {
            if (n.assigned >= n.capacity) continue;
            // a/b < c/d without rounding
            if (best == nullptr || n.assigned * best->capacity < best->assigned * n.capacity) best = &n;
        }
        out.push_back(best == nullptr ? std::string() : best->node);
        if (best != nullptr) ++best->assigned;
    }
    return out;
}

}  // namespace hexad

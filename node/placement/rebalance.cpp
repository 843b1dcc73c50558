#include "placement/rebalance.hpp"

#include <algorithm>
#include <map>

namespace hexad {

namespace {

struct Spot {
    GroupPlace* group;  ///< nullptr: a node that the configuration does not name
    NodePlace* node;

    bool takes() const { return group != nullptr && group->takes(*node); }
    bool gives() const {
        return node->assigned > node->pinned && (group == nullptr || group->mode != AssignmentMode::none);
    }
    /// One that nobody should have for a home.
    bool is_wrong() const { return !takes(); }
};

/// a/b < c/d without rounding; nothing is as full as what has no capacity.
bool emptier(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) { return a * d < c * b; }

bool may_move(const Spot& from, const Spot& to) {
    if (from.node == to.node || !to.takes() || to.node->assigned >= to.node->capacity) return false;
    if (from.group == nullptr) return to.group->has_room();
    if (from.group->mode != to.group->mode) return false;
    return from.group == to.group || to.group->has_room();
}

class Planner {
public:
    explicit Planner(const Places& places) : places_(places) {
        for (auto& g : places_.groups) {
            for (auto& n : g.nodes) spots_.push_back({&g, &n});
        }
        for (auto& n : places_.strangers) spots_.push_back({nullptr, &n});
        std::sort(spots_.begin(), spots_.end(),
                  [](const Spot& a, const Spot& b) { return a.node->node < b.node->node; });
    }

    /// Finds the one move that helps most and makes it; false if none helps.
    bool step() {
        const Spot *from = nullptr, *to = nullptr;
        for (const auto& a : spots_) {
            if (!a.gives()) continue;
            const auto* b = emptiest_for(a);
            if (b == nullptr || !helps(a, *b)) continue;
            if (from == nullptr || more_urgent(a, *from)) from = &a, to = b;
        }
        if (from == nullptr) return false;
        --from->node->assigned;
        ++to->node->assigned;
        ++flows_[{from->node->node, to->node->node}];
        return true;
    }

    RebalancePlan result() {
        RebalancePlan out;
        for (const auto& [ends, users] : flows_) out.flows.push_back({ends.first, ends.second, users});
        out.after = std::move(places_);
        return out;
    }

private:
    const Spot* emptiest_for(const Spot& from) const {
        const Spot* best = nullptr;
        for (const auto& spot : spots_) {
            if (!may_move(from, spot)) continue;
            if (best == nullptr ||
                emptier(spot.node->assigned, spot.node->capacity, best->node->assigned, best->node->capacity))
                best = &spot;
        }
        return best;
    }
    /// After it `to` is at most as full as `from`: no account goes forth and back.
    static bool helps(const Spot& from, const Spot& to) {
        if (from.is_wrong()) return true;
        return !emptier(from.node->assigned - 1, from.node->capacity, to.node->assigned + 1,
                        to.node->capacity);
    }
    static bool more_urgent(const Spot& a, const Spot& b) {
        if (a.is_wrong() != b.is_wrong()) return a.is_wrong();
        return emptier(b.node->assigned, b.node->capacity, a.node->assigned, a.node->capacity);
    }

    Places places_;
    std::vector<Spot> spots_;  ///< by name
    std::map<std::pair<std::string, std::string>, std::uint64_t> flows_;
};

}  // namespace

std::uint64_t RebalancePlan::moves() const {
    std::uint64_t sum = 0;
    for (const auto& flow : flows) sum += flow.users;
    return sum;
}

RebalancePlan plan_rebalance(const Places& places, std::uint64_t most) {
    Planner planner(places);
    while (most-- > 0 && planner.step()) {
    }
    return planner.result();
}

std::uint64_t imbalance(const Places& places) {
    std::uint64_t out = 0;
    for (const auto mode : {AssignmentMode::balanced, AssignmentMode::active_standby}) {
        std::uint64_t least = UINT64_MAX, most = 0;
        for (const auto& g : places.groups) {
            for (const auto& n : g.nodes) {
                if (g.mode != mode || !g.takes(n) || n.capacity == 0) continue;
                const auto percent = 100 * n.assigned / n.capacity;
                least = std::min(least, percent);
                most = std::max(most, percent);
            }
        }
        if (least != UINT64_MAX) out = std::max(out, most - least);
    }
    return out;
}

}  // namespace hexad

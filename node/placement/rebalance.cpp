#include "placement/rebalance.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace hexad {

namespace {

constexpr std::uint64_t users_per_room = 10;
/// A node is never full of rooms: only its share counts.
constexpr std::uint64_t more_than_enough = 1'000'000;

struct Spot {
    GroupPlace* group;  ///< nullptr: a node that the configuration does not name
    NodePlace* node;

    bool takes() const { return group != nullptr && group->takes(*node); }
    /// Whether those whom rules give to `ruled` ("" = no rule) are in another group.
    bool is_misplaced(const std::string& ruled) const {
        return group != nullptr && !ruled.empty() && ruled != group->name;
    }
    /// Those should not have it for a home.
    bool is_wrong(const std::string& ruled) const { return !takes() || is_misplaced(ruled); }
    const RuledPeople* find(const std::string& ruled) const {
        for (const auto& some : node->ruled) {
            if (some.group == ruled) return &some;
        }
        return nullptr;
    }
    /// How many of them a machine may move; whom no rule is for ("") are the rest.
    std::uint64_t movable(const std::string& ruled) const {
        if (!ruled.empty()) {
            const auto* some = find(ruled);
            return some == nullptr ? 0 : some->users - some->pinned;
        }
        auto count = node->assigned - node->pinned;
        for (const auto& some : node->ruled) count -= some.users - some.pinned;
        return count;
    }
    void add(const std::string& ruled, std::uint64_t users) {  // modulo 2^64: also takes away
        node->assigned += users;
        if (ruled.empty()) return;
        if (find(ruled) == nullptr) node->ruled.push_back({ruled, 0, 0, {}});
        for (auto& some : node->ruled) {
            if (some.group == ruled) some.users += users;
        }
    }
};

/// a/b < c/d without rounding; nothing is as full as what has no capacity.
bool emptier(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) { return a * d < c * b; }

bool may_move(const Spot& from, const std::string& ruled, const Spot& to) {
    if (from.node == to.node || !to.takes() || to.node->assigned >= to.node->capacity) return false;
    if (to.is_misplaced(ruled)) return false;
    if (from.group == nullptr || from.is_misplaced(ruled)) return to.group->has_room();
    if (from.group->mode != to.group->mode) return false;
    return from.group == to.group || to.group->has_room();
}

class Planner {
public:
    Planner(const Places& places, Misplaced misplaced) : places_(places), misplaced_(misplaced) {
        std::set<std::string> ruled{""};
        const auto take = [&](GroupPlace* group, NodePlace& node) {
            spots_.push_back({group, &node});
            for (const auto& some : node.ruled) {
                ruled.insert(some.group);
                rules_[{node.node, some.group}] = some.rules;
            }
        };
        for (auto& g : places_.groups) {
            for (auto& n : g.nodes) take(&g, n);
        }
        for (auto& n : places_.strangers) take(nullptr, n);
        ruled_.assign(ruled.begin(), ruled.end());
        std::sort(spots_.begin(), spots_.end(),
                  [](const Spot& a, const Spot& b) { return a.node->node < b.node->node; });
    }

    /// Finds the one move that helps most and makes it; false if none helps.
    bool step() {
        Spot *from = nullptr, *to = nullptr;
        const std::string* whom = nullptr;
        for (auto& a : spots_) {
            for (const auto& ruled : ruled_) {
                if (!gives(a, ruled)) continue;
                auto* b = emptiest_for(a, ruled);
                if (b == nullptr || !helps(a, ruled, *b)) continue;
                if (from == nullptr || more_urgent(a, ruled, *from, *whom)) from = &a, to = b, whom = &ruled;
            }
        }
        if (from == nullptr) return false;
        from->add(*whom, std::uint64_t{0} - 1);
        to->add(*whom, 1);
        ++flows_[{from->node->node, to->node->node, *whom}];
        return true;
    }

    RebalancePlan result() {
        RebalancePlan out;
        for (const auto& [ends, users] : flows_) {
            const auto& [from, to, ruled] = ends;
            Flow flow{from, to, users, ruled, {}};
            const auto* group = places_.group_of(from);
            if (!ruled.empty() && group != nullptr && group->name != ruled)
                flow.rules = rules_[{from, ruled}];
            out.flows.push_back(std::move(flow));
        }
        out.after = std::move(places_);
        return out;
    }

private:
    bool gives(const Spot& from, const std::string& ruled) const {
        if (from.movable(ruled) == 0 || (from.group != nullptr && from.group->mode == AssignmentMode::none))
            return false;
        return misplaced_ == Misplaced::go || !from.is_misplaced(ruled);
    }
    Spot* emptiest_for(const Spot& from, const std::string& ruled) {
        Spot* best = nullptr;
        for (auto& spot : spots_) {
            if (!may_move(from, ruled, spot)) continue;
            if (best == nullptr ||
                emptier(spot.node->assigned, spot.node->capacity, best->node->assigned, best->node->capacity))
                best = &spot;
        }
        return best;
    }
    /// After it `to` is at most as full as `from`: no account goes forth and back.
    static bool helps(const Spot& from, const std::string& ruled, const Spot& to) {
        if (from.is_wrong(ruled)) return true;
        return !emptier(from.node->assigned - 1, from.node->capacity, to.node->assigned + 1,
                        to.node->capacity);
    }
    static bool more_urgent(const Spot& a, const std::string& of_a, const Spot& b, const std::string& of_b) {
        if (a.is_wrong(of_a) != b.is_wrong(of_b)) return a.is_wrong(of_a);
        return emptier(b.node->assigned, b.node->capacity, a.node->assigned, a.node->capacity);
    }

    Places places_;
    Misplaced misplaced_;
    std::vector<Spot> spots_;         ///< by name
    std::vector<std::string> ruled_;  ///< groups that rules name here, and ""
    std::map<std::pair<std::string, std::string>, std::set<std::string>> rules_;  ///< by node and group
    std::map<std::tuple<std::string, std::string, std::string>, std::uint64_t> flows_;
};

}  // namespace

std::uint64_t RebalancePlan::moves() const {
    std::uint64_t sum = 0;
    for (const auto& flow : flows) sum += flow.users;
    return sum;
}

RebalancePlan plan_rebalance(const Places& places, std::uint64_t most, Misplaced misplaced) {
    Planner planner(places, misplaced);
    most = std::min(most, places.assigned());  // nobody moves twice
    while (most-- > 0 && planner.step()) {
    }
    return planner.result();
}

Places room_places(const Places& places, const std::map<std::string, std::uint64_t>& rooms) {
    Places out;
    out.limit = std::numeric_limits<std::uint64_t>::max();
    std::map<std::string, std::uint64_t> left = rooms;
    const auto take = [&left](const NodePlace& node) {
        NodePlace place{node.node, std::max<std::uint64_t>(1, node.capacity / users_per_room), 0};
        if (const auto it = left.find(node.node); it != left.end()) {
            place.assigned = it->second;
            left.erase(it);
        }
        return place;
    };
    for (const auto& group : places.groups) {
        GroupPlace one{group.name, group.mode, group.redundant, {}};
        for (const auto& node : group.nodes) one.nodes.push_back(take(node));
        out.groups.push_back(std::move(one));
    }
    for (const auto& [node, count] : left) {
        if (!node.empty()) out.strangers.push_back({node, 0, count});
    }
    return out;
}

RebalancePlan plan_rooms(const Places& places, const std::map<std::string, std::uint64_t>& rooms,
                         std::uint64_t most) {
    auto wide = room_places(places, rooms);
    for (auto& group : wide.groups) {
        for (auto& node : group.nodes) node.capacity *= more_than_enough;
    }
    auto plan = plan_rebalance(wide, most);
    for (auto& flow : plan.flows) flow.what = Homed::rooms;
    for (auto& group : plan.after.groups) {
        for (auto& node : group.nodes) node.capacity /= more_than_enough;
    }
    return plan;
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

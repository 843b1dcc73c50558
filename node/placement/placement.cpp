#include "placement/placement.hpp"

#include <algorithm>

namespace hexad {

std::string_view name_of(AssignmentMode mode) {
    switch (mode) {
        case AssignmentMode::balanced:
            return "balanced";
        case AssignmentMode::active_standby:
            return "active-standby";
        case AssignmentMode::none:
            break;
    }
    return "none";
}

AssignmentMode assignment_mode(std::string_view name) {
    if (name == "active-standby") return AssignmentMode::active_standby;
    return name == "none" ? AssignmentMode::none : AssignmentMode::balanced;
}

std::uint64_t GroupPlace::assigned() const {
    std::uint64_t sum = 0;
    for (const auto& n : nodes) sum += n.assigned;
    return sum;
}

std::uint64_t GroupPlace::capacity() const {
    std::uint64_t sum = 0, least = UINT64_MAX;
    for (const auto& n : nodes) {
        least = std::min(least, n.capacity);
        // The second node of active-standby adds redundancy, not room.
        if (mode != AssignmentMode::active_standby || &n == &nodes.front()) sum += n.capacity;
    }
    return redundant && !nodes.empty() ? least : sum;
}

bool GroupPlace::takes(const NodePlace& node) const {
    return mode == AssignmentMode::balanced ||
           (mode == AssignmentMode::active_standby && node.node == nodes.front().node);
}

std::uint64_t Places::assigned() const {
    std::uint64_t sum = 0;
    for (const auto& g : groups) sum += g.assigned();
    for (const auto& n : strangers) sum += n.assigned;
    return sum;
}

std::uint64_t Places::capacity() const {
    std::uint64_t sum = 0;
    for (const auto& g : groups) sum += g.capacity();
    return std::min(limit, sum);
}

const GroupPlace* Places::group_of(const std::string& node) const {
    for (const auto& g : groups) {
        for (const auto& n : g.nodes) {
            if (n.node == node) return &g;
        }
    }
    return nullptr;
}

bool is_redundant(const Config& config, const Assignments& now) {
    return now.high_availability.empty() ? config.high_availability : now.high_availability == "on";
}

Places places_of(const Config& config, const Assignments& now) {
    Places out;
    out.limit = config.placing.max_users;
    auto users = now.users;
    const auto take = [&users](const std::string& node) {
        const auto found = users.extract(node);
        return found.empty() ? std::uint64_t{0} : found.mapped();
    };
    out.unassigned = take("");
    for (const auto& group : config.groups) {
        GroupPlace one;
        one.name = group.name;
        one.mode = assignment_mode(config.assignment_of(group));
        one.redundant = group.nodes.size() == 2 && is_redundant(config, now);
        for (const auto& n : group.nodes) one.nodes.push_back({n.name, n.capacity, take(n.name), 0});
        out.groups.push_back(std::move(one));
    }
    for (const auto& [node, count] : users) out.strangers.push_back({node, 0, count, 0});
    return out;
}

std::uint64_t Places::misplaced() const {
    std::uint64_t sum = 0;
    for (const auto& g : groups) {
        for (const auto& n : g.nodes) {
            for (const auto& some : n.ruled) sum += some.group == g.name ? 0 : some.users;
        }
    }
    return sum;
}

Places places_of(const Config& config, const Assignments& now,
                 const std::vector<AssignmentStore::Load>& loads, const PlacementRules& rules) {
    auto out = places_of(config, now);
    std::map<std::string, NodePlace*> nodes;
    for (auto& g : out.groups) {
        for (auto& n : g.nodes) nodes[n.node] = &n;
    }
    for (auto& n : out.strangers) nodes[n.node] = &n;
    for (const auto& load : loads) {
        const auto* rule = rules.find(load.facts);
        const auto group = rule == nullptr ? std::string() : rule->group;
        if (load.node.empty()) out.waiting[group] += load.users;
        const auto node = nodes.find(load.node);
        if (node == nodes.end()) continue;
        node->second->pinned += load.pinned;
        if (rule == nullptr) continue;
        auto& ruled = node->second->ruled;
        auto some = std::find_if(ruled.begin(), ruled.end(),
                                 [&group](const RuledPeople& one) { return one.group == group; });
        if (some == ruled.end()) some = ruled.insert(ruled.end(), {group, 0, 0, {}});
        some->users += load.users;
        some->pinned += load.pinned;
        if (load.users > load.pinned) some->rules.insert(name_of(*rule));
    }
    return out;
}

std::vector<Home> place(Places places, std::size_t count) {
    return place(std::move(places), std::vector<const PlacementRule*>(count));
}

std::vector<Home> place(Places places, const std::vector<const PlacementRule*>& accounts) {
    struct Candidate {
        GroupPlace* group;
        NodePlace* node;
    };
    std::vector<Candidate> candidates;
    for (auto& g : places.groups) {
        for (auto& n : g.nodes) {
            if (g.takes(n)) candidates.push_back({&g, &n});
        }
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.node->node < b.node->node; });
    auto total = places.assigned();
    std::vector<Home> out(accounts.size());
    for (std::size_t i = 0; i < accounts.size() && total < places.limit; ++i) {
        const auto* rule = accounts[i];
        const Candidate* best = nullptr;
        for (const auto& c : candidates) {
            if (rule != nullptr && c.group->name != rule->group) continue;
            if (c.node->assigned >= c.node->capacity || !c.group->has_room()) continue;
            // a/b < c/d without rounding
            if (best == nullptr ||
                c.node->assigned * best->node->capacity < best->node->assigned * c.node->capacity)
                best = &c;
        }
        if (best == nullptr) continue;
        out[i] = {best->node->node, std::string(name_of(best->group->mode))};
        if (rule != nullptr) out[i].rule += "; " + name_of(*rule);
        ++best->node->assigned;
        ++total;
    }
    return out;
}

WaitingForRoom waiting_for_room(const Places& places) {
    WaitingForRoom out;
    for (const auto& [group, users] : places.waiting) {
        PlacementRule rule;
        rule.group = group;
        const auto home = place(places, {group.empty() ? nullptr : &rule}).front();
        const bool is_by_hand =
            std::all_of(places.groups.begin(), places.groups.end(), [&name = group](const GroupPlace& one) {
                return one.mode == AssignmentMode::none || (!name.empty() && one.name != name);
            });
        if (!home.node.empty()) {
            out.somebody_fits = true;
        } else if (!is_by_hand) {
            out.users += users;
            if (!group.empty()) out.groups.push_back(group);
        }
    }
    return out;
}

Placer placer_of(const Config& config) {
    return [&config, rules = PlacementRules(config.placement)](const Assignments& now,
                                                               const std::vector<PlacingFacts>& accounts) {
        std::vector<const PlacementRule*> ruled;
        for (const auto& facts : accounts) ruled.push_back(rules.find(facts));
        return place(places_of(config, now), ruled);
    };
}

std::string overload(const Places& places, const std::string& from, const std::string& to,
                     std::uint64_t count) {
    const auto* group = places.group_of(to);
    if (group == nullptr) return "there is no node " + to;
    const auto full = [](const std::string& what, std::uint64_t has, std::uint64_t capacity) {
        return what + " has " + std::to_string(has) + " users and carries " + std::to_string(capacity);
    };
    for (const auto& n : group->nodes) {
        if (n.node == to && n.assigned + count > n.capacity)
            return full("node " + to, n.assigned, n.capacity);
    }
    const bool stays = places.group_of(from) == group;
    if (!stays && group->assigned() + count > group->capacity())
        return full("group " + group->name, group->assigned(), group->capacity());
    if (from.empty() && places.assigned() + count > places.limit)
        return full("the cluster", places.assigned(), places.limit);
    return {};
}

RoomCheck room_check_of(const Config& config) {
    return [&config](const Assignments& now, const std::string& from, const std::string& to,
                     std::uint64_t count) { return overload(places_of(config, now), from, to, count); };
}

}  // namespace hexad

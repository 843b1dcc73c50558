#include "placement/capacity.hpp"

#include <algorithm>

namespace hexad {

namespace {

std::uint64_t sessions_at(const SessionCounts& sessions, const std::string& node) {
    const auto found = sessions.find(node);
    return found == sessions.end() ? 0 : found->second;
}

std::uint64_t sessions_of(const GroupPlace& group, const SessionCounts& sessions) {
    std::uint64_t sum = 0;
    for (const auto& n : group.nodes) sum += sessions_at(sessions, n.node);
    return sum;
}

}  // namespace

std::uint64_t session_limit(const SessionShare& share) {
    if (share.peer_capacity == 0) return session_capacity(share.capacity);
    const auto group = session_capacity(std::min(share.capacity, share.peer_capacity));
    if (share.alone) return group;
    return std::max(group / 2, group - std::min(group, share.peer_sessions));
}

std::vector<Fill> fills(const Places& places, const SessionCounts& sessions) {
    std::vector<Fill> out;
    const auto add = [&out](const std::string& what, std::uint64_t users, std::uint64_t devices,
                            std::uint64_t capacity) {
        out.push_back({what, "users", users, capacity});
        out.push_back({what, "sessions", devices, session_capacity(capacity)});
    };
    for (const auto& g : places.groups) {
        add("group " + g.name, g.assigned(), sessions_of(g, sessions), g.capacity());
        if (g.redundant || g.nodes.size() < 2) continue;
        for (const auto& n : g.nodes)
            add("node " + n.node, n.assigned, sessions_at(sessions, n.node), n.capacity);
    }
    out.push_back({"cluster", "users", places.assigned(), places.capacity()});
    return out;
}

std::string too_full_for_one(const GroupPlace& group, const SessionCounts& sessions) {
    if (!group.redundant) return {};
    const auto capacity = group.capacity();
    const auto too_many = [&group](std::uint64_t has, const char* what, std::uint64_t carries) {
        return "group " + group.name + " has " + std::to_string(has) + ' ' + what + ", one node carries " +
               std::to_string(carries);
    };
    if (group.assigned() > capacity) return too_many(group.assigned(), "users", capacity);
    const auto devices = sessions_of(group, sessions);
    if (devices > session_capacity(capacity))
        return too_many(devices, "sessions", session_capacity(capacity));
    return {};
}

LastingAlarm::Change LastingAlarm::look(bool condition, SteadyClock::time_point now, milliseconds after) {
    if (!condition) {
        const bool was_raised = raised_;
        reset();
        return was_raised ? Change::over : Change::none;
    }
    if (!holds_) since_ = now;
    holds_ = true;
    if (raised_ || now - since_ < after) return Change::none;
    raised_ = true;
    return Change::raised;
}

}  // namespace hexad

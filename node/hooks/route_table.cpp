#include "hooks/route_table.hpp"

#include <algorithm>

namespace hexad {

const Route* RouteTable::find(const Jid& bare) const {
    const auto it = routes_.find(bare);
    return it == routes_.end() ? nullptr : &it->second;
}

const RouteEntry* RouteTable::find_session(const Jid& full) const {
    const auto* route = find(full.bare());
    if (route == nullptr) return nullptr;
    for (const auto& entry : route->sessions) {
        if (entry.jid == full) return &entry;
    }
    return nullptr;
}

const RouteEntry* RouteTable::find_sid(const Jid& bare, std::string_view sid) const {
    const auto* route = find(bare);
    if (route == nullptr) return nullptr;
    for (const auto& entry : route->sessions) {
        if (entry.sid == sid) return &entry;
    }
    return nullptr;
}

std::uint64_t RouteTable::version_of(const Jid& bare) const {
    const auto* route = find(bare);
    return route == nullptr ? 0 : route->version;
}

void RouteTable::apply(const RouteChange& change) {
    if (change.ended) {
        const auto it = routes_.find(change.account);
        if (it == routes_.end()) return;
        auto& sessions = it->second.sessions;
        sessions_ -= std::erase_if(sessions, [&](const RouteEntry& e) { return e.sid == change.entry.sid; });
        ++it->second.version;
        if (sessions.empty()) routes_.erase(it);
        return;
    }
    auto& route = routes_[change.account];
    if (change.moves_version) ++route.version;
    const auto it = std::find_if(route.sessions.begin(), route.sessions.end(),
                                 [&](const RouteEntry& e) { return e.sid == change.entry.sid; });
    if (it != route.sessions.end()) {
        *it = change.entry;
    } else {
        route.sessions.push_back(change.entry);
        ++sessions_;
    }
}

void RouteTable::set_version(const Jid& bare, std::uint64_t version) {
    const auto it = routes_.find(bare);
    if (it != routes_.end()) it->second.version = version;
}

void RouteTable::for_each(const std::function<void(const Jid&, const Route&)>& visit) const {
    for (const auto& [jid, route] : routes_) visit(jid, route);
}

void RouteTable::clear() {
    routes_.clear();
    sessions_ = 0;
}

}  // namespace hexad

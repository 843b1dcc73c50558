#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/batch.hpp"

namespace hexad {

/// What a target has taken of each source: the highest n · 4096 + sub. An origin at or below it is a repeat.
class Origins {
public:
    static std::uint64_t value_of(const Origin& origin) { return origin.n * 4096 + origin.sub; }
    bool has(const Origin& origin) const {
        const auto it = highest_.find(origin.source);
        return !origin.source.empty() && it != highest_.end() && value_of(origin) <= it->second;
    }
    void take(const Origin& origin) {
        if (!origin.source.empty()) raise(origin.source, value_of(origin));
    }
    void raise(const std::string& source, std::uint64_t value) {
        auto& highest = highest_[source];
        if (value > highest) highest = value;
    }
    const std::unordered_map<std::string, std::uint64_t>& all() const { return highest_; }

private:
    std::unordered_map<std::string, std::uint64_t> highest_;
};

/// A session as its carrier knows it, for a state store that lost it (docs/delivery.md, "Redis or PostgreSQL
/// away").
struct CarriedSession {
    SessionRecord record;  ///< `in`: what is counted, and what was delivered while the store was away
    std::vector<LogEntry> entries;  ///< not acknowledged; `number` = the one committed, 0 = none
    std::vector<LogEntry> held;     ///< waiting behind the login backlog, in order
    Origins origins;
    std::uint64_t filled = 0;
    RouteEntry route;
};

/// Where a room lives, as its row said it: of two such rows the later one has the higher (id, epoch).
struct RoomHome {
    std::string node;
    RoomId id = 0;  ///< 0: there is no row
    std::uint64_t epoch = 0;
};

/// A room as its owner knows it.
struct CarriedRoom {
    Jid room;
    RoomHome home;
    std::uint64_t position = 0;  ///< of the last input whose effects are safe
    std::vector<OccupantPut> occupants;
    Origins origins;  ///< of all inputs that the owner has
    std::vector<std::pair<std::uint64_t, RoomInput>>
        inputs;  ///< behind `position`, by position; one that was announced to another node is missing
    bool former = false;  ///< from before the room went to another node, which may not have read it yet
};

}  // namespace hexad

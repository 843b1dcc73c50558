#pragma once

#include <string>
#include <unordered_map>

#include "base/clock.hpp"

namespace hexad {

/// Which clients were sent to another node lately, so that nobody goes round in circles: a client is sent
/// once; if it comes back within a minute it cannot follow, and is left where it is for an hour. The clock is
/// given.
class Redirects {
public:
    /// Whether this client may be sent on now; remembers that it was. `client`: whatever tells it from
    /// others.
    bool may_send(const std::string& client, SteadyClock::time_point now);
    std::size_t size() const { return known_.size(); }

private:
    struct Known {
        SteadyClock::time_point at;
        bool came_back = false;
    };
    void forget_old(SteadyClock::time_point now);

    std::unordered_map<std::string, Known> known_;
    SteadyClock::time_point next_forgetting_{};
};

}  // namespace hexad

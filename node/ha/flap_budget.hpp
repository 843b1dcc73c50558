#pragma once

#include <deque>

#include "base/clock.hpp"

namespace hexad {

/// Automatic moves of one node within the last hour, so that a node that comes and goes does not drag its
/// users along each time.
class FlapBudget {
public:
    explicit FlapBudget(std::size_t moves_per_hour) : limit_(moves_per_hour) {}

    void spend(SteadyClock::time_point now) { moves_.push_back(now); }
    bool left(SteadyClock::time_point now) {
        while (!moves_.empty() && now - moves_.front() >= std::chrono::hours(1)) moves_.pop_front();
        return moves_.size() < limit_;
    }
    /// An administrator took over: counting starts anew.
    void reset() { moves_.clear(); }
    std::size_t spent() const { return moves_.size(); }

private:
    std::size_t limit_;
    std::deque<SteadyClock::time_point> moves_;
};

}  // namespace hexad

#pragma once

#include <algorithm>

#include "base/clock.hpp"

namespace hexad {

/// So many a second, and as many at once as come together in a second of quiet. A plain value; the clock is
/// given.
///
///     TokenBucket(2.0): two at once, then one each half second
class TokenBucket {
public:
    explicit TokenBucket(double per_second)
        : per_second_(per_second), most_(std::max(1.0, per_second)), tokens_(most_) {}

    bool take(SteadyClock::time_point now) {
        fill(now);
        if (tokens_ < 1) return false;
        tokens_ -= 1;
        return true;
    }
    /// When `take` will succeed, if nobody else takes one before.
    SteadyClock::time_point next(SteadyClock::time_point now) {
        fill(now);
        if (tokens_ >= 1) return now;
        const std::chrono::duration<double> missing((1 - tokens_) / per_second_);
        // Rounded up, or a caller that wakes at this instant would find it a nanosecond early.
        return now + std::chrono::ceil<SteadyClock::duration>(missing) + std::chrono::microseconds(1);
    }
    double per_second() const { return per_second_; }

private:
    void fill(SteadyClock::time_point now) {
        if (filled_ != SteadyClock::time_point{} && now > filled_)
            tokens_ =
                std::min(most_, tokens_ + per_second_ * std::chrono::duration<double>(now - filled_).count());
        filled_ = std::max(filled_, now);
    }

    double per_second_, most_, tokens_;
    SteadyClock::time_point filled_{};
};

}  // namespace hexad

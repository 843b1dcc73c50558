#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/token_bucket.hpp"

namespace hexad {

/// Who waits for a token of one bucket, first come first served. No clock, no I/O: the caller looks when
/// `next_look` says.
class AdmissionLine {
public:
    using Time = SteadyClock::time_point;
    using Ticket = std::uint64_t;
    enum class Call { enters, too_long, gone };

    explicit AdmissionLine(double per_second) : bucket_(per_second) {}

    /// Whether somebody who comes now goes straight on: nobody waits, and there is a token.
    bool passes(Time now) { return waiting_.empty() && bucket_.take(now); }
    Ticket stand(Time give_up);
    void leave(Ticket ticket);

    /// Whose turn it is, at most `places` of them, and who has waited too long. Who is gone leaves without a
    /// token: of clients that give up and come again, each would else cost two.
    std::vector<std::pair<Ticket, Call>> call(Time now, const std::function<bool(Ticket)>& is_gone,
                                              std::size_t places = std::numeric_limits<std::size_t>::max());
    Time next_look(Time now);
    std::size_t size() const { return waiting_.size(); }
    double per_second() const { return bucket_.per_second(); }

private:
    TokenBucket bucket_;
    std::map<Ticket, Time> waiting_;            ///< until when
    std::set<std::pair<Time, Ticket>> limits_;  ///< the same, the next one first
    Ticket last_ = 0;
};

}  // namespace hexad

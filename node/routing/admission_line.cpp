#include "routing/admission_line.hpp"

namespace hexad {

AdmissionLine::Ticket AdmissionLine::stand(Time give_up) {
    waiting_[++last_] = give_up;
    limits_.insert({give_up, last_});
    return last_;
}

void AdmissionLine::leave(Ticket ticket) {
    const auto it = waiting_.find(ticket);
    if (it == waiting_.end()) return;
    limits_.erase({it->second, ticket});
    waiting_.erase(it);
}

std::vector<std::pair<AdmissionLine::Ticket, AdmissionLine::Call>> AdmissionLine::call(
    Time now, const std::function<bool(Ticket)>& is_gone, std::size_t places) {
    std::vector<std::pair<Ticket, Call>> out;
    while (!limits_.empty() && limits_.begin()->first <= now) {
        const auto ticket = limits_.begin()->second;
        leave(ticket);
        out.emplace_back(ticket, Call::too_long);
    }
    while (!waiting_.empty()) {
        const auto ticket = waiting_.begin()->first;
        const bool gone = is_gone(ticket);
        if (!gone && (places == 0 || !bucket_.take(now))) break;
        if (!gone) --places;
        leave(ticket);
        out.emplace_back(ticket, gone ? Call::gone : Call::enters);
    }
    return out;
}

AdmissionLine::Time AdmissionLine::next_look(Time now) {
    if (waiting_.empty()) return Time::max();
    return std::min(bucket_.next(now), limits_.begin()->first);
}

}  // namespace hexad

#include "net/redirects.hpp"

namespace hexad {

namespace {

constexpr std::chrono::minutes once_in{1};
constexpr std::chrono::hours left_alone{1};

}  // namespace

bool Redirects::may_send(const std::string& client, SteadyClock::time_point now) {
    forget_old(now);
    const auto [it, is_new] = known_.try_emplace(client, Known{now});
    auto& known = it->second;
    if (is_new) return true;
    if (known.came_back && now - known.at < left_alone) return false;
    known.came_back = now - known.at < once_in;
    known.at = now;
    return !known.came_back;
}

void Redirects::forget_old(SteadyClock::time_point now) {
    if (now < next_forgetting_) return;
    next_forgetting_ = now + once_in;
    std::erase_if(known_, [now](const auto& entry) {
        const auto age = now - entry.second.at;
        return entry.second.came_back ? age >= left_alone : age >= once_in;
    });
}

}  // namespace hexad

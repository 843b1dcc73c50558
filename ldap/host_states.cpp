#include "ldap/host_states.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace hexad::ldap {

HostStates::HostStates(std::string directory, const std::vector<std::string>& hosts, milliseconds pause)
    : directory_(std::move(directory)), names_(hosts), pause_(pause), states_(hosts.size()) {
    for (std::size_t at = 0; at < hosts.size(); ++at) states_[at].health.host = hosts[at];
}

std::optional<std::size_t> HostStates::next(std::size_t from, SteadyClock::time_point now) const {
    const std::scoped_lock lock(mutex_);
    for (std::size_t at = from; at < states_.size(); ++at)
        if (states_[at].open_until <= now) return at;
    return std::nullopt;
}

void HostStates::succeeded(std::size_t index, milliseconds latency) {
    const std::scoped_lock lock(mutex_);
    auto& state = states_[index];
    state.health.latency = latency;
    state.open_until = {};
    if (state.health.is_up) return;
    const bool was_all_down =
        std::none_of(states_.begin(), states_.end(), [](const State& one) { return one.health.is_up; });
    state.health.is_up = true;
    state.health.reason.clear();
    log_info("directory_host_up", {{"directory", directory_}, {"host", state.health.host}});
    if (was_all_down) log_info("directory_up", {{"directory", directory_}});
}

void HostStates::failed(std::size_t index, const std::string& reason, SteadyClock::time_point now) {
    const std::scoped_lock lock(mutex_);
    auto& state = states_[index];
    ++state.health.failures;
    state.health.reason = reason;
    state.open_until = now + pause_;
    if (!state.health.is_up) return;
    state.health.is_up = false;
    log_warn("directory_host_down",
             {{"directory", directory_}, {"host", state.health.host}, {"error", reason}});
    if (std::none_of(states_.begin(), states_.end(), [](const State& one) { return one.health.is_up; }))
        log_error("directory_down", {{"directory", directory_}});
}

std::vector<HostHealth> HostStates::health() const {
    const std::scoped_lock lock(mutex_);
    std::vector<HostHealth> result;
    for (const auto& state : states_) result.push_back(state.health);
    return result;
}

}  // namespace hexad::ldap

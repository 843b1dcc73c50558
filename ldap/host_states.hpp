#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace hexad::ldap {

/// How a host of a directory is doing.
struct HostHealth {
    std::string host;
    bool is_up = true;
    std::string reason;          ///< of the last failure
    std::uint64_t failures = 0;  ///< since the start
    milliseconds latency{0};     ///< of the last answer
};

/// The circuit breakers of a directory's hosts, shared by the threads that talk to it. A host that fails is
/// left alone for a while; a success, a probe's too, closes its breaker at once. Safe from any thread.
class HostStates {
public:
    HostStates(std::string directory, const std::vector<std::string>& hosts, milliseconds pause);

    /// The first host in order whose breaker is closed, from index `from` on.
    std::optional<std::size_t> next(std::size_t from, SteadyClock::time_point now) const;
    const std::string& host(std::size_t index) const { return names_[index]; }
    std::size_t size() const { return names_.size(); }

    /// Report an answer or a failure. Logs `directory_host_up`/`_down` and, for all hosts,
    /// `directory_up`/`_down`.
    void succeeded(std::size_t index, milliseconds latency);
    void failed(std::size_t index, const std::string& reason, SteadyClock::time_point now);

    std::vector<HostHealth> health() const;

private:
    struct State {
        HostHealth health;
        SteadyClock::time_point open_until{};
    };
    const std::string directory_;
    const std::vector<std::string> names_;
    const milliseconds pause_;
    mutable std::mutex mutex_;
    std::vector<State> states_;
};

}  // namespace hexad::ldap

#pragma once

#include <atomic>

#include "base/config.hpp"
#include "sync-agent/mirror.hpp"

namespace hexad::sync {

/// The directory agent: holds the lease or waits for it, and runs the agreements in turn: read → stage → diff
/// → check → apply → publish (docs/directory.md). Blocking; one thread.
class Agent {
public:
    Agent(const Config& config, std::string holder);
    /// Until `stop` becomes true.
    void run(const std::atomic<bool>& stop);

private:
    void run_agreement(const AgreementConfig& agreement, bool full);
    bool due(const AgreementConfig& agreement, bool& full);
    std::vector<Placement> places();

    const Config& config_;
    Mirror mirror_;
    std::map<std::string, SteadyClock::time_point> last_run_;
    std::map<std::string, milliseconds> pause_;
    SteadyClock::time_point renewed_{};
};

}  // namespace hexad::sync

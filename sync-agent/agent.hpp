#pragma once

#include <atomic>
#include <map>
#include <string>

#include "base/config.hpp"
#include "sync-agent/lease.hpp"
#include "sync-agent/reader.hpp"
#include "sync-agent/records.hpp"

namespace hexad::sync {

/// The directory agent: while it holds the lease it runs the agreements in turn (read → diff → check → apply
/// → publish, docs/directory.md) and does what administrators ask. Blocking; one thread besides the lease's.
class Agent {
public:
    Agent(const Config& config, const std::string& holder);
    /// Until `stop` becomes true.
    void run(const std::atomic<bool>& stop);

private:
    struct Prepared {
        State state;
        Reading reading;
        Plan plan;
        std::string capabilities;
    };
    bool due(const AgreementConfig& agreement, bool& full);
    /// Reads and plans; nothing, and `error`, if the directory cannot be asked.
    std::optional<Prepared> prepare(const AgreementConfig& agreement, bool full, std::string& error);
    Run run_agreement(const AgreementConfig& agreement, bool full);
    void serve(const Request& request);
    boost::json::object plan_of(const AgreementConfig& agreement, int& status);

    const Config& config_;
    GuardedStore store_;
    Mirror mirror_;
    Records records_;
    PlacementRules rules_;
    Reader reader_;
    std::map<std::string, SteadyClock::time_point> last_run_;
    std::map<std::string, milliseconds> pause_;
    Lease lease_;
};

}  // namespace hexad::sync

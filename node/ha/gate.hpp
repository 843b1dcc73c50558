#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace hexad {

/// What client service waits for when a node starts (docs/redundancy-groups.md, "The gate"). Once passed it
/// stays open for the life of the process. No clock, no I/O.
class Gate {
public:
    struct Conditions {
        bool store = false;        ///< the data base answers
        bool standby = false;      ///< … but it is in recovery: nothing can be written
        bool state_store = false;  ///< Redis can be acted on, the lease is held
        bool versions = true;      ///< it can read what the others write
        bool replica = false;      ///< this node has read all routes
        /// Agreements that no run of the directory agent has read completely, ever.
        std::vector<std::string> never_synced;
        /// Whether this node is the one that waits for them; not known at first.
        std::optional<bool> bootstrap;
        bool overridden = false;  ///< an administrator said so, and his time is not over
    };
    enum class Tells { nothing, waiting, timeout, overridden };
    struct Look {
        Tells tells = Tells::nothing;  ///< what is worth an event now
        std::string reason;            ///< what is waited for, or what was gone without
    };

    Gate(milliseconds timeout, SteadyClock::time_point now) : timeout_(timeout), began_(now) {}

    Look look(const Conditions& conditions, SteadyClock::time_point now);
    bool passed() const { return passed_; }
    /// Empty: passed.
    const std::string& reason() const { return reason_; }
    milliseconds waited(SteadyClock::time_point now) const {
        return std::chrono::duration_cast<milliseconds>(now - began_);
    }

private:
    milliseconds timeout_;
    SteadyClock::time_point began_;
    bool passed_ = false;
    std::string reason_ = "store";
    std::string told_;  ///< the reason that was told last
    SteadyClock::time_point told_at_{};
};

}  // namespace hexad

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace hexad {

/// Something that happened to a redundancy group (docs/redundancy-groups.md).
struct HaEvent {
    std::uint64_t id = 0;  ///< rising; given by the store
    Timestamp at;
    std::string node;    ///< who tells it
    std::string kind;    ///< `HaStateChanged`, …
    std::string fields;  ///< a JSON object
};

/// What redundancy groups keep in the store besides the partitions' epochs: the administrator's holds, the
/// switch of high availability, the events. Protocol thread. Errors: `StorageError::unavailable`.
class RedundancyStore {
public:
    virtual ~RedundancyStore() = default;
    struct Settings {
        bool high_availability = true;  ///< as configured unless an administrator changed it
        bool changed = false;           ///< … which he did
        std::vector<std::string> held;  ///< home nodes
        /// Nodes that an administrator lets in clients before their gate would, and until when.
        std::map<std::string, Timestamp> gate_overrides;
    };
    virtual awaitable<Result<Settings>> settings() = 0;
    /// The data base as this node's connection sees it.
    struct Health {
        int schema = 0, wanted_schema = 0;  ///< number of the last migration: applied, known to this version
        bool standby = false;               ///< connected to a server in recovery: nothing can be written
        std::optional<milliseconds> lag;    ///< of that server behind its primary
        struct Replica {
            std::string name, state;  ///< as in pg_stat_replication: `streaming`, `catchup`, …
            bool synchronous = false;
            milliseconds lag{0};  ///< until what is committed is replayed there
        };
        std::vector<Replica> replicas;  ///< that this server feeds
    };
    virtual awaitable<Result<Health>> health() = 0;
    /// Of these agreements, those that the directory agent has not read completely even once.
    virtual awaitable<Result<std::vector<std::string>>> never_synced(std::vector<std::string> agreements) = 0;
    /// Offline messages of an account that wait, or that a session took and has not got yet.
    struct Waiting {
        std::string account;  ///< bare JID
        std::string sid;      ///< empty: nobody took them
        std::uint64_t rows = 0;
    };
    virtual awaitable<Result<std::vector<Waiting>>> offline_waiting() = 0;
    /// Rooms whose archive misses a number of their history, each with what there is.
    virtual awaitable<Result<std::map<std::string, std::string>>> history_holes() = 0;
    virtual awaitable<Result<bool>> set_hold(std::string home, bool held) = 0;
    virtual awaitable<Result<bool>> set_high_availability(bool on) = 0;
    virtual awaitable<Result<bool>> set_gate_override(std::string node, Timestamp until) = 0;
    /// Appends; of all events the last 10,000 are kept.
    virtual awaitable<Result<bool>> add_events(std::vector<HaEvent> events) = 0;
    /// After `after`, oldest first; `after` = 0: the last ones. `kind` empty: all.
    virtual awaitable<Result<std::vector<HaEvent>>> events(std::uint64_t after, std::string kind,
                                                           std::size_t limit) = 0;
};

}  // namespace hexad

#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "base/ids.hpp"
#include "sync-agent/mapping.hpp"

namespace hexad::sync {

/// State of a mirrored person (docs/directory.md). Numbers as in the store, AccountState.
enum class MirrorState { active = 0, disabled = 1, missing = 2, deactivated = 3 };

/// A row of the mirror.
struct Mirrored {
    std::string uuid;
    AccountId account = 0;
    std::string localpart;
    std::string hash;
    MirrorState state = MirrorState::active;
    std::int64_t missing_since = 0;  ///< microseconds
    int missed = 0;                  ///< complete reads without it
};

/// What a run will do, decided before anything is done.
struct Plan {
    std::vector<Person> add;
    std::vector<std::pair<Mirrored, Person>> update;  ///< changed, or back
    std::vector<std::pair<Mirrored, Person>> disable;
    std::vector<Mirrored> miss;        ///< seen no more: one read longer
    std::vector<Mirrored> deactivate;  ///< missing long enough
    std::vector<Skipped> skipped;
    bool complete = false;
    /// Why removals and disables wait for a person to approve them; empty = they are applied.
    std::string held;
    std::vector<std::string> held_users;
};

/// Pure: the people read, the mirror as it is, what the last complete read counted, the time now
/// (microseconds). `full`: everything was asked for; only a complete full read may remove anybody, and zero
/// people never do.
Plan make_plan(const std::vector<Person>& people, const std::map<std::string, Mirrored>& mirror, bool full,
               bool complete, std::size_t last_count, std::int64_t now, const SyncConfig& config);

}  // namespace hexad::sync

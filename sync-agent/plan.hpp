#pragma once

#include <map>
#include <set>
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

/// What a read of the directory found.
struct Reading {
    bool full = false;      ///< everything was asked for, not only what changed
    bool complete = false;  ///< every page came, no limit, nothing referred elsewhere
    std::string fault;      ///< why it is not complete
    std::string reader;     ///< paged, syncrepl or modifyTimestamp
    std::vector<Person> people;
    std::vector<Skipped> skipped;
    std::set<std::string> present;  ///< told to be there, unchanged (RFC 4533)
    std::set<std::string> deleted;  ///< told to be gone (RFC 4533)
    bool unmentioned_are_gone = false;
    std::string mark;    ///< for the next incremental read by modifyTimestamp
    std::string cookie;  ///< for the next one by content synchronisation; hex, empty = none
};

/// A person whose removal or disabling waits for a decision.
struct HeldItem {
    Mirrored row;
    MirrorState action = MirrorState::missing;
};

/// What a run will do, decided before anything is done.
struct Plan {
    std::vector<Person> add;
    std::vector<std::pair<Mirrored, Person>> update;  ///< changed, or back
    std::vector<std::pair<Mirrored, Person>> disable;
    std::vector<Mirrored> miss;        ///< seen no more, or one read longer
    std::vector<Mirrored> deactivate;  ///< missing long enough
    std::vector<Skipped> skipped;
    std::size_t newly_missing = 0;  ///< of `miss`
    bool complete = false;
    /// Why removals and disables wait for a person to approve them; empty = they are applied.
    std::string held;
    std::vector<HeldItem> held_items;
};

/// What earlier full reads found.
struct Past {
    std::size_t last_count = 0;     ///< people in the last one that was not held; 0 = none yet
    bool settings_changed = false;  ///< base, filter or name attribute are not those of that read
    std::set<std::string> waiting;  ///< ids that wait for a decision
};

/// Pure: what was read, the mirror as it is, the past, the time now (microseconds). Only a complete read may
/// remove anybody, and one that found nobody never does.
Plan make_plan(const Reading& reading, const std::map<std::string, Mirrored>& mirror, const Past& past,
               std::int64_t now, const SyncConfig& config);

}  // namespace hexad::sync

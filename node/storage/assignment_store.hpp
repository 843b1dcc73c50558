#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"
#include "storage/placing.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// One rebalancing (docs/assignment.md), asked for or begun by itself.
struct RebalanceRun {
    struct Flow {
        std::string from, to;
        std::uint64_t planned = 0, moved = 0;
        std::string group;           ///< of those whom a placement rule gives to it; empty: whom no rule fits
        std::string what = "users";  ///< or `rooms`
    };
    std::int64_t id = 0;
    std::string cause;   ///< `apply`, `auto`
    std::string state;   ///< `running`, `done`, `stopped`
    std::string reason;  ///< why it stopped
    double rate = 0;     ///< accounts a second
    Timestamp started, ended;
    std::uint64_t sessions = 0;  ///< clients that were sent to their new home node
    std::vector<Flow> flows;

    std::uint64_t planned() const {
        std::uint64_t sum = 0;
        for (const auto& flow : flows) sum += flow.planned;
        return sum;
    }
    std::uint64_t moved() const {
        std::uint64_t sum = 0;
        for (const auto& flow : flows) sum += flow.moved;
        return sum;
    }
};

/// Home nodes of accounts that exist, in the store of a cluster. Each change raises the account's generation,
/// is told to all nodes in the same transaction (`account_event`), and excludes every other assignment while
/// it is decided. Protocol thread. Errors: StorageError.
class AssignmentStore {
public:
    virtual ~AssignmentStore() = default;

    /// The accounts of one home node ("" = unassigned) that are the same to placement rules.
    struct Load {
        std::string node;
        PlacingFacts facts;
        std::uint64_t users = 0, pinned = 0;
    };
    virtual awaitable<Result<std::vector<Load>>> loads() = 0;

    struct SetHome {
        AccountId account = 0;
        std::string node;
        bool pin = false;
    };
    /// By an administrator. Empty, or why not.
    virtual awaitable<Result<std::string>> set_home(SetHome wanted, RoomCheck check) = 0;
    virtual awaitable<Result<bool>> clear_pin(AccountId account) = 0;

    struct Moved {
        Jid account;
        std::string to;
    };
    /// Gives unassigned accounts, oldest first, a home node where there is room for them.
    virtual awaitable<Result<std::vector<Moved>>> place_unassigned(std::size_t most) = 0;

    /// Holds a job of the cluster for so long from now; false while another node does.
    virtual awaitable<Result<bool>> hold_job(std::string name, std::string holder, milliseconds time) = 0;

    /// The number of the run; 0 if another one runs.
    virtual awaitable<Result<std::int64_t>> start_run(RebalanceRun wanted) = 0;
    /// Newest first.
    virtual awaitable<Result<std::vector<RebalanceRun>>> runs(std::size_t most) = 0;
    /// False if it does not run any more.
    virtual awaitable<Result<bool>> end_run(std::int64_t id, std::string state, std::string reason,
                                            std::uint64_t sessions) = 0;

    struct MoveSome {
        std::int64_t run = 0;
        std::string holder;  ///< of the job `assignment`; nobody else moves
        std::string from, to;
        std::uint64_t count = 0;
        std::string group;                              ///< of the flow
        std::function<bool(const PlacingFacts&)> whom;  ///< as a Placer; empty: all
    };
    struct MovedSome {
        std::vector<Moved> moved;  ///< fewer than asked for: nobody is left who may be moved
        std::string refused;       ///< why nothing was moved
    };
    virtual awaitable<Result<MovedSome>> move_some(MoveSome wanted, RoomCheck check) = 0;
};

}  // namespace hexad

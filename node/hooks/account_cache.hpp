#pragma once

#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace hexad {

using AccountPtr = std::shared_ptr<AccountData>;

/// The accounts that this node has in memory, and who watches whom. Protocol thread.
///
/// An account stays as long as somebody holds it (a session does) and some time longer, up to `capacity`
/// accounts that nobody holds. `watchers` answers "which accounts in memory have a subscription to this
/// contact's presence".
class AccountCache {
public:
    AccountCache(Store& store, std::size_t capacity) : store_(store), capacity_(capacity) {}

    /// The account if it is in memory; nullptr also for one known not to exist (see `known_missing`).
    AccountPtr find(const Jid& bare);
    bool known_missing(const Jid& bare) const;
    /// In memory and not stale, or known not to exist: a decision about it need not wait.
    bool is_loaded(const Jid& bare) {
        return (find(bare) != nullptr && !stale_.contains(bare)) || known_missing(bare);
    }
    /// Another node has changed the account: what is in memory is old until it has been read again.
    void mark_stale(const Jid& bare) {
        if (accounts_.contains(bare)) ++stale_[bare];
    }
    /// Reads it from the store unless in memory and not stale. nullptr = no such account. Concurrent loads
    /// share one read.
    awaitable<Result<AccountPtr>> load(Jid bare);
    /// Makes a decided change in memory, at once; the store follows with the batch.
    void apply(AccountData& account, const AccountChange& change);
    /// Forgets it (a change was refused, an account was created or removed elsewhere). Holders keep the old
    /// object; the next load replaces its content in place, so that sessions see the fresh state.
    /// A change that was decided here and is not in the store yet stays, unless `force` says that it was
    /// refused.
    awaitable<Result<AccountPtr>> reload(Jid bare, bool force = false);
    void forget_missing(const Jid& bare) { missing_.erase(bare); }
    void remove(const Jid& bare);
    /// Name of an account in memory.
    std::optional<Jid> name_of(AccountId id) const;

    /// Accounts in memory that have `to` or `both` towards `contact` (bare).
    const std::unordered_set<AccountData*>& watchers(const Jid& contact) const;
    std::size_t size() const { return accounts_.size(); }

private:
    void index(AccountData& account);
    void unindex(AccountData& account);
    void trim();
    AccountPtr insert(AccountData data);

    Store& store_;
    std::size_t capacity_;
    struct Slot {
        AccountPtr account;
        std::list<Jid>::iterator age;
    };
    std::unordered_map<Jid, Slot> accounts_;
    std::list<Jid> ages_;  ///< oldest first
    std::unordered_map<AccountId, Jid> names_;
    std::unordered_set<Jid> missing_;
    std::unordered_map<Jid, std::uint64_t> stale_;  ///< how often marked since it was last read
    std::unordered_map<Jid, std::unordered_set<AccountData*>> watchers_;
    std::unordered_set<AccountData*> none_;
};

}  // namespace hexad

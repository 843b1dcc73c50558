#include "hooks/account_cache.hpp"

namespace hexad {

AccountPtr AccountCache::find(const Jid& bare) {
    const auto it = accounts_.find(bare);
    if (it == accounts_.end()) return nullptr;
    ages_.splice(ages_.end(), ages_, it->second.age);
    return it->second.account;
}

bool AccountCache::known_missing(const Jid& bare) const { return missing_.contains(bare); }

awaitable<Result<AccountPtr>> AccountCache::load(Jid bare) {
    if (auto account = find(bare); account && !stale_.contains(bare)) co_return account;
    co_return co_await reload(std::move(bare));
}

AccountPtr AccountCache::insert(AccountData data) {
    missing_.erase(data.jid);
    auto account = std::make_shared<AccountData>(std::move(data));
    ages_.push_back(account->jid);
    accounts_[account->jid] = Slot{account, std::prev(ages_.end())};
    names_[account->id] = account->jid;
    index(*account);
    trim();
    return account;
}

void AccountCache::apply(AccountData& account, const AccountChange& change) {
    if (change.changes_roster()) unindex(account);
    change.apply_to(account);
    if (change.changes_roster()) index(account);
}

awaitable<Result<AccountPtr>> AccountCache::reload(Jid bare, bool force) {
    const auto marked = stale_.find(bare);
    const auto marks = marked == stale_.end() ? 0 : marked->second;
    auto read = co_await store_.load_account(bare);
    if (!read) co_return read.error();
    // What was marked while we read may have changed behind what we have read.
    if (const auto now = stale_.find(bare); now != stale_.end() && now->second == marks) stale_.erase(now);
    const auto it = accounts_.find(bare);
    if (!*read) {
        if (it != accounts_.end()) remove(bare);
        if (missing_.size() > 10000) missing_.clear();
        missing_.insert(bare);
        co_return AccountPtr{};
    }
    if (it == accounts_.end()) co_return insert(std::move(**read));
    auto account = it->second.account;
    if (force || (*read)->version >= account->version || (*read)->id != account->id) {
        unindex(*account);
        *account = std::move(**read);
        index(*account);
    }
    co_return account;
}

void AccountCache::remove(const Jid& bare) {
    const auto it = accounts_.find(bare);
    if (it == accounts_.end()) return;
    unindex(*it->second.account);
    names_.erase(it->second.account->id);
    ages_.erase(it->second.age);
    accounts_.erase(it);
    stale_.erase(bare);
}

std::optional<Jid> AccountCache::name_of(AccountId id) const {
    const auto it = names_.find(id);
    if (it == names_.end()) return std::nullopt;
    return it->second;
}

const std::unordered_set<AccountData*>& AccountCache::watchers(const Jid& contact) const {
    const auto it = watchers_.find(contact);
    return it == watchers_.end() ? none_ : it->second;
}

void AccountCache::index(AccountData& account) {
    for (const auto& [jid, item] : account.roster) {
        if (item.has_to()) watchers_[jid.bare()].insert(&account);
    }
}

void AccountCache::unindex(AccountData& account) {
    for (const auto& [jid, item] : account.roster) {
        if (!item.has_to()) continue;
        const auto it = watchers_.find(jid.bare());
        if (it == watchers_.end()) continue;
        it->second.erase(&account);
        if (it->second.empty()) watchers_.erase(it);
    }
}

void AccountCache::trim() {
    // Accounts that a session holds are skipped; a bounded number of steps keeps an insertion cheap.
    auto age = ages_.begin();
    for (int steps = 0; accounts_.size() > capacity_ && age != ages_.end() && steps < 64; ++steps) {
        const auto it = accounts_.find(*age);
        ++age;
        if (it->second.account.use_count() > 1) {
            ages_.splice(ages_.end(), ages_, it->second.age);
            continue;
        }
        unindex(*it->second.account);
        names_.erase(it->second.account->id);
        ages_.erase(it->second.age);
        stale_.erase(it->first);
        accounts_.erase(it);
    }
}

}  // namespace hexad

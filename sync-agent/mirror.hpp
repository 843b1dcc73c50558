#pragma once

#include <map>
#include <string>

#include "placement/placement.hpp"
#include "storage/postgres/connection.hpp"
#include "sync-agent/plan.hpp"

namespace hexad::sync {

/// The lease was lost: another process runs now, this one must stop touching the store.
class LeaseLost : public std::runtime_error {
public:
    LeaseLost() : std::runtime_error("the sync lease is held by another process") {}
};

/// The store's side of a run. Blocking; errors are thrown as postgres::Failure.
class Mirror {
public:
    Mirror(std::string url, std::string holder) : db_(std::move(url)), holder_(std::move(holder)) {}

    /// Takes or renews the lease; false while another process holds it.
    bool take_lease(seconds length);
    void release_lease();
    std::map<std::string, Mirrored> load(const std::string& agreement);
    struct State {
        std::string mark;
        std::int64_t last_full = 0;
        std::size_t last_count = 0;
        std::string settings;
    };
    State state(const std::string& agreement);
    /// Applies a plan in transactions of 500, each checking the lease: add, update, disable, remove.
    /// Idempotent.
    void apply(const AgreementConfig& agreement, Plan& plan, std::vector<Placement> nodes);
    void finish(const std::string& agreement, const State& state, const Plan& plan, bool full,
                std::size_t entries, std::int64_t started, const std::string& result);
    std::map<std::string, std::uint64_t> assigned();

private:
    template <class Items, class Work>
    void in_batches(Items& items, Work work);
    void event(AccountId account, const std::string& jid, MirrorState state);
    AccountId add(const AgreementConfig& agreement, const Person& person, const std::string& home,
                  std::int64_t host, Plan& plan);

    postgres::Connection db_;
    std::string holder_;
    std::int64_t epoch_ = 0;
};

std::int64_t now_micros();

}  // namespace hexad::sync

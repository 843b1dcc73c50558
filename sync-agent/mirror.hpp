#pragma once

#include <map>
#include <string>

#include "storage/placing.hpp"
#include "sync-agent/guarded_store.hpp"
#include "sync-agent/plan.hpp"

namespace hexad::sync {

/// The mirrored people in the store. Blocking; errors are thrown as postgres::Failure.
class Mirror {
public:
    explicit Mirror(GuardedStore& store) : store_(store) {}

    std::map<std::string, Mirrored> load(const std::string& agreement);
    /// The directory could not be read for so long: for that time nobody has been missing.
    void stop_clocks(const std::string& agreement, std::int64_t micros);

    struct Applied {
        std::size_t added = 0;
        std::vector<Skipped> skipped;  ///< found out only now: an address belongs to somebody else
    };
    /// Applies a plan in transactions of 500, each checking the lease: add, update, disable, remove.
    /// Idempotent: what a killed process has left is done by the next run.
    Applied apply(const AgreementConfig& agreement, const Plan& plan, const Placer& placer);
    /// Inside a transaction: the state of one person, with its event for the nodes.
    void set(postgres::Connection& db, const AgreementConfig& agreement, const Mirrored& row,
             MirrorState state, std::int64_t missing_since, int missed);

private:
    template <class Items, class Work>
    void in_batches(const Items& items, Work work);
    template <class Items, class Begin, class Work>
    void in_batches(const Items& items, Begin begin, Work work);
    void change(postgres::Connection& db, const AgreementConfig& agreement, const Mirrored& row,
                const Person& person);
    AccountId add(postgres::Connection& db, const AgreementConfig& agreement, const Person& person,
                  const Home& home, std::int64_t host, Applied& applied);

    GuardedStore& store_;
};

}  // namespace hexad::sync

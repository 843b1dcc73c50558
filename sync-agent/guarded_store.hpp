#pragma once

#include <stdexcept>
#include <string>

#include "storage/postgres/connection.hpp"

namespace hexad::sync {

/// The lease was lost: another process runs now, this one must stop touching the store.
class LeaseLost : public std::runtime_error {
public:
    LeaseLost() : std::runtime_error("the sync lease is held by another process") {}
};

/// The agent's connection to the store: what it writes, it writes in transactions that check the lease.
/// Blocking, one thread; errors are thrown as postgres::Failure.
class GuardedStore {
public:
    GuardedStore(std::string url, std::string holder) : db_(std::move(url)), holder_(std::move(holder)) {}

    /// For reading, and inside the work of transaction(). Connects if it has to.
    postgres::Connection& db() {
        db_.connect();
        return db_;
    }
    /// The epoch under which what follows is written.
    void hold(std::int64_t epoch) { epoch_ = epoch; }

    /// Runs `work(db)` in a transaction that fails with LeaseLost unless the lease is held by this process,
    /// and keeps others from taking it until it ends.
    template <class Work>
    void transaction(Work work) {
        auto& db = this->db();
        db.begin();
        try {
            auto lease =
                db.query("SELECT 1 FROM sync_lease WHERE name='sync' AND holder=?1 AND epoch=?2 FOR SHARE",
                         holder_, epoch_);
            if (!lease.next()) throw LeaseLost();
            work(db);
            db.commit();
        } catch (...) {
            db.rollback();
            throw;
        }
    }

private:
    postgres::Connection db_;
    std::string holder_;
    std::int64_t epoch_ = 0;
};

/// Microseconds since 1970, as times are stored.
std::int64_t now_micros();

}  // namespace hexad::sync

#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "storage/offload.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sqlite {

/// A few read-only connections, each used by one worker thread at a time. A read begins a new WAL snapshot,
/// so it sees every job whose committed() ran before it was asked.
class Readers {
public:
    Readers(const std::string& path, std::size_t count) : pool_(count) {
        for (std::size_t i = 0; i < count; ++i) {
            idle_.push_back(std::make_unique<Connection>(path, Connection::Mode::reader, Durability::strict));
        }
    }
    ~Readers() { pool_.join(); }

    /// Runs `read(Connection&)` on a worker inside one snapshot.
    template <class Read>
    awaitable<std::invoke_result_t<Read&, Connection&>> run(Read read) {
        return offload(pool_, [this, read = std::move(read)]() mutable {
            Lease lease(*this);  // as many connections as threads: there is always one
            lease.db->begin();
            return read(*lease.db);
        });
    }

private:
    struct Lease {
        Readers& owner;
        std::unique_ptr<Connection> db;
        explicit Lease(Readers& o) : owner(o) {
            const std::lock_guard lock(o.mutex_);
            db = std::move(o.idle_.back());
            o.idle_.pop_back();
        }
        ~Lease() {
            db->rollback();
            const std::lock_guard lock(owner.mutex_);
            owner.idle_.push_back(std::move(db));
        }
    };

    std::mutex mutex_;
    std::vector<std::unique_ptr<Connection>> idle_;
    asio::thread_pool pool_;
};

}  // namespace hexad::sqlite

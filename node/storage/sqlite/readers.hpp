#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/result.hpp"
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

    /// Runs `read(Connection&)` on a worker inside one snapshot and resumes the caller on its own executor
    /// with the value; what `read` throws is thrown there.
    template <class Read>
    awaitable<std::invoke_result_t<Read&, Connection&>> run(Read read) {
        using Value = std::invoke_result_t<Read&, Connection&>;
        auto home = co_await asio::this_coro::executor;
        co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&,
                                                void(std::exception_ptr, Value)>(
            [this, home](auto handler, Read work) {
                // The guard keeps the caller's io_context alive while only this thread has something to do.
                asio::post(pool_, [this, guard = asio::make_work_guard(home), handler = std::move(handler),
                                   work = std::move(work)]() mutable {
                    std::exception_ptr fault;
                    Value value{};
                    try {
                        value = in_snapshot(work);
                    } catch (...) {
                        fault = std::current_exception();
                    }
                    asio::post(guard.get_executor(),
                               [handler = std::move(handler), fault, value = std::move(value)]() mutable {
                                   handler(fault, std::move(value));
                               });
                });
            },
            asio::use_awaitable, std::move(read));
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

    template <class Read>
    auto in_snapshot(Read& read) {
        Lease lease(*this);  // as many connections as threads: there is always one
        lease.db->begin();
        return read(*lease.db);
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Connection>> idle_;
    asio::thread_pool pool_;
};

}  // namespace hexad::sqlite

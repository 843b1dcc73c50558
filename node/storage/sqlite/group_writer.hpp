#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "storage/keep_running.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sqlite {

/// One thing the writer does, e.g. a batch. Jobs of a group share one transaction.
class Job {
public:
    virtual ~Job() = default;
    /// Runs on the writer's thread, inside the group's transaction. A rollback undoes it and it runs again,
    /// so it starts its result afresh. What it refuses by rule it refuses before its first write.
    virtual void run(Connection& db) = 0;
    /// Runs on the io_context once the group is durable, in order of submission over all jobs.
    virtual void committed() = 0;
    /// In the place of committed(): this job alone cannot be done (constraint, corrupt page). Nothing of it
    /// is written.
    virtual void failed(const Failure& why) = 0;
};

/// The one thread that writes a database: takes what is queued, runs it in one transaction, hands the results
/// back.
///
/// A disk that fails (Failure::transient) is logged once; the group is kept and tried again every `retry`,
/// and nothing of it is released meanwhile. submit() is safe from any thread.
class GroupWriter {
public:
    struct Options {
        std::size_t max_group = 1024;  ///< jobs per transaction
        milliseconds retry{500};
        std::function<void(Connection&)> before_group;  ///< inside the transaction, before the first job
        std::function<void()> rolled_back;              ///< what was kept in memory of the last run is void
    };
    /// `db` outlives it and is this thread's alone.
    GroupWriter(asio::io_context& results, Connection& db, Options options);
    /// Finishes what is queued, unless the disk fails: that is dropped unreleased, as in a crash. Runs on the
    /// io_context's thread; results it has not handed out by then are handed out if it still runs afterwards.
    ~GroupWriter();
    GroupWriter(const GroupWriter&) = delete;
    GroupWriter& operator=(const GroupWriter&) = delete;

    void submit(std::unique_ptr<Job> job);
    bool healthy() const;  ///< false while the disk fails

private:
    struct Entry {
        std::unique_ptr<Job> job;
        std::optional<Failure> failure;
    };
    using Group = std::vector<Entry>;
    void loop();
    bool write(Group& group);
    void attempt(Group& group);
    void roll_back();
    bool wait_to_retry();
    void release(Group group);

    asio::io_context& results_;
    Connection& db_;
    const Options options_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Entry> queue_;
    std::shared_ptr<KeepRunning> pending_;
    bool stopping_ = false;
    bool healthy_ = true;
    std::thread thread_;
};

}  // namespace hexad::sqlite

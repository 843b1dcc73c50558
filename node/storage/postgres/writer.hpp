#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "storage/keep_running.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/store_writer.hpp"

namespace hexad::postgres {

/// The one thread of a node that writes rows: takes the groups that are queued and writes them in one
/// transaction.
///
/// While the data base is away it keeps what it has and tries again, for ever. Rows that PostgreSQL refuses
/// for what they are (an impossible text) are written batch by batch; the batch at fault gets `not_owner`:
/// its session is dropped, its client finds its count unmoved. `on_state(false)` comes when a group has
/// waited for 2 s.
class Writer final : public StoreWriter {
public:
    Writer(asio::io_context& io, std::string conninfo, milliseconds patience);
    /// Drops what is not written, unreleased, as in a crash.
    ~Writer() override;

    void write(std::vector<const Batch*> group, std::function<void(std::vector<CommitStatus>)> done) override;

private:
    struct Group {
        std::vector<const Batch*> batches;
        std::function<void(std::vector<CommitStatus>)> done;
        std::vector<CommitStatus> statuses;
    };
    /// A batch on its way through the two phases.
    struct Item {
        const Batch* batch;
        CommitStatus status = CommitStatus::ok;
        bool changed = false;  ///< its account changes are committed
        bool documents_done =
            false;  ///< a later stanza of the session has been here: what this one wrote is there
    };

    void loop();
    bool write_all(std::vector<Item>& items);
    void change_accounts(Item& item);
    CommitStatus change_accounts(const Batch& batch);
    void write_rows(std::vector<Item*> items);
    void write_each(const std::vector<Item*>& items);
    void check_guards(const std::vector<Item*>& items);
    void send_rows(const Item& item);
    bool pause();
    void release(std::vector<Group> groups);
    void watch();

    asio::io_context& io_;
    Connection db_;  ///< the thread's
    std::shared_ptr<KeepRunning> pending_;

    // Protocol thread.
    std::shared_ptr<Writer*> self_;  ///< empty once this is gone
    std::deque<SteadyClock::time_point> waiting_;
    asio::steady_timer timer_;
    bool up_ = true;

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<Group> queue_;
    bool stopping_ = false;
    milliseconds pause_{0};
    SteadyClock::time_point purged_{};
    std::thread thread_;
};

}  // namespace hexad::postgres

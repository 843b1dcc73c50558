#include "storage/postgres/writer.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <boost/asio/post.hpp>

#include "base/log.hpp"
#include "storage/postgres/offline.hpp"
#include "storage/postgres/transaction.hpp"
#include "storage/sql/accounts.hpp"
#include "storage/sql/rooms.hpp"
#include "storage/sql/values.hpp"

namespace hexad::postgres {

using sql::Blob;
using sql::to_micros;

namespace {

constexpr seconds told_down_after{2};
constexpr std::chrono::minutes purge_interval{10};
constexpr std::size_t most_batches = 2000;

std::int64_t number(std::uint64_t n) { return static_cast<std::int64_t>(n); }
std::string_view xml_of(const Bytes& bytes) { return bytes ? std::string_view(*bytes) : std::string_view{}; }

/// Is the batch the work of a session's stanza?
bool of_session(const Batch& batch) {
    return !batch.origin.source.empty() && !batch.room_step && batch.epoch.g != 0;
}

/// The session that a stanza belongs to, whether it counts yet or not; none if the batch has no epoch.
SessionToken token_of(const Batch& batch) {
    if (!of_session(batch)) return {};
    const auto& source = batch.origin.source;
    return {source.substr(0, source.find('#')), batch.epoch};
}

/// Rooms whose rows the batch writes under an epoch.
std::set<RoomId> guarded_rooms(const Batch& batch) {
    std::set<RoomId> out;
    if (!batch.room_step || batch.epoch.e == 0) return out;
    for (const auto& row : batch.room_archive) out.insert(row.room);
    for (const auto& row : batch.rooms) out.insert(row.room);
    for (const auto& row : batch.affiliations) out.insert(row.room);
    out.insert(batch.destroyed_rooms.begin(), batch.destroyed_rooms.end());
    return out;
}

enum class Fence { passed, done_before, old_epoch };

/// Puts the session's fence to (epoch, n) if nobody was there with a newer epoch or, of stanzas that are
/// counted, with a later one. In the transaction of what it guards.
Fence pass_fence(Connection& db, const Batch& batch) {
    const auto& sid = batch.origin.source;
    const auto passed = db.run(
        "INSERT INTO sm_fence VALUES(?1,?2,?3,?4,?5) ON CONFLICT(sid) DO UPDATE SET g=excluded.g, "
        "e=excluded.e, "
        "n=greatest(sm_fence.n, excluded.n), at=excluded.at WHERE (sm_fence.g, sm_fence.e) <= (excluded.g, "
        "excluded.e) "
        "AND (sm_fence.n <= excluded.n OR ?6::bigint=0)",
        sid, number(batch.epoch.g), number(batch.epoch.e), number(batch.origin.n), to_micros(wall_now()),
        std::int64_t{batch.advances});
    if (passed > 0) return Fence::passed;
    auto row = db.query("SELECT g, e FROM sm_fence WHERE sid=?1", sid);
    if (row.next() && Epoch{row.count(0), row.count(1)} > batch.epoch) return Fence::old_epoch;
    return Fence::done_before;
}

}  // namespace

Writer::Writer(asio::io_context& io, std::string conninfo, milliseconds patience)
    : io_(io),
      db_(std::move(conninfo), patience),
      pending_(std::make_shared<KeepRunning>(io)),
      self_(std::make_shared<Writer*>(this)),
      timer_(io) {
    thread_ = std::thread([this] { loop(); });
}

Writer::~Writer() {
    *self_ = nullptr;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

// Protocol thread.

void Writer::write(std::vector<const Batch*> group, std::function<void(std::vector<CommitStatus>)> done) {
    pending_->more();
    waiting_.push_back(SteadyClock::now());
    if (waiting_.size() == 1) watch();
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back({std::move(group), std::move(done), {}});
    }
    wake_.notify_one();
}

/// Looks again when the oldest group will have waited too long.
void Writer::watch() {
    timer_.expires_at(waiting_.front() + told_down_after);
    timer_.async_wait([self = self_](const error_code& stopped) {
        auto* writer = *self;
        if (stopped || writer == nullptr || writer->waiting_.empty() || !writer->up_) return;
        if (writer->waiting_.front() + told_down_after > SteadyClock::now()) return writer->watch();
        writer->up_ = false;
        log_warn("store_rows_wait");
        if (writer->on_state) writer->on_state(false);
    });
}

void Writer::release(std::vector<Group> groups) {
    asio::post(io_, [self = self_, pending = pending_, groups = std::move(groups)] {
        if (auto* writer = *self) {
            writer->waiting_.erase(writer->waiting_.begin(),
                                   writer->waiting_.begin() + static_cast<std::ptrdiff_t>(groups.size()));
            if (!writer->up_) {
                writer->up_ = true;
                log_info("store_rows_written");
                if (writer->on_state) writer->on_state(true);
            }
            if (writer->waiting_.empty()) {
                writer->timer_.cancel();
            } else {
                writer->watch();
            }
        }
        for (const auto& group : groups) group.done(group.statuses);
        pending->less(groups.size());
    });
}

// The writer's thread.

void Writer::loop() {
    for (;;) {
        std::vector<Group> groups;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (stopping_) return;
            std::size_t batches = 0;
            std::size_t count = 0;
            while (count < queue_.size() &&
                   (count == 0 || batches + queue_[count].batches.size() <= most_batches)) {
                batches += queue_[count++].batches.size();
            }
            const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
            groups.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
            queue_.erase(queue_.begin(), end);
        }
        std::vector<Item> items;
        for (const auto& group : groups) {
            for (const auto* batch : group.batches) items.push_back({batch});
        }
        if (!write_all(items)) {
            // What waits for these results belongs to the thread that ends this object.
            const std::lock_guard lock(mutex_);
            queue_.insert(queue_.begin(), std::make_move_iterator(groups.begin()),
                          std::make_move_iterator(groups.end()));
            return;
        }
        auto item = items.begin();
        for (auto& group : groups) {
            for (std::size_t i = 0; i < group.batches.size(); ++i) group.statuses.push_back((item++)->status);
        }
        release(std::move(groups));
        if (SteadyClock::now() - purged_ > purge_interval) {
            purged_ = SteadyClock::now();
            try {
                purge(db_);
            } catch (const Failure& failure) {
                db_.rollback();
                log_warn("store_purge_failed", {{"error", failure.what()}});
            }
        }
    }
}

/// False: stopped before it was done.
bool Writer::write_all(std::vector<Item>& items) {
    bool reported = false;
    for (;;) {
        try {
            db_.connect();
            for (auto& item : items) {
                if (!item.changed) change_accounts(item);
            }
            std::vector<Item*> rows;
            for (auto& item : items) {
                if (item.status == CommitStatus::ok && item.batch->touches_store()) rows.push_back(&item);
            }
            try {
                write_rows(rows);
            } catch (const Failure& failure) {
                db_.rollback();
                if (failure.transient()) throw;
                write_each(rows);
            }
            pause_ = milliseconds(0);
            if (reported)
                log_info("store_recovered", {{"batches", static_cast<std::uint64_t>(items.size())}});
            return true;
        } catch (const Failure& failure) {
            db_.rollback();
            if (!reported)
                log_error("store_write_failed", {{"error", failure.what()}, {"state", failure.state()}});
            reported = true;
        }
        if (!pause()) return false;
    }
}

bool Writer::pause() {
    pause_ = std::clamp(pause_ * 2, milliseconds(50), milliseconds(1000));
    std::unique_lock lock(mutex_);
    return !wake_.wait_for(lock, pause_, [this] { return stopping_; });
}

void Writer::change_accounts(Item& item) {
    try {
        if (!item.batch->accounts.empty()) item.status = change_accounts(*item.batch);
    } catch (const Failure& failure) {
        db_.rollback();
        if (failure.transient()) throw;
        log_error("store_rows_refused", {{"error", failure.what()}, {"state", failure.state()}});
        item.status = CommitStatus::not_owner;
    }
    item.changed = true;
}

/// All changes of a batch, or none: of a subscription that is half made, the other half is not decided again.
CommitStatus Writer::change_accounts(const Batch& batch) {
    Transaction transaction(db_);
    std::string author;
    if (of_session(batch)) {
        switch (pass_fence(db_, batch)) {
            case Fence::old_epoch:
                return CommitStatus::not_owner;
            case Fence::done_before:
                return CommitStatus::ok;
            case Fence::passed:
                break;
        }
        author = batch.origin.source + "/" + std::to_string(batch.origin.n);
    }
    // Locked in one order on all nodes, so that two batches with the same accounts do not wait for each
    // other.
    std::map<AccountId, std::uint64_t> versions;
    std::map<AccountId, std::string> authors;
    for (const auto& change : batch.accounts) versions[change.account] = change.base_version;
    bool done = false;
    for (auto& [account, version] : versions) {
        auto row =
            db_.query("SELECT version, changed_by FROM account WHERE id=?1 FOR NO KEY UPDATE", account);
        if (!row.next()) return CommitStatus::version_moved;
        // The same stanza was here before: its commit succeeded, but the answer was lost.
        done = done || (row.count(0) >= version + 1 && !author.empty() && row.text(1) == author);
        version = row.count(0);
        authors[account] = row.string(1);
    }
    if (done) return CommitStatus::ok;
    for (const auto& change : batch.accounts) {
        auto& last = authors[change.account];
        if (versions[change.account]++ != change.base_version ||
            (!change.base_author.empty() && change.base_author != last)) {
            return CommitStatus::version_moved;
        }
        last = change.author.empty() ? author : change.author;
        sql::write_change(db_, change);
        db_.run("UPDATE account SET changed_by=?2 WHERE id=?1", change.account, last);
    }
    transaction.commit();
    return CommitStatus::ok;
}

void Writer::write_rows(std::vector<Item*> items) {
    if (items.empty()) return;
    db_.send("BEGIN");
    std::set<std::string> sessions;  // locked in one order on all nodes, before anything else
    for (const auto* item : items) {
        if (!item->batch->offline.empty()) sessions.insert(token_of(*item->batch).sid);
    }
    for (const auto& sid : sessions) share_session(db_, sid);
    check_guards(items);
    for (const auto* item : items) {
        if (item->status == CommitStatus::ok) send_rows(*item);
    }
    db_.send("COMMIT");
    db_.collect();
}

/// One batch a transaction, to find the one whose rows are refused.
void Writer::write_each(const std::vector<Item*>& items) {
    for (auto* item : items) {
        try {
            write_rows({item});
        } catch (const Failure& failure) {
            db_.rollback();
            if (failure.transient()) throw;
            log_error("store_rows_refused", {{"error", failure.what()}, {"state", failure.state()}});
            item->status = CommitStatus::not_owner;
        }
    }
}

/// Locks what the rows depend on and refuses the batches of former owners.
void Writer::check_guards(const std::vector<Item*>& items) {
    for (auto* item : items) {
        const auto& batch = *item->batch;
        for (const auto room : guarded_rooms(batch)) {
            auto row = db_.query("SELECT epoch FROM room WHERE id=?1 FOR NO KEY UPDATE", room);
            // A room that is gone was destroyed by this owner: a repeat.
            if (row.next() && row.count(0) != batch.epoch.e) item->status = CommitStatus::not_owner;
        }
        if (batch.documents.empty() || !of_session(batch) || item->status != CommitStatus::ok) continue;
        const auto fence = pass_fence(db_, batch);
        if (fence == Fence::old_epoch) item->status = CommitStatus::not_owner;
        item->documents_done = fence == Fence::done_before;
    }
}

void Writer::send_rows(const Item& item) {
    const auto& batch = *item.batch;
    for (const auto& row : batch.archive) {
        const bool sent = row.direction == Direction::out && !row.origin_id.empty();
        db_.send(
            "INSERT INTO archive(owner, stanza_id, dir, ts, with_bare, with_resource, origin_id, hash, xml) "
            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(owner, stanza_id) DO NOTHING",
            row.owner, row.stanza_id, static_cast<int>(row.direction), to_micros(row.at),
            row.with.bare_view(), row.with.resource(),
            sent ? std::optional<std::string_view>(row.origin_id) : std::nullopt,
            sent ? std::optional<Blob>(Blob{row.content_hash}) : std::nullopt, xml_of(row.xml));
    }
    // A former carrier's row is left out without a word: its commit is refused all the same.
    for (const auto& row : batch.offline) put_offline_unless_fenced(db_, row, token_of(batch));
    for (const auto& row : batch.room_archive) {
        db_.send("INSERT INTO room_archive VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT DO NOTHING", row.room,
                 number(row.hist), row.stanza_id, to_micros(row.at), row.from.to_string(), xml_of(row.xml));
        db_.send("UPDATE room SET hist=?2 WHERE id=?1 AND hist<?2", row.room, number(row.hist));
    }
    if (!item.documents_done) {
        for (const auto& document : batch.documents) sql::write_document(db_, document);
    }
    sql::write_rooms(db_, batch);
}

}  // namespace hexad::postgres

#include "storage/sqlite/group_writer.hpp"

#include <algorithm>
#include <iterator>

#include <boost/asio/post.hpp>

#include "base/clock.hpp"
#include "base/log.hpp"

namespace hexad::sqlite {

namespace {

/// A commit that takes this long is felt by people: the disk is in trouble, or something else uses it.
constexpr milliseconds told_slow_after{500};

}  // namespace

GroupWriter::GroupWriter(asio::io_context& results, Connection& db, Options options)
    : results_(results),
      db_(db),
      options_(std::move(options)),
      pending_(std::make_shared<KeepRunning>(results)) {
    thread_ = std::thread([this] { loop(); });
}

GroupWriter::~GroupWriter() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void GroupWriter::submit(std::unique_ptr<Job> job) {
    pending_->more();
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = queue_.empty();
        queue_.push_back({std::move(job), std::nullopt});
    }
    if (first) wake_.notify_one();
}

bool GroupWriter::healthy() const {
    const std::lock_guard lock(mutex_);
    return healthy_;
}

void GroupWriter::loop() {
    for (;;) {
        Group group;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (queue_.empty()) return;
            const auto end =
                queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), options_.max_group));
            group.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
            queue_.erase(queue_.begin(), end);
        }
        if (!write(group)) {
            // What waits for these results belongs to the thread that ends this object.
            const std::lock_guard lock(mutex_);
            queue_.insert(queue_.begin(), std::make_move_iterator(group.begin()),
                          std::make_move_iterator(group.end()));
            return;
        }
        release(std::move(group));
    }
}

/// False: the disk failed until the end.
bool GroupWriter::write(Group& group) {
    bool reported = false;
    for (;;) {
        try {
            const auto begin = SteadyClock::now();
            attempt(group);
            const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin);
            if (took > told_slow_after)
                log_warn("store_slow", {{"took_ms", std::int64_t{took.count()}},
                                        {"jobs", static_cast<std::uint64_t>(group.size())}});
            if (reported) log_info("store_recovered", {{"jobs", static_cast<std::uint64_t>(group.size())}});
            const std::lock_guard lock(mutex_);
            healthy_ = true;
            return true;
        } catch (const Failure& failure) {
            roll_back();
            if (!reported) {
                log_error("store_write_failed", {{"error", failure.what()}, {"code", failure.code()}});
                reported = true;
            }
        }
        if (!wait_to_retry()) return false;
    }
}

/// Commits the group; throws what concerns the whole of it. A job that cannot be done is marked, and the
/// others start again without it.
void GroupWriter::attempt(Group& group) {
    for (bool again = true; again;) {
        again = false;
        db_.begin();
        if (options_.before_group) options_.before_group(db_);
        for (auto& entry : group) {
            if (entry.failure) continue;
            try {
                entry.job->run(db_);
            } catch (const Failure& failure) {
                if (failure.transient()) throw;
                roll_back();
                log_error("store_job_failed", {{"error", failure.what()}, {"code", failure.code()}});
                entry.failure = failure;
                again = true;
                break;
            }
        }
        if (!again) db_.commit();
    }
}

void GroupWriter::roll_back() {
    db_.rollback();
    if (options_.rolled_back) options_.rolled_back();
}

bool GroupWriter::wait_to_retry() {
    std::unique_lock lock(mutex_);
    healthy_ = false;
    return !wake_.wait_for(lock, options_.retry, [this] { return stopping_; });
}

void GroupWriter::release(Group group) {
    asio::post(results_, [pending = pending_, group = std::move(group)]() mutable {
        for (auto& entry : group) {
            if (entry.failure) {
                entry.job->failed(*entry.failure);
            } else {
                entry.job->committed();
            }
        }
        pending->less(group.size());
    });
}

}  // namespace hexad::sqlite

#include "sync-agent/lease.hpp"

#include "base/log.hpp"
#include "storage/postgres/connection.hpp"

namespace hexad::sync {

namespace {

/// Microseconds on the data base's clock: leases of different machines are compared on one clock only.
constexpr std::string_view db_now = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";

std::string with_now(std::string text) {
    for (std::size_t at; (at = text.find("NOW")) != std::string::npos;) text.replace(at, 3, db_now);
    return text;
}

bool renew(postgres::Connection& db, const std::string& holder, std::int64_t epoch, std::int64_t micros) {
    return db.run(with_now("UPDATE sync_lease SET until=NOW+?1 WHERE name='sync' AND holder=?2 AND epoch=?3"),
                  micros, holder, epoch) == 1;
}

/// The new epoch, or 0 if another process holds the lease.
std::int64_t take(postgres::Connection& db, const std::string& holder, std::int64_t micros) {
    db.run("INSERT INTO sync_lease VALUES('sync', '', 0, 0) ON CONFLICT DO NOTHING");
    auto rows = db.query(with_now("UPDATE sync_lease SET holder=?1, epoch=epoch+1, until=NOW+?2 WHERE "
                                  "name='sync' AND until<NOW RETURNING epoch"),
                         holder, micros);
    return rows.next() ? rows.integer(0) : 0;
}

}  // namespace

Lease::Lease(std::string url, std::string holder, seconds length)
    : url_(std::move(url)), holder_(std::move(holder)), length_(length), thread_([this] { keep(); }) {}

Lease::~Lease() {
    {
        const std::scoped_lock lock(mutex_);
        is_stopping_ = true;
    }
    stopping_.notify_all();
    thread_.join();
}

void Lease::keep() {
    postgres::Connection db(url_);
    const std::int64_t micros = std::chrono::microseconds(length_).count();
    const auto pause = std::min<milliseconds>(milliseconds(length_) / 3, milliseconds(1000));
    auto renewed = SteadyClock::now();
    std::unique_lock lock(mutex_);
    do {
        lock.unlock();
        const auto start = SteadyClock::now();
        try {
            db.connect();
            if (epoch_ > 0 && !renew(db, holder_, epoch_, micros)) {
                log_warn("sync_lease_lost", {{"holder", holder_}});
                epoch_ = 0;
            }
            if (epoch_ == 0) {
                epoch_ = take(db, holder_, micros);
                if (epoch_ > 0) log_info("sync_lease_taken", {{"holder", holder_}, {"epoch", epoch_.load()}});
            }
            renewed = start;
        } catch (const postgres::Failure& e) {
            // Nobody can take it from us without the store either; but we no longer know.
            if (epoch_ > 0 && start - renewed > length_) {
                log_warn("sync_lease_lost", {{"holder", holder_}, {"error", e.what()}});
                epoch_ = 0;
            }
        }
        lock.lock();
    } while (!stopping_.wait_for(lock, pause, [this] { return is_stopping_; }));
    try {
        if (epoch_ > 0)
            db.run("UPDATE sync_lease SET until=0 WHERE name='sync' AND holder=?1 AND epoch=?2", holder_,
                   epoch_.load());
    } catch (const postgres::Failure& e) {
        log_warn("sync_lease_not_released", {{"error", e.what()}});
    }
    epoch_ = 0;
}

}  // namespace hexad::sync

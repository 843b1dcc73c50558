#include "app/account_events.hpp"

#include <atomic>
#include <thread>

#include <boost/asio/post.hpp>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "storage/postgres/connection.hpp"

namespace hexad {

struct AccountEvents::Reader {
    Reader(asio::io_context& context, std::string url, Told callback)
        : io(context),
          db(std::move(url)),
          told(std::make_shared<Told>(std::move(callback))),
          thread([this] { run(); }) {}
    ~Reader() {
        stop = true;
        thread.join();
        *told = nullptr;
    }

    void run() {
        std::int64_t last = -1;
        while (!stop) {
            bool is_more = false;
            try {
                db.connect();
                if (last < 0) {
                    // What happened while this node started, or died over a session that was to be closed, is
                    // told again: being told twice does no harm.
                    const auto recent = wall_now() - std::chrono::minutes(10);
                    auto newest = db.query("SELECT coalesce(max(seq), 0) FROM account_event WHERE ts < ?1",
                                           sql::to_micros(recent));
                    newest.next();
                    last = newest.integer(0);
                }
                // A transaction that commits late must not be skipped: only what is older than every running
                // one counts.
                auto rows = db.query(
                    "SELECT seq, jid, state FROM account_event WHERE seq > ?1 AND xid < "
                    "pg_snapshot_xmin(pg_current_snapshot()) "
                    "ORDER BY seq LIMIT 1000",
                    last);
                is_more = rows.size() == 1000;
                while (rows.next()) {
                    last = rows.integer(0);
                    auto jid = Jid::parse(rows.text(1));
                    if (!jid) continue;
                    asio::post(io, [told = told, account = *jid,
                                    state = static_cast<AccountState>(rows.integer(2))] {
                        if (*told) (*told)(account, state);
                    });
                }
            } catch (const postgres::Failure&) {
                // The store's own connections report that it is away; events wait in their table.
            }
            for (int i = 0; i < 10 && !stop && !is_more; ++i) std::this_thread::sleep_for(milliseconds(100));
        }
    }

    asio::io_context& io;
    postgres::Connection db;
    std::shared_ptr<Told> told;
    std::atomic<bool> stop{false};
    std::thread thread;
};

AccountEvents::AccountEvents(asio::io_context& io, std::string store_url, Told told)
    : reader_(std::make_unique<Reader>(io, std::move(store_url), std::move(told))) {}

AccountEvents::~AccountEvents() = default;

}  // namespace hexad

#include "storage/postgres/store.hpp"

#include <atomic>
#include <map>
#include <mutex>

#include <boost/asio/thread_pool.hpp>

#include "base/log.hpp"
#include "storage/offload.hpp"
#include "storage/postgres/assignment.hpp"
#include "storage/postgres/epochs.hpp"
#include "storage/postgres/migrate.hpp"
#include "storage/postgres/offline.hpp"
#include "storage/postgres/redundancy.hpp"
#include "storage/postgres/transaction.hpp"
#include "storage/postgres/writer.hpp"
#include "storage/sql/accounts.hpp"
#include "storage/sql/archive.hpp"
#include "storage/sql/room_moves.hpp"
#include "storage/sql/rooms.hpp"

namespace hexad {

using namespace postgres;

namespace {

StorageError storage_error(const Failure& failure) {
    if (failure.transient()) return StorageError::unavailable;
    return failure.state().starts_with("23") ? StorageError::conflict : StorageError::corrupt;
}

/// All in one transaction, two trips for each thousand.
std::size_t import(postgres::Connection& db, std::vector<Store::NewAccount>& accounts, const Placer& placer) {
    Transaction transaction(db);
    std::vector<AccountRow*> rows;
    for (auto& account : accounts) rows.push_back(&account.row);
    sql::place_new(db, placer, rows);
    std::map<std::string, std::int64_t, std::less<>> hosts;
    std::size_t made = 0;
    constexpr std::size_t portion = 1000;
    for (std::size_t from = 0; from < accounts.size(); from += portion) {
        const auto to = std::min(from + portion, accounts.size());
        for (auto i = from; i < to; ++i) {
            const auto domain = accounts[i].row.jid.domain();
            if (!hosts.contains(domain)) hosts.emplace(domain, sql::host_id(db, domain));
        }
        for (auto i = from; i < to; ++i) {
            const auto& row = accounts[i].row;
            const auto created = row.created == Timestamp{} ? wall_now() : row.created;
            db.send(
                "INSERT INTO account(host, localpart, state, source, home_node, pinned, created, rule, "
                "assigned_at) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?7) ON CONFLICT DO NOTHING RETURNING id",
                hosts.find(row.jid.domain())->second, row.jid.local(), static_cast<int>(row.state),
                static_cast<int>(row.source), row.home_node, row.pinned, sql::to_micros(created), row.rule);
        }
        auto results = db.collect();
        for (auto i = from; i < to; ++i) {
            auto& result = results[i - from];
            if (!result.next()) continue;
            ++made;
            for (const auto& key : accounts[i].keys) {
                db.send("INSERT INTO credential VALUES(?1,?2,?3,?4,?5,?6)", result.integer(0), key.mechanism,
                        sql::Blob{key.salt}, key.iterations, sql::Blob{key.stored_key},
                        sql::Blob{key.server_key});
            }
        }
        db.collect();
    }
    transaction.commit();
    return made;
}

}  // namespace

struct PostgresStore::Impl final : Store,
                                   OfflineStore,
                                   EpochStore,
                                   OfflineLoginStore,
                                   RedundancyStore,
                                   AssignmentStore {
    using Db = postgres::Connection;

    Impl(asio::io_context& io, const std::string& conninfo, const Options& options)
        : writer(io, conninfo, options.patience), migrate(options.migrate), pool(options.connections) {
        for (std::size_t i = 0; i < options.connections; ++i) {
            idle.push_back(std::make_unique<Db>(conninfo, options.patience));
        }
    }
    ~Impl() override { pool.join(); }

    struct Lease {
        Impl& owner;
        std::unique_ptr<Db> db;
        explicit Lease(Impl& o) : owner(o) {
            const std::lock_guard lock(o.mutex);
            db = std::move(o.idle.back());
            o.idle.pop_back();
        }
        ~Lease() {
            const std::lock_guard lock(owner.mutex);
            owner.idle.push_back(std::move(db));
        }
    };

    void answers(bool yes, const std::string& why = {}) {
        if (down.exchange(!yes) != yes) return;
        if (yes) {
            log_info("store_read_recovered");
        } else {
            log_error("store_read_failed", {{"error", why}});
        }
    }

    /// Runs `work(Connection&)` on a worker. `repeat`: it may be done again if the answer of the first time
    /// was lost, as after a restart of the server, when every connection is found broken.
    template <class Work>
    awaitable<Lifted<std::invoke_result_t<Work&, Db&>>> run(Work work, bool repeat = true) {
        using Value = Lifted<std::invoke_result_t<Work&, Db&>>;
        if (!prepared) return nothing<Value>();
        return on_worker(std::move(work), repeat);
    }

    template <class Value>
    static awaitable<Value> nothing() {
        co_return StorageError::unavailable;
    }

    template <class Work>
    awaitable<Lifted<std::invoke_result_t<Work&, Db&>>> on_worker(Work work, bool repeat) {
        using Value = Lifted<std::invoke_result_t<Work&, Db&>>;
        return offload(pool, [this, work = std::move(work), repeat]() mutable -> Value {
            Lease lease(*this);  // as many connections as threads: there is always one
            auto& db = *lease.db;
            for (int round = 0;; ++round) {
                const bool had_connection = db.connected();
                try {
                    db.connect();
                    Value value = work(db);
                    answers(true);
                    return value;
                } catch (const Failure& failure) {
                    db.rollback();
                    if (failure.transient() && had_connection && repeat && round == 0) continue;
                    if (failure.transient()) {
                        answers(false, failure.what());
                    } else if (storage_error(failure) == StorageError::corrupt) {
                        log_error("store_statement_failed",
                                  {{"error", failure.what()}, {"state", failure.state()}});
                    }
                    return storage_error(failure);
                }
            }
        });
    }

    awaitable<Result<std::optional<std::string>>> prepare() {
        return on_worker([migrate = migrate](Db& db) { return prepare_schema(db, migrate); }, false);
    }

    // Store

    awaitable<Result<std::optional<AccountData>>> load_account(Jid bare) override {
        return run([bare = std::move(bare)](Db& db) { return sql::load_account(db, bare); });
    }
    awaitable<Result<std::vector<ScramCredential>>> credentials(AccountId account) override {
        return run([account](Db& db) { return sql::credentials(db, account); });
    }
    awaitable<Result<std::string>> document(AccountId owner, std::string kind, std::string key) override {
        return run([owner, kind = std::move(kind), key = std::move(key)](Db& db) {
            return sql::document(db, owner, kind, key);
        });
    }
    awaitable<Result<ArchivePage>> archive_page(AccountId owner, ArchiveQuery query) override {
        return run([owner, query = std::move(query)](Db& db) {
            return sql::archive_page(db, sql::ArchiveOf::account, owner, query);
        });
    }
    awaitable<Result<std::optional<ArchiveSpan>>> archive_span(AccountId owner) override {
        return run([owner](Db& db) { return sql::archive_span(db, sql::ArchiveOf::account, owner); });
    }
    awaitable<Result<ArchivePage>> room_archive_page(RoomId room, ArchiveQuery query) override {
        return run([room, query = std::move(query)](Db& db) {
            return sql::archive_page(db, sql::ArchiveOf::room, room, query);
        });
    }
    awaitable<Result<std::optional<ArchiveSpan>>> room_archive_span(RoomId room) override {
        return run([room](Db& db) { return sql::archive_span(db, sql::ArchiveOf::room, room); });
    }
    awaitable<Result<std::optional<std::string>>> find_sent(AccountId owner, Jid with, std::string origin_id,
                                                            std::string content_hash) override {
        return run([owner, with = std::move(with), origin = std::move(origin_id),
                    hash = std::move(content_hash)](Db& db) {
            return sql::find_sent(db, owner, with, origin, hash);
        });
    }
    awaitable<Result<std::uint64_t>> offline_count(AccountId owner) override {
        return run([owner](Db& db) { return sql::offline_count(db, owner); });
    }
    awaitable<Result<std::optional<RoomRow>>> load_room(Jid room) override {
        return run([room = std::move(room)](Db& db) {
            Transaction transaction(db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            auto row = sql::load_room(db, room);
            transaction.commit();
            return row;
        });
    }
    awaitable<Result<RoomFound>> create_room(Jid room, std::string home_node, std::string config) override {
        return run([room = std::move(room), node = std::move(home_node), config = std::move(config)](Db& db) {
            return sql::create_room(db, room, node, config);
        });
    }
    awaitable<Result<std::vector<RoomRow>>> list_rooms(std::string domain) override {
        return run([domain = std::move(domain)](Db& db) { return sql::list_rooms(db, domain); });
    }
    awaitable<Result<RoomMoved>> move_room(RoomMove wanted) override {
        // Whether it came through, if its answer was lost, the caller finds in the row.
        return run(
            [wanted = std::move(wanted)](Db& db) -> Result<RoomMoved> {
                Transaction transaction(db);
                auto moved = sql::move_room(db, wanted);
                if (moved.refused.empty()) transaction.commit();
                return moved;
            },
            false);
    }
    awaitable<Result<std::vector<RoomMove>>> room_moves() override {
        return run([](Db& db) { return sql::room_moves(db); });
    }
    awaitable<Result<std::optional<RoomMove>>> end_room_move(RoomId room, std::uint64_t epoch) override {
        return run([room, epoch](Db& db) -> Result<std::optional<RoomMove>> {
            Transaction transaction(db);
            auto ended = sql::end_room_move(db, room, epoch);
            transaction.commit();
            return ended;
        });
    }
    awaitable<Result<std::map<std::string, std::uint64_t>>> room_counts() override {
        return run([](Db& db) { return sql::room_counts(db); });
    }
    awaitable<Result<std::vector<Jid>>> rooms_of(std::string home, std::size_t most) override {
        return run([home = std::move(home), most](Db& db) { return sql::rooms_of(db, home, most); });
    }
    void place_by(Placer by) override { placer = std::move(by); }
    awaitable<Result<AccountId>> create_account(AccountRow row, std::vector<ScramCredential> keys) override {
        return run(
            [row = std::move(row), keys = std::move(keys),
             placer = placer](Db& db) mutable -> Result<AccountId> {
                Transaction transaction(db);
                sql::place_new(db, placer, {&row});
                const auto id = sql::insert_account(db, row, keys);
                if (!id) return StorageError::conflict;
                transaction.commit();
                return *id;
            },
            false);
    }
    awaitable<Result<std::size_t>> import_accounts(std::vector<NewAccount> accounts) override {
        return run([accounts = std::move(accounts), placer = placer](Db& db) mutable -> Result<std::size_t> {
            return import(db, accounts, placer);
        });
    }
    awaitable<Result<bool>> set_credentials(AccountId account, std::vector<ScramCredential> keys) override {
        return run([account, keys = std::move(keys)](Db& db) -> Result<bool> {
            Transaction transaction(db);
            const bool found = sql::set_credentials(db, account, keys);
            transaction.commit();
            return found;
        });
    }
    awaitable<Result<bool>> set_account_state(AccountId account, AccountState state) override {
        return run(
            [account, state](Db& db) -> Result<bool> { return sql::set_account_state(db, account, state); });
    }
    awaitable<Result<bool>> remove_account(AccountId account) override {
        return run([account](Db& db) -> Result<bool> {
            Transaction transaction(db);
            const bool found = sql::remove_account(db, account);
            // Whoever is in the directory still comes back as a new account; the name is free for another.
            db.run("DELETE FROM directory_entry WHERE account=?1", account);
            transaction.commit();
            return found;
        });
    }
    awaitable<Result<std::optional<AccountRow>>> find_account(Jid bare) override {
        return run([bare = std::move(bare)](Db& db) { return sql::find_account(db, bare); });
    }
    awaitable<Result<std::optional<MirroredEntry>>> mirrored_entry(AccountId account) override {
        return run([account](Db& db) -> Result<std::optional<MirroredEntry>> {
            auto row =
                db.query("SELECT agreement, entry_uuid FROM directory_entry WHERE account=?1", account);
            if (!row.next()) return std::optional<MirroredEntry>{};
            return std::optional<MirroredEntry>(MirroredEntry{row.string(0), row.string(1)});
        });
    }
    awaitable<Result<std::optional<OfflineLogin>>> offline_login(AccountId account) override {
        return run([account](Db& db) { return sql::offline_login(db, account); });
    }
    awaitable<Result<bool>> set_offline_login(AccountId account, std::optional<OfflineLogin> login) override {
        return run([account, login = std::move(login)](Db& db) -> Result<bool> {
            return sql::set_offline_login(db, account, login);
        });
    }
    awaitable<Result<std::vector<AccountRow>>> list_accounts(std::string domain, std::string after,
                                                             std::size_t limit) override {
        return run([domain = std::move(domain), after = std::move(after), limit](Db& db) {
            return sql::list_accounts(db, domain, after, limit);
        });
    }
    awaitable<Result<std::map<std::string, std::uint64_t>>> assignment_counts() override {
        return run([](Db& db) { return sql::assignment_counts(db); });
    }
    awaitable<Result<std::string>> meta(std::string key) override {
        return run([key = std::move(key)](Db& db) { return sql::meta(db, key); });
    }
    awaitable<Result<bool>> set_meta(std::string key, std::string value) override {
        return run([key = std::move(key), value = std::move(value)](Db& db) -> Result<bool> {
            return sql::set_meta(db, key, value);
        });
    }
    awaitable<error_code> ping() override {
        const auto answer = co_await run([](Db& db) -> Result<bool> { return db.query("SELECT 1").next(); });
        co_return answer ? error_code{} : answer.error();
    }

    // OfflineStore

    awaitable<Result<Taken>> take(AccountId owner, SessionToken token, std::uint64_t filled) override {
        return run([owner, token = std::move(token), filled](Db& db) {
            return take_offline(db, owner, token, filled);
        });
    }
    awaitable<Result<bool>> done(std::string sid, std::uint64_t batch) override {
        return run([sid = std::move(sid), batch](Db& db) -> Result<bool> {
            offline_done(db, sid, batch);
            return true;
        });
    }
    awaitable<Result<bool>> put_back(AccountId owner, SessionToken token, Jid jid, std::uint64_t in,
                                     std::uint64_t filled, std::vector<OfflineRow> due) override {
        return run([owner, token = std::move(token), jid = std::move(jid), in, filled, due = std::move(due)](
                       Db& db) { return put_back_offline(db, owner, token, jid, in, filled, due); });
    }
    awaitable<Result<std::optional<SessionTomb>>> tomb(std::string sid) override {
        return run([sid = std::move(sid)](Db& db) { return find_tomb(db, sid); });
    }
    awaitable<Result<std::vector<Row>>> withdraw(SessionToken token, std::vector<RowName> rows) override {
        return run([token = std::move(token), rows = std::move(rows)](Db& db) {
            return withdraw_offline(db, token, rows);
        });
    }

    // EpochStore

    awaitable<Result<Generation>> generation() override {
        return run([](Db& db) { return postgres::generation(db); });
    }
    awaitable<Result<Generation>> raise_generation(std::uint64_t known, std::string run_id) override {
        return run([known, run_id = std::move(run_id)](Db& db) {
            return postgres::raise_generation(db, known, run_id);
        });
    }
    awaitable<Result<std::vector<Partition>>> partitions() override {
        return run([](Db& db) { return postgres::partitions(db); });
    }
    awaitable<Result<Partition>> ensure_partition(std::string home) override {
        return run([home = std::move(home)](Db& db) { return postgres::ensure_partition(db, home); });
    }
    awaitable<Result<Partition>> move_partition(std::string home, std::string serving,
                                                std::uint64_t known) override {
        return run([home = std::move(home), serving = std::move(serving), known](Db& db) {
            return postgres::move_partition(db, home, serving, known);
        });
    }
    awaitable<Result<std::uint64_t>> next_incarnation(std::string node) override {
        return run([node = std::move(node)](Db& db) { return postgres::next_incarnation(db, node); });
    }

    // RedundancyStore

    awaitable<Result<Settings>> settings() override {
        return run([](Db& db) { return redundancy_settings(db); });
    }
    awaitable<Result<bool>> set_hold(std::string home, bool held) override {
        return run([home = std::move(home), held](Db& db) -> Result<bool> {
            return postgres::set_hold(db, home, held);
        });
    }
    awaitable<Result<bool>> set_high_availability(bool on) override {
        return run([on](Db& db) -> Result<bool> {
            postgres::set_high_availability(db, on);
            return true;
        });
    }
    awaitable<Result<bool>> set_gate_override(std::string node, Timestamp until) override {
        return run([node = std::move(node), until](Db& db) -> Result<bool> {
            postgres::set_gate_override(db, node, until);
            return true;
        });
    }
    awaitable<Result<Health>> health() override {
        return run([](Db& db) { return store_health(db); });
    }
    awaitable<Result<std::vector<Waiting>>> offline_waiting() override {
        return run([](Db& db) { return postgres::offline_waiting(db); });
    }
    awaitable<Result<std::map<std::string, std::string>>> history_holes() override {
        return run([](Db& db) { return postgres::history_holes(db); });
    }
    awaitable<Result<std::vector<std::string>>> never_synced(std::vector<std::string> agreements) override {
        return run([all = std::move(agreements)](Db& db) { return postgres::never_synced(db, all); });
    }
    awaitable<Result<bool>> add_events(std::vector<HaEvent> all) override {
        return run([all = std::move(all)](Db& db) -> Result<bool> {
            add_ha_events(db, all);
            return true;
        });
    }
    awaitable<Result<std::vector<HaEvent>>> events(std::uint64_t after, std::string kind,
                                                   std::size_t limit) override {
        return run(
            [after, kind = std::move(kind), limit](Db& db) { return ha_events(db, after, kind, limit); });
    }

    // AssignmentStore

    awaitable<Result<std::vector<Load>>> loads() override {
        return run([](Db& db) { return postgres::loads(db); });
    }
    awaitable<Result<std::string>> set_home(SetHome wanted, RoomCheck check) override {
        return run([wanted = std::move(wanted), check = std::move(check)](Db& db) -> Result<std::string> {
            return postgres::set_home(db, wanted, check);
        });
    }
    awaitable<Result<bool>> clear_pin(AccountId account) override {
        return run([account](Db& db) -> Result<bool> { return postgres::clear_pin(db, account); });
    }
    awaitable<Result<std::vector<Moved>>> place_unassigned(std::size_t most) override {
        return run([most, placer = placer](Db& db) { return postgres::place_unassigned(db, placer, most); },
                   false);
    }
    awaitable<Result<bool>> hold_job(std::string name, std::string holder, milliseconds time) override {
        return run([name = std::move(name), holder = std::move(holder), time](Db& db) -> Result<bool> {
            return postgres::hold_job(db, name, holder, time);
        });
    }
    awaitable<Result<std::int64_t>> start_run(RebalanceRun wanted) override {
        return run([wanted = std::move(wanted)](
                       Db& db) -> Result<std::int64_t> { return postgres::start_run(db, wanted); },
                   false);
    }
    awaitable<Result<std::vector<RebalanceRun>>> runs(std::size_t most) override {
        return run([most](Db& db) { return postgres::rebalance_runs(db, most); });
    }
    awaitable<Result<bool>> end_run(std::int64_t id, std::string state, std::string reason,
                                    std::uint64_t sessions) override {
        return run(
            [id, state = std::move(state), reason = std::move(reason), sessions](Db& db) -> Result<bool> {
                return postgres::end_run(db, id, state, reason, sessions);
            });
    }
    awaitable<Result<MovedSome>> move_some(MoveSome wanted, RoomCheck check) override {
        return run([wanted = std::move(wanted),
                    check = std::move(check)](Db& db) { return postgres::move_some(db, wanted, check); },
                   false);
    }

    Placer placer;  ///< set before the first account is made
    Writer writer;
    const bool migrate;
    std::atomic<bool> prepared{false};
    std::mutex mutex;
    std::vector<std::unique_ptr<Db>> idle;
    std::atomic<bool> down{false};
    asio::thread_pool pool;  ///< last: its threads use the others
};

Result<std::unique_ptr<PostgresStore>, OpenFailure> PostgresStore::open(asio::io_context& io,
                                                                        const std::string& conninfo,
                                                                        Options options) {
    const auto refuse = [](OpenFailure failure) {
        log_error("store_open_failed", {{"error", failure.text}});
        return failure;
    };
    bool prepared = true;
    try {
        postgres::Connection db(conninfo, options.patience);
        if (auto refusal = prepare_schema(db, options.migrate))
            return refuse({StorageError::schema, *refusal});
    } catch (const Failure& failure) {
        const OpenFailure found{storage_error(failure), failure.what()};
        if (!options.may_wait || found.error != StorageError::unavailable) return refuse(found);
        log_warn("store_waited_for", {{"error", found.text}});
        prepared = false;
    }
    auto impl = std::make_unique<Impl>(io, conninfo, options);
    impl->prepared = prepared;
    return std::unique_ptr<PostgresStore>(new PostgresStore(std::move(impl)));
}

bool PostgresStore::is_prepared() const { return impl_->prepared; }

awaitable<std::optional<OpenFailure>> PostgresStore::prepare() {
    const auto refusal = co_await impl_->prepare();
    if (!refusal) co_return OpenFailure{StorageError::unavailable, refusal.error().message()};
    if (*refusal) co_return OpenFailure{StorageError::schema, **refusal};
    impl_->prepared = true;
    co_return std::nullopt;
}

PostgresStore::PostgresStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PostgresStore::~PostgresStore() = default;
Store& PostgresStore::store() { return *impl_; }
StoreWriter& PostgresStore::writer() { return impl_->writer; }
OfflineStore& PostgresStore::offline() { return *impl_; }
EpochStore& PostgresStore::epochs() { return *impl_; }
OfflineLoginStore& PostgresStore::offline_logins() { return *impl_; }
RedundancyStore& PostgresStore::redundancy() { return *impl_; }
AssignmentStore& PostgresStore::assignment() { return *impl_; }

}  // namespace hexad

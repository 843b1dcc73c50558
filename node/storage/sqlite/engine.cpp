#include "storage/sqlite/engine.hpp"

#include <fcntl.h>
#include <ostream>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.hpp"
#include "storage/sql/accounts.hpp"
#include "storage/sql/archive.hpp"
#include "storage/sql/room_moves.hpp"
#include "storage/sql/rooms.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/batch_writer.hpp"
#include "storage/sqlite/group_writer.hpp"
#include "storage/sqlite/migrate.hpp"
#include "storage/sqlite/readers.hpp"

namespace hexad {

using namespace sqlite;

namespace {

StorageError storage_error(const Failure& failure) {
    if (failure.transient()) return StorageError::unavailable;
    return (failure.code() & 0xff) == SQLITE_CONSTRAINT ? StorageError::conflict : StorageError::corrupt;
}

template <class T>
struct FailureAs;
template <class T>
struct FailureAs<Result<T>> {
    static Result<T> make(const Failure& failure) { return storage_error(failure); }
};
template <>
struct FailureAs<Result<ClaimedSession, ClaimRefusal>> {
    static Result<ClaimedSession, ClaimRefusal> make(const Failure&) { return ClaimRefusal::unavailable; }
};

/// An operation whose caller waits for a value.
template <class Value, class Work, class Handler>
class Call final : public Job {
public:
    Call(Work work, Handler handler) : work_(std::move(work)), handler_(std::move(handler)) {}
    void run(Connection& db) override { value_.emplace(work_(db)); }
    void committed() override { std::move(handler_)(std::exception_ptr{}, std::move(*value_)); }
    void failed(const Failure& why) override {
        std::move(handler_)(std::exception_ptr{}, FailureAs<Value>::make(why));
    }

private:
    Work work_;
    Handler handler_;
    std::optional<Value> value_;
};

/// An operation nobody waits for.
template <class Work>
class Order final : public Job {
public:
    explicit Order(Work work) : work_(std::move(work)) {}
    void run(Connection& db) override { work_(db); }
    void committed() override {}
    void failed(const Failure&) override {}

private:
    Work work_;
};

class BatchJob final : public Job {
public:
    BatchJob(BatchWriter& writer, Batch batch, std::function<void(const CommitOutcome&, Batch&)> done,
             std::shared_ptr<std::size_t> pending, std::size_t bytes)
        : writer_(writer),
          batch_(std::move(batch)),
          done_(std::move(done)),
          pending_(std::move(pending)),
          bytes_(bytes) {}
    void run(Connection&) override { outcome_ = writer_.write(batch_); }
    void committed() override {
        *pending_ -= bytes_;
        done_(outcome_, batch_);
    }
    /// The rows themselves cannot be written. Its session is dropped: the client finds its count unmoved.
    void failed(const Failure&) override {
        outcome_ = {};
        outcome_.status = CommitStatus::not_owner;
        outcome_.positions.assign(batch_.appends.size(), 0);
        outcome_.room_positions.assign(batch_.room_inputs.size(), 0);
        committed();
    }

private:
    BatchWriter& writer_;
    Batch batch_;
    std::function<void(const CommitOutcome&, Batch&)> done_;
    CommitOutcome outcome_;
    std::shared_ptr<std::size_t> pending_;
    std::size_t bytes_;
};

std::size_t bytes_of(const Batch& batch) {
    std::size_t sum = 256;
    const auto add = [&sum](const auto& rows) {
        for (const auto& row : rows) sum += 128 + (row.xml ? row.xml->size() : 0);
    };
    add(batch.archive);
    add(batch.offline);
    add(batch.room_archive);
    add(batch.appends);
    add(batch.room_inputs);
    for (const auto& document : batch.documents) sum += document.bytes.size();
    for (const auto& record : batch.sessions) sum += 128 + record.state.size();
    return sum;
}

/// Keeps a second process away from the file for as long as it lives.
class FileLock {
public:
    FileLock() = default;
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;
    ~FileLock() {
        if (fd_ >= 0) ::close(fd_);
    }
    /// On a file of its own: SQLite's locks would go with a descriptor of the data base itself.
    bool take(const std::string& path) {
        fd_ = ::open((path + "-lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        return fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
    }

private:
    int fd_ = -1;
};

}  // namespace

struct SqliteEngine::Impl final : Store, Committer, SessionLog {
    Impl(asio::io_context& io, const std::string& path, const Options& options,
         std::unique_ptr<FileLock> file_lock)
        : lock(std::move(file_lock)),
          pending(std::make_shared<std::size_t>(0)),
          db(path, Connection::Mode::writer, options.durability) {
        if (auto refusal = prepare_schema(db, options.migrate)) {
            throw OpenFailure{StorageError::schema, std::move(*refusal)};
        }
        sessions.emplace(db);
        batches.emplace(db, *sessions);
        if (path != ":memory:") readers.emplace(path, 2);
        writer.emplace(
            io, db,
            GroupWriter::Options{
                .max_group = options.max_group,
                .before_group = [this](Connection&) { sessions->purge(sql::to_micros(wall_now())); },
                .rolled_back = [this] { sessions->forget(); }});
    }

    template <class Work>
    awaitable<std::invoke_result_t<Work&, Connection&>> write(Work work) {
        using Value = std::invoke_result_t<Work&, Connection&>;
        co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&,
                                                void(std::exception_ptr, Value)>(
            [this](auto handler, Work w) {
                writer->submit(
                    std::make_unique<Call<Value, Work, decltype(handler)>>(std::move(w), std::move(handler)));
            },
            asio::use_awaitable, std::move(work));
    }

    /// A read of the store; failures become values.
    template <class Work>
    awaitable<Lifted<std::invoke_result_t<Work&, Connection&>>> read(Work work) {
        using Value = Lifted<std::invoke_result_t<Work&, Connection&>>;
        if (!readers) {  // in memory there is only the writer's connection
            auto lifted = [work = std::move(work)](Connection& db) mutable -> Value { return work(db); };
            co_return co_await write(std::move(lifted));
        }
        StorageError error{};
        try {
            co_return Value(co_await readers->run(std::move(work)));
        } catch (const Failure& failure) {
            log_error("store_read_failed", {{"error", failure.what()}, {"code", failure.code()}});
            error = storage_error(failure);
        }
        co_return error;
    }

    /// The session if `epoch` is the one in force; on the writer's thread.
    SessionTable::Session* owned(const std::string& sid, Epoch epoch) {
        auto* session = sessions->find(sid);
        return session != nullptr && session->epoch == epoch ? session : nullptr;
    }

    // Store

    awaitable<Result<std::optional<AccountData>>> load_account(Jid bare) override {
        return read([bare = std::move(bare)](Connection& db) { return sql::load_account(db, bare); });
    }
    awaitable<Result<std::vector<ScramCredential>>> credentials(AccountId account) override {
        return read([account](Connection& db) { return sql::credentials(db, account); });
    }
    awaitable<Result<std::string>> document(AccountId owner, std::string kind, std::string key) override {
        return read([owner, kind = std::move(kind), key = std::move(key)](Connection& db) {
            return sql::document(db, owner, kind, key);
        });
    }
    awaitable<Result<ArchivePage>> archive_page(AccountId owner, ArchiveQuery query) override {
        return read([owner, query = std::move(query)](Connection& db) {
            return sql::archive_page(db, sql::ArchiveOf::account, owner, query);
        });
    }
    awaitable<Result<std::optional<ArchiveSpan>>> archive_span(AccountId owner) override {
        return read(
            [owner](Connection& db) { return sql::archive_span(db, sql::ArchiveOf::account, owner); });
    }
    awaitable<Result<ArchivePage>> room_archive_page(RoomId room, ArchiveQuery query) override {
        return read([room, query = std::move(query)](Connection& db) {
            return sql::archive_page(db, sql::ArchiveOf::room, room, query);
        });
    }
    awaitable<Result<std::optional<ArchiveSpan>>> room_archive_span(RoomId room) override {
        return read([room](Connection& db) { return sql::archive_span(db, sql::ArchiveOf::room, room); });
    }
    awaitable<Result<std::optional<std::string>>> find_sent(AccountId owner, Jid with, std::string origin_id,
                                                            std::string content_hash) override {
        return read([owner, with = std::move(with), origin = std::move(origin_id),
                     hash = std::move(content_hash)](Connection& db) {
            return sql::find_sent(db, owner, with, origin, hash);
        });
    }
    awaitable<Result<std::uint64_t>> offline_count(AccountId owner) override {
        return read([owner](Connection& db) { return sql::offline_count(db, owner); });
    }
    awaitable<Result<std::optional<RoomRow>>> load_room(Jid room) override {
        return read([room = std::move(room)](Connection& db) { return sql::load_room(db, room); });
    }
    awaitable<Result<RoomFound>> create_room(Jid room, std::string home_node, std::string config) override {
        return write([room = std::move(room), node = std::move(home_node), config = std::move(config)](
                         Connection& db) { return sql::create_room(db, room, node, config); });
    }
    awaitable<Result<std::vector<RoomRow>>> list_rooms(std::string domain) override {
        return read([domain = std::move(domain)](Connection& db) { return sql::list_rooms(db, domain); });
    }
    awaitable<Result<RoomMoved>> move_room(RoomMove wanted) override {
        return write([wanted = std::move(wanted)](Connection& db) -> Result<RoomMoved> {
            return sql::move_room(db, wanted);
        });
    }
    awaitable<Result<std::vector<RoomMove>>> room_moves() override {
        return read([](Connection& db) -> Result<std::vector<RoomMove>> { return sql::room_moves(db); });
    }
    awaitable<Result<std::optional<RoomMove>>> end_room_move(RoomId room, std::uint64_t epoch) override {
        return write([room, epoch](Connection& db) -> Result<std::optional<RoomMove>> {
            return sql::end_room_move(db, room, epoch);
        });
    }
    awaitable<Result<std::map<std::string, std::uint64_t>>> room_counts() override {
        return read([](Connection& db) -> Result<std::map<std::string, std::uint64_t>> {
            return sql::room_counts(db);
        });
    }
    awaitable<Result<std::vector<Jid>>> rooms_of(std::string home, std::size_t most) override {
        return read([home = std::move(home), most](Connection& db) -> Result<std::vector<Jid>> {
            return sql::rooms_of(db, home, most);
        });
    }
    void place_by(Placer by) override { placer = std::move(by); }
    awaitable<Result<AccountId>> create_account(AccountRow row, std::vector<ScramCredential> keys) override {
        return write([row = std::move(row), keys = std::move(keys),
                      placer = placer](Connection& db) mutable -> Result<AccountId> {
            sql::place_new(db, placer, {&row});
            const auto id = sql::insert_account(db, row, keys);
            if (!id) return StorageError::conflict;
            return *id;
        });
    }
    awaitable<Result<std::size_t>> import_accounts(std::vector<NewAccount> accounts) override {
        return write(
            [accounts = std::move(accounts), placer = placer](Connection& db) mutable -> Result<std::size_t> {
                std::size_t made = 0;
                std::vector<AccountRow*> rows;
                for (auto& account : accounts) rows.push_back(&account.row);
                sql::place_new(db, placer, rows);
                for (const auto& account : accounts)
                    made += sql::insert_account(db, account.row, account.keys) ? 1 : 0;
                return made;
            });
    }
    awaitable<Result<bool>> set_credentials(AccountId account, std::vector<ScramCredential> keys) override {
        return write([account, keys = std::move(keys)](Connection& db) -> Result<bool> {
            return sql::set_credentials(db, account, keys);
        });
    }
    awaitable<Result<bool>> set_account_state(AccountId account, AccountState state) override {
        return write([account, state](Connection& db) -> Result<bool> {
            return sql::set_account_state(db, account, state);
        });
    }
    awaitable<Result<bool>> remove_account(AccountId account) override {
        return write([account](Connection& db) -> Result<bool> { return sql::remove_account(db, account); });
    }
    awaitable<Result<std::optional<AccountRow>>> find_account(Jid bare) override {
        return read([bare = std::move(bare)](Connection& db) { return sql::find_account(db, bare); });
    }
    awaitable<Result<std::vector<AccountRow>>> list_accounts(std::string domain, std::string after,
                                                             std::size_t limit) override {
        return read([domain = std::move(domain), after = std::move(after), limit](Connection& db) {
            return sql::list_accounts(db, domain, after, limit);
        });
    }
    awaitable<Result<std::map<std::string, std::uint64_t>>> assignment_counts() override {
        return read([](Connection& db) { return sql::assignment_counts(db); });
    }
    awaitable<Result<std::string>> meta(std::string key) override {
        return read([key = std::move(key)](Connection& db) { return sql::meta(db, key); });
    }
    awaitable<Result<bool>> set_meta(std::string key, std::string value) override {
        return write([key = std::move(key), value = std::move(value)](Connection& db) -> Result<bool> {
            return sql::set_meta(db, key, value);
        });
    }
    awaitable<error_code> ping() override {
        const auto answer = co_await read([](Connection& db) { return db.query("SELECT 1").next(); });
        if (!answer) co_return answer.error();
        co_return writer->healthy() ? error_code{} : make_error_code(StorageError::unavailable);
    }

    // Committer

    void submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) override {
        const auto bytes = bytes_of(batch);
        *pending += bytes;
        writer->submit(
            std::make_unique<BatchJob>(*batches, std::move(batch), std::move(done), pending, bytes));
    }
    bool never_refuses() const override { return true; }
    std::size_t pending_bytes() const override { return *pending; }

    // SessionLog

    awaitable<Result<std::vector<SessionRecord>>> load_sessions() override {
        return write([this](Connection&) -> Result<std::vector<SessionRecord>> { return sessions->load(); });
    }
    awaitable<Result<ClaimedSession, ClaimRefusal>> claim(std::string sid, AccountId account,
                                                          std::string node) override {
        return write([this, sid = std::move(sid), account, node = std::move(node)](Connection&) {
            return sessions->claim(sid, account, node);
        });
    }
    awaitable<Result<bool>> settle(std::string sid, Epoch epoch, std::uint32_t h) override {
        return write([this, sid = std::move(sid), epoch, h](Connection&) -> Result<bool> {
            auto* session = owned(sid, epoch);
            if (session == nullptr) return false;
            sessions->settle(*session, h);
            return true;
        });
    }
    awaitable<Result<bool>> number(std::string sid, Epoch epoch, std::vector<Number> numbers) override {
        return write(
            [this, sid = std::move(sid), epoch, numbers = std::move(numbers)](Connection&) -> Result<bool> {
                auto* session = owned(sid, epoch);
                if (session == nullptr) return false;
                sessions->number(*session, numbers);
                return true;
            });
    }
    void ack(std::string sid, Epoch epoch, std::uint64_t position) override {
        auto work = [this, sid = std::move(sid), epoch, position](Connection&) {
            if (auto* session = owned(sid, epoch)) sessions->ack(*session, position);
        };
        writer->submit(std::make_unique<Order<decltype(work)>>(std::move(work)));
    }
    awaitable<Result<Filled>> fill(std::string sid, Epoch epoch) override {
        return write([this, sid = std::move(sid), epoch](Connection&) -> Result<Filled> {
            auto* session = owned(sid, epoch);
            if (session == nullptr) return StorageError::conflict;
            return sessions->fill(*session);
        });
    }
    awaitable<Result<Ended>> end(std::string sid, Epoch epoch, Batch) override {
        return write([this, sid = std::move(sid), epoch](Connection&) -> Result<Ended> {
            if (sessions->find(sid) == nullptr) return Ended{};  // it was ended before
            if (owned(sid, epoch) == nullptr) return StorageError::conflict;
            return sessions->end(sid);
        });
    }
    awaitable<Result<std::optional<SessionTomb>>> tomb(std::string sid) override {
        return write([this, sid = std::move(sid)](Connection&) -> Result<std::optional<SessionTomb>> {
            return sessions->tomb(sid);
        });
    }
    awaitable<Result<std::vector<RoomEntry>>> room_inbox(Jid room, std::uint64_t position,
                                                         std::size_t limit) override {
        return write(
            [this, room = std::move(room), position, limit](Connection&) -> Result<std::vector<RoomEntry>> {
                return sessions->room_inbox(room, position, limit);
            });
    }
    using SessionLog::room_state;
    awaitable<Result<RoomState>> room_state(Jid room, RoomHome) override {
        return write([this, room = std::move(room)](Connection&) -> Result<RoomState> {
            return sessions->room_state(room);
        });
    }
    awaitable<Result<bool>> hold_room(Jid) override { co_return true; }
    awaitable<Result<bool>> move_room(Jid, RoomHome, std::optional<std::uint64_t>) override {
        co_return false;  // one node has one home
    }
    awaitable<Result<std::vector<std::string>>> missing_sessions(std::vector<std::string> sids) override {
        return write([this, sids = std::move(sids)](Connection&) -> Result<std::vector<std::string>> {
            return sessions->missing(sids);
        });
    }
    awaitable<Result<std::vector<Jid>>> active_rooms() override {
        return write([this](Connection&) -> Result<std::vector<Jid>> { return sessions->active_rooms(); });
    }

    Placer placer;
    std::unique_ptr<FileLock> lock;
    std::shared_ptr<std::size_t> pending;
    std::optional<Readers> readers;
    Connection db;  ///< the writer's; the three below use it on its thread
    std::optional<SessionTable> sessions;
    std::optional<BatchWriter> batches;
    std::optional<GroupWriter> writer;  ///< last: its thread uses all the others
};

Result<std::unique_ptr<SqliteEngine>, OpenFailure> SqliteEngine::open(asio::io_context& io,
                                                                      const std::string& path,
                                                                      Options options) {
    const auto refuse = [&path](OpenFailure failure) {
        log_error("store_open_failed", {{"path", path}, {"error", failure.text}});
        return failure;
    };
    try {
        auto lock = std::make_unique<FileLock>();
        if (path != ":memory:" && !lock->take(path)) {
            return refuse({StorageError::unavailable,
                           path + ": in use by another process, or its folder is not writable"});
        }
        return std::unique_ptr<SqliteEngine>(
            new SqliteEngine(std::make_unique<Impl>(io, path, options, std::move(lock))));
    } catch (const OpenFailure& failure) {
        return refuse({failure.error, path + ": " + failure.text});
    } catch (const Failure& failure) {
        return refuse({storage_error(failure), path + ": " + failure.what()});
    }
}

SqliteEngine::SqliteEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteEngine::~SqliteEngine() = default;
Store& SqliteEngine::store() { return *impl_; }
Committer& SqliteEngine::committer() { return *impl_; }
SessionLog& SqliteEngine::session_log() { return *impl_; }
bool SqliteEngine::healthy() const { return impl_->writer->healthy(); }

}  // namespace hexad

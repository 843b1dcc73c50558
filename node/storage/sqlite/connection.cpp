#include "storage/sqlite/connection.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace hexad::sqlite {

bool Failure::transient() const {
    switch (code_ & 0xff) {
        case SQLITE_FULL:
        case SQLITE_IOERR:
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_NOMEM:
        case SQLITE_CANTOPEN:
        case SQLITE_READONLY:
        case SQLITE_PROTOCOL:
            return true;
        default:
            return false;
    }
}

Statement::Statement(Connection& db, std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(db.raw(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) throw Failure(sqlite3_extended_errcode(db.raw()), sqlite3_errmsg(db.raw()));
    statement_.reset(statement);
}

void Statement::check(int code) const {
    if (code == SQLITE_OK) return;
    auto* db = sqlite3_db_handle(raw());
    throw Failure(sqlite3_extended_errcode(db), sqlite3_errmsg(db));
}

Statement& Statement::bind(int index, std::int64_t value) {
    check(sqlite3_bind_int64(raw(), index, value));
    return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
    // A null pointer would bind NULL, and an empty view may carry one.
    const char* data = value.data() == nullptr ? "" : value.data();
    check(sqlite3_bind_text64(raw(), index, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
    return *this;
}

Statement& Statement::bind(int index, Blob value) {
    const char* data = value.bytes.data() == nullptr ? "" : value.bytes.data();
    check(sqlite3_bind_blob64(raw(), index, data, value.bytes.size(), SQLITE_STATIC));
    return *this;
}

void Statement::bind_copy(int index, std::string_view value) {
    const char* data = value.data() == nullptr ? "" : value.data();
    check(sqlite3_bind_text64(raw(), index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

Statement& Statement::bind(int index, std::nullptr_t) {
    check(sqlite3_bind_null(raw(), index));
    return *this;
}

bool Statement::step() {
    const int code = sqlite3_step(raw());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) {
        reset();
        return false;
    }
    auto* db = sqlite3_db_handle(raw());
    const Failure failure(sqlite3_extended_errcode(db), sqlite3_errmsg(db));
    reset();
    throw failure;
}

int Statement::run() {
    while (step()) {
    }
    return sqlite3_changes(sqlite3_db_handle(raw()));
}

void Statement::reset() noexcept { sqlite3_reset(raw()); }

std::string_view Statement::text(int column) const {
    // For a text in an UTF-8 data base this is the text as it is, for a blob its bytes.
    const auto* data = static_cast<const char*>(sqlite3_column_blob(raw(), column));
    return data == nullptr
               ? std::string_view{}
               : std::string_view(data, static_cast<std::size_t>(sqlite3_column_bytes(raw(), column)));
}

Connection::Connection(const std::string& path, Mode mode, Durability durability) {
    const bool memory = path == ":memory:";
    if (mode == Mode::writer && !memory) {
        // SQLite gives -wal and -shm the mode of the database, so it must be right before the first byte.
        // Only a new file is opened here: closing a descriptor drops every lock the process has on the file.
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) throw Failure(SQLITE_CANTOPEN, path + ": " + std::strerror(errno));
        if (fd >= 0) ::close(fd);
    }
    const int flags =
        SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
        (mode == Mode::writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    sqlite3* db = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
    db_.reset(db);
    if (code != SQLITE_OK)
        throw Failure(code, path + ": " + (db ? sqlite3_errmsg(db) : sqlite3_errstr(code)));
    sqlite3_busy_timeout(db, 2000);
    script(
        "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384; PRAGMA "
        "mmap_size=268435456");
    if (mode == Mode::writer) {
        if (!memory) script("PRAGMA journal_mode=WAL");
        script(durability == Durability::strict ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
        script("PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864");
    }
    begin_ = Statement(*this, mode == Mode::writer ? "BEGIN IMMEDIATE" : "BEGIN");
    commit_ = Statement(*this, "COMMIT");
}

Statement& Connection::prepared(std::string_view sql) {
    const auto found = statements_.find(sql);
    if (found != statements_.end()) return found->second;
    return statements_.emplace(std::string(sql), Statement(*this, sql)).first->second;
}

void Connection::script(const std::string& sql) {
    const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) throw Failure(code, sqlite3_errmsg(db_.get()));
}

void Connection::rollback() noexcept {
    if (sqlite3_get_autocommit(db_.get()) == 0)
        sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace hexad::sqlite

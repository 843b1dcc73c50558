#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <sqlite3.h>

#include "storage/sql/values.hpp"

namespace hexad::sqlite {

using sql::Blob;

/// What SQLite answered instead of doing it. Thrown inside storage/sqlite only: one fault unwinds a whole
/// group to one rollback. The engine's edge turns it into a StorageError value.
class Failure : public std::runtime_error {
public:
    Failure(int code, const std::string& what) : std::runtime_error(what), code_(code) {}
    int code() const { return code_; }  ///< extended result code
    /// The disk or a lock is in the way and the same work may pass later: full, I/O error, busy, read-only,
    /// no memory.
    bool transient() const;

private:
    int code_;
};

enum class Durability {
    strict,  ///< synchronous=FULL: a commit is on the disk
    relaxed  ///< synchronous=NORMAL: a power cut may take the last commits, a crash of the process takes none
};

class Connection;

/// A prepared statement that lives no longer than its connection; not thread safe. Bound texts are not
/// copied: they must live until the step, so use it as `statement.with(…).run()`.
class Statement {
public:
    Statement() = default;
    Statement(Connection& db, std::string_view sql);

    Statement& bind(int index, std::int64_t value);
    Statement& bind(int index, int value) { return bind(index, std::int64_t{value}); }
    Statement& bind(int index, bool value) { return bind(index, std::int64_t{value}); }
    Statement& bind(int index, std::string_view value);
    Statement& bind(int index, const std::string& value) { return bind(index, std::string_view(value)); }
    Statement& bind(int index, const char* value) { return bind(index, std::string_view(value)); }
    Statement& bind(int index, Blob value);
    Statement& bind(int index, std::nullptr_t);
    template <class T>
    Statement& bind(int index, const std::optional<T>& value) {
        return value ? bind(index, *value) : bind(index, nullptr);
    }
    /// Resets, then binds to ?1, ?2, …
    template <class... Values>
    Statement& with(const Values&... values) {
        reset();
        [[maybe_unused]] int index = 0;
        (bind(++index, values), ...);
        return *this;
    }

    bool step();  ///< true: a row is there; false: done, and reset
    /// Steps to the end and gives the rows changed by it. Throws Failure.
    int run();
    void reset() noexcept;

    std::int64_t integer(int column) const { return sqlite3_column_int64(raw(), column); }
    /// Valid until the next step or reset.
    std::string_view text(int column) const;
    bool null(int column) const { return sqlite3_column_type(raw(), column) == SQLITE_NULL; }

    /// Binds a copy.
    void bind_copy(int index, std::string_view value);
    template <class T>
    void bind_copy(int index, const T& value) {
        if constexpr (std::is_convertible_v<const T&, std::string_view>) {
            bind_copy(index, std::string_view(value));
        } else {
            bind(index, value);
        }
    }

private:
    struct Finalize {
        void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
    };
    sqlite3_stmt* raw() const { return statement_.get(); }
    void check(int code) const;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// Rows of one use of a prepared statement; resets it when it goes.
class Rows {
public:
    explicit Rows(Statement& statement) : statement_(&statement) {}
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() { statement_->reset(); }
    bool next() { return statement_->step(); }
    std::int64_t integer(int column) const { return statement_->integer(column); }
    std::uint64_t count(int column) const { return static_cast<std::uint64_t>(statement_->integer(column)); }
    std::string_view text(int column) const { return statement_->text(column); }  ///< until the next row
    std::string string(int column) const { return std::string(statement_->text(column)); }
    bool null(int column) const { return statement_->null(column); }

private:
    Statement* statement_;
};

/// One SQLite connection in WAL mode, used by one thread at a time.
class Connection {
public:
    enum class Mode { writer, reader };
    /// `path`: a file, made with mode 0600 if absent by a writer, or `:memory:` (writer only). Throws
    /// Failure.
    Connection(const std::string& path, Mode mode, Durability durability);

    /// Runs one or more statements without parameters.
    void script(const std::string& sql);
    /// The statement for this text, prepared once.
    Statement& prepared(std::string_view sql);
    /// Rows of a statement with ?1, ?2, … bound to copies of `values`. One use of a text at a time.
    template <class... Values>
    Rows query(std::string_view sql, const Values&... values) {
        auto& statement = prepared(sql);
        statement.reset();
        [[maybe_unused]] int index = 0;
        (statement.bind_copy(++index, values), ...);
        return Rows(statement);
    }
    /// The same with parameters that are known at run time only.
    Rows query_values(std::string_view sql, const std::vector<sql::Value>& values) {
        auto& statement = prepared(sql);
        statement.reset();
        for (std::size_t i = 0; i < values.size(); ++i) {
            std::visit([&](const auto& v) { statement.bind_copy(static_cast<int>(i + 1), v); }, values[i]);
        }
        return Rows(statement);
    }
    /// Runs a statement to its end; rows changed.
    template <class... Values>
    int run(std::string_view sql, const Values&... values) {
        return prepared(sql).with(values...).run();
    }
    void begin() { begin_.with().run(); }
    void commit() { commit_.with().run(); }
    void rollback() noexcept;  ///< nothing if no transaction is open
    std::int64_t last_id() const { return sqlite3_last_insert_rowid(db_.get()); }
    sqlite3* raw() const { return db_.get(); }

private:
    struct Close {
        void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    std::unique_ptr<sqlite3, Close> db_;
    Statement begin_, commit_;
    std::unordered_map<std::string, Statement, Hash, std::equal_to<>> statements_;
};

}  // namespace hexad::sqlite

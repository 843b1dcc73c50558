#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <libpq-fe.h>

#include "base/clock.hpp"
#include "storage/sql/values.hpp"

namespace hexad::postgres {

/// What PostgreSQL answered instead of doing it, or that it did not answer. Thrown inside storage/postgres
/// only.
class Failure : public std::runtime_error {
public:
    Failure(const std::string& what, std::string state)
        : std::runtime_error(what), state_(std::move(state)) {}
    const std::string& state() const { return state_; }  ///< SQLSTATE; empty: no connection
    /// The same work may pass later: no connection, no room, shutting down, read-only replica, deadlock.
    bool transient() const;

private:
    std::string state_;
};

using sql::Blob;

/// Parameters $1, $2, … in binary form: numbers as BIGINT, texts and blobs as they are. Texts are not copied.
template <std::size_t N>
class Params {
public:
    void add(std::int64_t value);
    void add(int value) { add(std::int64_t{value}); }
    void add(bool value) { add(std::int64_t{value}); }
    void add(std::string_view value) { put(value.data() == nullptr ? "" : value.data(), value.size()); }
    void add(const std::string& value) { add(std::string_view(value)); }
    void add(const char* value) { add(std::string_view(value)); }
    void add(Blob value) { add(value.bytes); }
    void add(std::nullptr_t) { put(nullptr, 0); }
    template <class T>
    void add(const std::optional<T>& value) {
        value ? add(*value) : add(nullptr);
    }

    int count() const { return static_cast<int>(count_); }
    const char* const* values() const { return values_.data(); }
    const int* lengths() const { return lengths_.data(); }
    const int* formats() const { return formats_.data(); }

private:
    void put(const char* data, std::size_t size) {
        values_[count_] = data;
        lengths_[count_] = static_cast<int>(size);
        formats_[count_++] = 1;
    }
    std::array<const char*, N> values_{};
    std::array<int, N> lengths_{};
    std::array<int, N> formats_{};
    std::array<std::array<char, 8>, N> numbers_{};
    std::size_t count_ = 0;
};

/// The rows of one result, read in order.
class Rows {
public:
    explicit Rows(PGresult* result) : result_(result) {}
    bool next() { return ++row_ < PQntuples(result_.get()); }
    std::int64_t integer(int column) const;
    std::uint64_t count(int column) const { return static_cast<std::uint64_t>(integer(column)); }
    std::string_view text(int column) const {
        return {PQgetvalue(result_.get(), row_, column),
                static_cast<std::size_t>(PQgetlength(result_.get(), row_, column))};
    }
    std::string string(int column) const { return std::string(text(column)); }
    bool null(int column) const { return PQgetisnull(result_.get(), row_, column) != 0; }
    int size() const { return PQntuples(result_.get()); }
    std::int64_t changed() const;  ///< rows that the statement wrote

private:
    struct Clear {
        void operator()(PGresult* r) const noexcept { PQclear(r); }
    };
    std::unique_ptr<PGresult, Clear> result_;
    int row_ = -1;
};

/// One connection, used by one thread at a time. Statements are prepared once per connection, by their text,
/// in which parameters are written `?1`, `?2`, … as for SQLite; a `?` stands for nothing else. Each wait for
/// an answer ends after `patience`; then, as after any loss, the connection is closed and Failure is thrown.
class Connection {
public:
    explicit Connection(std::string conninfo, milliseconds patience = milliseconds(5000));
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// Connects unless connected. After a failure it refuses at once until a growing pause (0.1 to 2 s) is
    /// over.
    void connect();
    bool connected() const { return db_ != nullptr; }
    PGconn* raw() const { return db_.get(); }
    void close() noexcept;

    /// Several statements without parameters.
    void script(const std::string& sql);
    template <class... Values>
    Rows query(std::string_view sql, const Values&... values) {
        send(sql, values...);
        return std::move(collect().back());
    }
    /// The same with parameters that are known at run time only, at most 300.
    Rows query_values(std::string_view sql, const std::vector<sql::Value>& values);
    template <class... Values>
    std::int64_t run(std::string_view sql, const Values&... values) {
        return query(sql, values...).changed();
    }

    /// Queues a statement; nothing is waited for.
    template <class... Values>
    void send(std::string_view sql, const Values&... values) {
        Params<sizeof...(Values) + 1> params;
        (params.add(values), ...);
        send_prepared(sql, params.count(), params.values(), params.lengths(), params.formats());
    }
    /// Sends what is queued and waits for all of it: one result per statement. If one fails the ones behind
    /// it are not executed; throws then.
    std::vector<Rows> collect();
    /// Statements queued since the last collect().
    std::size_t queued() const { return queued_; }

    void begin() { run("BEGIN"); }
    void commit() { run("COMMIT"); }
    void rollback() noexcept;  ///< nothing if no transaction is open; closes the connection if that fails

private:
    struct Finish {
        void operator()(PGconn* c) const noexcept { PQfinish(c); }
    };
    void send_prepared(std::string_view sql, int count, const char* const* values, const int* lengths,
                       const int* formats);
    PGresult* next_result();
    [[noreturn]] void lost(const std::string& why);

    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    std::string conninfo_;
    milliseconds patience_;
    std::unique_ptr<PGconn, Finish> db_;
    std::unordered_map<std::string, std::string, Hash, std::equal_to<>> statements_;
    std::vector<bool>
        expected_;  ///< per answer on its way: is it that of a statement (not of its preparation)?
    std::vector<std::string> fresh_;  ///< texts whose preparation is on its way
    std::uint64_t prepared_ = 0;      ///< statements ever prepared: their names
    std::size_t queued_ = 0;
    milliseconds pause_{0};
    SteadyClock::time_point next_attempt_{};
};

template <std::size_t N>
void Params<N>::add(std::int64_t value) {
    auto bits = static_cast<std::uint64_t>(value);
    auto& number = numbers_[count_];
    for (std::size_t i = number.size(); i-- > 0; bits >>= 8) number[i] = static_cast<char>(bits & 0xff);
    put(number.data(), number.size());
}

}  // namespace hexad::postgres

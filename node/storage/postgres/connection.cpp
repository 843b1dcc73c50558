#include "storage/postgres/connection.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>

namespace hexad::postgres {

namespace {

/// Without detail and context, which may quote a row.
Failure failure_of(const PGresult* result) {
    const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return {message == nullptr ? "no answer" : message, state == nullptr ? "" : state};
}

}  // namespace

bool Failure::transient() const {
    // 25006, read-only: a replica, until it is promoted; 25P03: the server gave up a transaction that stood
    // still.
    if (state_.empty() || state_ == "25006" || state_ == "25P03") return true;
    const auto kind = std::string_view(state_).substr(0, 2);
    return kind == "08" || kind == "40" || kind == "53" || kind == "57" || kind == "58";
}

std::int64_t Rows::integer(int column) const {
    const auto bytes = text(column);
    std::uint64_t value = 0;
    for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
    return static_cast<std::int64_t>(value);
}

std::int64_t Rows::changed() const {
    const std::string_view text = PQcmdTuples(result_.get());
    std::int64_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
}

Connection::Connection(std::string conninfo, milliseconds patience)
    : conninfo_(std::move(conninfo)), patience_(patience) {}

void Connection::connect() {
    if (db_) return;
    const auto now = SteadyClock::now();
    if (now < next_attempt_) throw Failure("no connection; the next attempt is not due yet", "");
    // The data base name may be a whole URL or key=value text; what follows it overrides.
    const char* keys[] = {"dbname",           "connect_timeout",  "client_encoding",
                          "application_name", "tcp_user_timeout", nullptr};
    const char* values[] = {conninfo_.c_str(), "5", "UTF8", "hexad", "10000", nullptr};
    db_.reset(PQconnectdbParams(keys, values, 1));
    if (PQstatus(db_.get()) != CONNECTION_OK) {
        const Failure failure(PQerrorMessage(db_.get()), "");
        close();
        pause_ = std::clamp(pause_ * 2, milliseconds(100), milliseconds(2000));
        next_attempt_ = SteadyClock::now() + pause_;
        throw failure;
    }
    pause_ = milliseconds(0);
    next_attempt_ = {};
    // A notice, e.g. of IF NOT EXISTS, is not for the log.
    PQsetNoticeProcessor(db_.get(), [](void*, const char*) {}, nullptr);
    PQsetnonblocking(db_.get(), 1);
    if (PQenterPipelineMode(db_.get()) != 1) lost("pipeline mode refused");
    // Of a node that is cut off, or stands still, in the middle of a transaction the locks are free again.
    run("SET idle_in_transaction_session_timeout='5s'");
}

void Connection::close() noexcept {
    db_.reset();
    statements_.clear();
    fresh_.clear();
    expected_.clear();
    queued_ = 0;
}

Rows Connection::query_values(std::string_view sql, const std::vector<sql::Value>& values) {
    Params<300> params;
    for (const auto& value : values) std::visit([&params](const auto& v) { params.add(v); }, value);
    send_prepared(sql, params.count(), params.values(), params.lengths(), params.formats());
    return std::move(collect().back());
}

void Connection::lost(const std::string& why) {
    const std::string detail = db_ ? PQerrorMessage(db_.get()) : "";
    if (db_) {
        // What was sent and has not arrived must not be executed when the network is mended, behind what is
        // done on the next connection.
        const linger discard{1, 0};
        ::setsockopt(PQsocket(db_.get()), SOL_SOCKET, SO_LINGER, &discard, sizeof discard);
    }
    close();
    throw Failure(why + (detail.empty() ? "" : ": " + detail), "");
}

void Connection::script(const std::string& sql) {
    connect();
    // Several statements in one text exist only outside the pipeline.
    if (PQexitPipelineMode(db_.get()) != 1 || PQsendQuery(db_.get(), sql.c_str()) != 1) lost("cannot send");
    std::optional<Failure> failure;
    while (auto* result = next_result()) {
        const Rows rows(result);
        if (PQresultStatus(result) == PGRES_FATAL_ERROR && !failure) {
            failure = failure_of(result);
        }
    }
    if (PQenterPipelineMode(db_.get()) != 1) lost("pipeline mode refused");
    if (failure) throw *failure;
}

void Connection::send_prepared(std::string_view sql, int count, const char* const* values, const int* lengths,
                               const int* formats) {
    connect();
    auto known = statements_.find(sql);
    if (known == statements_.end()) {
        known = statements_.emplace(std::string(sql), "s" + std::to_string(++prepared_)).first;
        std::string text(sql);
        std::ranges::replace(text, '?', '$');
        if (PQsendPrepare(db_.get(), known->second.c_str(), text.c_str(), 0, nullptr) != 1)
            lost("cannot send");
        fresh_.push_back(known->first);
        expected_.push_back(false);
    }
    if (PQsendQueryPrepared(db_.get(), known->second.c_str(), count, values, lengths, formats, 1) != 1) {
        lost("cannot send");
    }
    expected_.push_back(true);
    ++queued_;
}

PGresult* Connection::next_result() {
    const auto deadline = SteadyClock::now() + patience_;
    for (;;) {
        const int unsent = PQflush(db_.get());
        if (unsent < 0) lost("connection lost");
        if (PQisBusy(db_.get()) == 0) return PQgetResult(db_.get());
        const auto left = std::chrono::ceil<milliseconds>(deadline - SteadyClock::now());
        if (left.count() <= 0) lost("no answer in time");
        pollfd wait{PQsocket(db_.get()), static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN), 0};
        if (::poll(&wait, 1, static_cast<int>(left.count())) < 0 && errno != EINTR)
            lost(std::strerror(errno));
        if ((wait.revents & ~POLLOUT) != 0 && PQconsumeInput(db_.get()) != 1) lost("connection lost");
    }
}

std::vector<Rows> Connection::collect() {
    std::vector<Rows> out;
    if (expected_.empty()) return out;
    if (PQpipelineSync(db_.get()) != 1) lost("cannot send");
    std::optional<Failure> failure;
    for (const bool wanted : expected_) {
        auto* result = next_result();
        if (result == nullptr) lost("answer missing");
        Rows rows(result);
        const auto status = PQresultStatus(result);
        if (status == PGRES_FATAL_ERROR && !failure) {
            failure = failure_of(result);
        }
        if (wanted && !failure) out.push_back(std::move(rows));
        if (auto* end = next_result()) {  // each statement's results end with none
            PQclear(end);
            lost("answer out of place");
        }
    }
    const Rows sync(next_result());
    expected_.clear();
    queued_ = 0;
    if (failure) {
        // What was prepared behind the failure does not exist; it gets another name the next time.
        for (const auto& text : fresh_) statements_.erase(text);
        fresh_.clear();
        if (failure->state().empty() || failure->state().starts_with("57P"))
            lost(failure->what());  // going down
        throw *failure;
    }
    fresh_.clear();
    return out;
}

void Connection::rollback() noexcept {
    try {
        collect();  // what was queued and not waited for
    } catch (const Failure&) {
        // Its work is undone below.
    }
    if (!db_ || PQtransactionStatus(db_.get()) == PQTRANS_IDLE) return;
    try {
        run("ROLLBACK");
    } catch (const Failure&) {
        close();
    }
}

}  // namespace hexad::postgres

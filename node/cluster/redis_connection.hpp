#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "io/tls_stream.hpp"

namespace hexad {

/// A reply of Redis (RESP2) as a value.
struct RedisReply {
    enum class Kind { nil, status, error, integer, text, array };
    Kind kind = Kind::nil;
    std::int64_t integer = 0;
    std::string text;
    std::vector<RedisReply> items;
    bool is_error() const { return kind == Kind::error; }
};

struct RedisOptions {
    std::string url;             ///< redis://host:port, rediss://host:port (TLS) or unix:/path
    std::string password;        ///< empty = none
    std::string ca_file;         ///< for rediss
    std::string source_address;  ///< local address to bind to, empty = any
    milliseconds timeout{5000};  ///< a connection that answers nothing for so long is closed
};

/// One connection to Redis: commands of one loop turn go out together, replies come back in order. Reconnects
/// by itself with growing pauses. Protocol thread.
///
/// A command that was under way when the connection broke ends with an error; whether it was executed is
/// unknown.
class RedisConnection {
public:
    RedisConnection(asio::io_context& io, RedisOptions options);
    ~RedisConnection();
    RedisConnection(const RedisConnection&) = delete;

    /// Connects, now and again whenever it breaks. `checked`: refuses Redis < 7 and an evicting memory
    /// policy.
    void start();
    void stop();
    bool connected() const;
    /// Identity of the server process: another value means that it started anew.
    const std::string& run_id() const;
    /// Told when the connection comes (true, after the checks) and goes (false).
    std::function<void(bool up)> on_state;

    using Done = std::function<void(Result<RedisReply>)>;
    /// Sends a command. Not connected: `done` runs at once with not_connected. A reply of type error is a
    /// value.
    void command(const std::vector<std::string_view>& words, Done done);
    awaitable<Result<RedisReply>> ask(std::vector<std::string> words);
    /// Waits until the connection is up; false after `time`.
    awaitable<bool> wait_connected(milliseconds time);

private:
    struct Core;
    std::shared_ptr<Core> core_;
};

/// A script, sent by its SHA-1 and loaded when Redis does not know it.
class RedisScript {
public:
    explicit RedisScript(std::string source);
    /// `words`: ARGV (no KEYS: all keys of a cluster lie in one slot and are made in the script).
    void run(RedisConnection& connection, std::vector<std::string> words, RedisConnection::Done done) const;
    awaitable<Result<RedisReply>> run(RedisConnection& connection, std::vector<std::string> words) const;

private:
    std::string source_;
    std::string sha_;
};

}  // namespace hexad

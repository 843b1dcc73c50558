#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "io/http_message.hpp"
#include "io/tls_stream.hpp"

namespace hexad {

/// An owned file descriptor.
class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    ~FileDescriptor();
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept;
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

struct HttpLimits {
    std::size_t max_head = 16 * 1024;  ///< bytes of request line and fields
    milliseconds head_timeout{15000};  ///< from the first byte to the end of the head; the TLS handshake too
    milliseconds idle_timeout{60000};  ///< between two requests
    milliseconds body_timeout{30000};  ///< without any byte of a body moving
    std::size_t max_connections = 0;   ///< of accept(); 0 = no limit
};

/// A request whose body has not been read yet. Belongs to the server; a handler may use it until it returns.
class HttpRequest {
public:
    const std::string& method() const { return head_.method; }
    const std::string& path() const { return path_; }    ///< percent-decoded, begins with `/`
    const std::string& query() const { return query_; }  ///< after `?`, as sent
    /// Decoded value of a query parameter; nothing if absent.
    std::optional<std::string> parameter(std::string_view name) const;
    const HttpFields& fields() const { return head_.fields; }
    std::string_view header(std::string_view name) const { return head_.fields.get(name); }
    /// Length of the body if the client said; nothing for chunked bodies.
    std::optional<std::uint64_t> content_length() const;
    bool has_body() const { return framing_.kind != HttpFraming::Kind::none; }
    const TlsStream& stream() const { return stream_; }

    /// Takes one part of the body; an error stops reading.
    using Sink = std::function<awaitable<error_code>(std::string_view)>;
    /// Reads the body in parts of at most 32 KiB. Errors: message_size above `limit` (checked before the
    /// first byte if the client told the length), eof, timed_out, bad_message for a broken coding, or what
    /// the sink gave.
    awaitable<error_code> read_body(std::uint64_t limit, Sink sink);
    /// The whole body as a string; same errors.
    awaitable<Result<std::string>> body(std::size_t limit);

    explicit HttpRequest(TlsStream& stream, std::string& input, const HttpLimits& limits)
        : stream_(stream), input_(input), limits_(limits) {}
    HttpRequest(const HttpRequest&) = delete;

private:
    friend class HttpServer;
    awaitable<error_code> more_input();

    TlsStream& stream_;
    std::string& input_;  // received and not used yet
    const HttpLimits& limits_;
    HttpRequestHead head_;
    HttpFraming framing_;
    std::string path_;
    std::string query_;
    bool body_read_ = false;
    bool expects_continue_ = false;
};

/// What a handler answers: a string, a file, or another protocol.
class HttpResponse {
public:
    HttpResponse(int status = 204) : status_(status) {}
    HttpResponse(int status, std::string body, std::string_view content_type = "text/plain; charset=utf-8");
    static HttpResponse json(int status, std::string body) {
        return {status, std::move(body), "application/json"};
    }
    /// The first `size` bytes of a file. Range requests are answered from it.
    static HttpResponse file(FileDescriptor file, std::uint64_t size, std::string_view content_type);
    /// 101 with these fields set by the caller; then `serve` owns the connection. `early` = bytes that came
    /// already.
    using Protocol = std::function<awaitable<void>(TlsStream& stream, std::string early)>;
    static HttpResponse switch_protocols(std::string_view upgrade, Protocol serve);

    HttpResponse& set(std::string_view name, std::string_view value) & {
        fields_.set(name, value);
        return *this;
    }
    HttpResponse&& set(std::string_view name, std::string_view value) && {
        return std::move(set(name, value));
    }
    int status() const { return status_; }
    const std::string& body() const { return body_; }
    const HttpFields& fields() const { return fields_; }

private:
    friend class HttpServer;
    int status_;
    HttpFields fields_;
    std::string body_;
    FileDescriptor file_;
    std::uint64_t file_size_ = 0;
    Protocol protocol_;
};

/// An HTTP/1.1 server (RFC 9110, RFC 9112) over TLS, TCP or Unix sockets: keep-alive, bodies as streams in
/// both directions, ranges, limits and timeouts. Runs on the thread of its executor and must outlive it or be
/// stopped first.
class HttpServer {
public:
    using Handler = std::function<awaitable<HttpResponse>(HttpRequest&)>;

    /// `files`: where files are read, so that a slow disk does not hold up the loop; none = on the loop
    /// itself.
    explicit HttpServer(asio::any_io_executor executor, HttpLimits limits = {},
                        asio::any_io_executor files = {});
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;

    /// Requests of this method whose path is `prefix`, or lies below it (`/a` takes `/a` and `/a/b`, `/a/`
    /// takes `/a/b`). The longest prefix wins. GET serves HEAD too; OPTIONS and 405 are answered from the
    /// routes. A handler that throws gives 500.
    void route(std::string method, std::string prefix, Handler handler);
    /// Lets scripts of any origin use everything at or below `prefix` (CORS), with these request headers.
    void allow_origins(std::string prefix,
                       std::string headers = "Content-Type, Content-Length, Authorization");

    /// Serves one connection until it ends.
    awaitable<void> serve(TlsStream stream);
    /// Starts serving an accepted socket, after a TLS handshake (ALPN http/1.1) if there is a context.
    /// Counted, so that stop() can end it.
    void accept(StreamSocket socket, const TlsContext* tls = nullptr);
    std::size_t connections() const;
    /// Aborts all connections of accept() and refuses new ones.
    void stop();

private:
    struct State;
    std::shared_ptr<State> state_;
    static awaitable<void> serve_connection(std::shared_ptr<State> state, TlsStream& stream);
    static awaitable<void> accepted(std::shared_ptr<State> state, std::shared_ptr<TlsStream> stream,
                                    const TlsContext* tls);
    static awaitable<HttpResponse> answer(State& state, HttpRequest& request);
    static awaitable<bool> write(State& state, HttpRequest& request, HttpResponse& response, bool keep_alive);
    static awaitable<bool> write_file(State& state, TlsStream& stream, int fd, std::uint64_t offset,
                                      std::uint64_t size);
};

}  // namespace hexad

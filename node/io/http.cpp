#include "io/http.hpp"

#include <ctime>
#include <map>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/errc.hpp>

#include "base/log.hpp"

namespace hexad {
namespace {

namespace errc = boost::system::errc;

constexpr std::size_t file_chunk = 64 * 1024;
/// A body that no handler wanted is read and dropped up to this size, so that the connection can be kept.
constexpr std::uint64_t drop_limit = 256 * 1024;

bool lies_below(std::string_view path, std::string_view prefix) {
    if (!path.starts_with(prefix)) return false;
    return path.size() == prefix.size() || prefix.ends_with('/') || path[prefix.size()] == '/';
}

std::string http_date() {
    const auto now = std::time(nullptr);
    std::tm tm{};
    ::gmtime_r(&now, &tm);
    char text[40];
    const auto size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return {text, size};
}

awaitable<Result<std::string>> read_chunk(int fd, std::uint64_t offset, std::size_t size) {
    std::string chunk(size, '\0');
    std::size_t have = 0;
    while (have < size) {
        const auto n = ::pread(fd, chunk.data() + have, size - have, static_cast<off_t>(offset + have));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) co_return error_code(errno, boost::system::system_category());
        if (n == 0) co_return error_code(asio::error::eof);  // the file shrank
        have += static_cast<std::size_t>(n);
    }
    co_return chunk;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
}
FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

struct HttpServer::State {
    struct Route {
        std::string method;
        std::string prefix;
        Handler handler;
    };
    asio::any_io_executor executor;
    HttpLimits limits;
    asio::any_io_executor files;
    std::vector<Route> routes;
    std::map<std::string, std::string> origins;  // prefix → allowed headers
    std::set<std::shared_ptr<TlsStream>> streams;
    bool stopped = false;

    const std::string* allowed_headers(std::string_view path) const {
        for (const auto& [prefix, headers] : origins)
            if (lies_below(path, prefix)) return &headers;
        return nullptr;
    }
    std::string methods(std::string_view path) const {
        std::set<std::string> found;
        for (const auto& route : routes)
            if (lies_below(path, route.prefix)) found.insert(route.method);
        if (found.empty()) return {};
        if (found.contains("GET")) found.insert("HEAD");
        found.insert("OPTIONS");
        std::string text;
        for (const auto& method : found) text += (text.empty() ? "" : ", ") + method;
        return text;
    }
    const Route* find(std::string_view method, std::string_view path) const {
        const Route* best = nullptr;
        for (const auto& route : routes)
            if (route.method == method && lies_below(path, route.prefix) &&
                (best == nullptr || route.prefix.size() > best->prefix.size()))
                best = &route;
        return best;
    }
};

std::optional<std::string> HttpRequest::parameter(std::string_view name) const {
    std::string_view rest = query_;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const auto pair = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        const auto equals = std::min(pair.find('='), pair.size());
        if (percent_decode(pair.substr(0, equals)) != name) continue;
        std::string value(pair.substr(std::min(equals + 1, pair.size())));
        std::replace(value.begin(), value.end(), '+', ' ');
        return percent_decode(value);
    }
    return std::nullopt;
}

std::optional<std::uint64_t> HttpRequest::content_length() const {
    if (framing_.kind == HttpFraming::Kind::chunked) return std::nullopt;
    return framing_.length;
}

awaitable<error_code> HttpRequest::more_input() {
    if (!input_.empty()) co_return error_code();
    stream_.abort_after(limits_.body_timeout);
    const auto bytes = co_await stream_.read();
    stream_.abort_after(milliseconds(0));
    if (!bytes) co_return bytes.error();
    input_.assign(*bytes);
    co_return error_code();
}

awaitable<error_code> HttpRequest::read_body(std::uint64_t limit, Sink sink) {
    if (framing_.kind == HttpFraming::Kind::length && framing_.length > limit)
        co_return make_error_code(errc::message_size);
    if (body_read_) co_return error_code();
    if (expects_continue_ && has_body()) {
        expects_continue_ = false;
        stream_.send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (framing_.kind == HttpFraming::Kind::length) {
        for (auto left = framing_.length; left > 0;) {
            if (const auto ec = co_await more_input()) co_return ec;
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left, input_.size()));
            const auto part = input_.substr(0, size);
            input_.erase(0, size);
            left -= size;
            if (const auto ec = co_await sink(part)) co_return ec;
        }
    } else if (framing_.kind == HttpFraming::Kind::chunked) {
        ChunkDecoder decoder;
        std::uint64_t total = 0;
        for (auto decoded = ChunkDecoder::State::more; decoded == ChunkDecoder::State::more;) {
            if (const auto ec = co_await more_input()) co_return ec;
            std::string_view rest = input_;
            std::string part;
            decoded = decoder.feed(rest, part);
            input_.erase(0, input_.size() - rest.size());
            if (decoded == ChunkDecoder::State::failed) co_return make_error_code(errc::bad_message);
            total += part.size();
            if (total > limit) co_return make_error_code(errc::message_size);
            if (part.empty()) continue;
            if (const auto ec = co_await sink(part)) co_return ec;
        }
    }
    body_read_ = true;
    co_return error_code();
}

awaitable<Result<std::string>> HttpRequest::body(std::size_t limit) {
    std::string all;
    const Sink sink = [&all](std::string_view part) -> awaitable<error_code> {
        all.append(part);
        co_return error_code();
    };
    if (const auto ec = co_await read_body(limit, sink)) co_return ec;
    co_return all;
}

HttpResponse::HttpResponse(int status, std::string body, std::string_view content_type)
    : status_(status), body_(std::move(body)) {
    fields_.set("Content-Type", content_type);
}

HttpResponse HttpResponse::file(FileDescriptor file, std::uint64_t size, std::string_view content_type) {
    HttpResponse response(200);
    response.file_ = std::move(file);
    response.file_size_ = size;
    response.fields_.set("Content-Type", content_type);
    response.fields_.set("Accept-Ranges", "bytes");
    return response;
}

HttpResponse HttpResponse::switch_protocols(std::string_view upgrade, Protocol serve) {
    HttpResponse response(101);
    response.fields_.set("Upgrade", upgrade);
    response.protocol_ = std::move(serve);
    return response;
}

HttpServer::HttpServer(asio::any_io_executor executor, HttpLimits limits, asio::any_io_executor files)
    : state_(std::make_shared<State>()) {
    state_->executor = std::move(executor);
    state_->limits = limits;
    state_->files = std::move(files);
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::route(std::string method, std::string prefix, Handler handler) {
    state_->routes.push_back({std::move(method), std::move(prefix), std::move(handler)});
}

void HttpServer::allow_origins(std::string prefix, std::string headers) {
    state_->origins[std::move(prefix)] = std::move(headers);
}

awaitable<HttpResponse> HttpServer::answer(State& state, HttpRequest& request) {
    const auto& method = request.method();
    const auto* route = state.find(method, request.path());
    if (route == nullptr && method == "HEAD") route = state.find("GET", request.path());
    if (route != nullptr) {
        const auto handler = route->handler;  // routes may change while it runs
        try {
            co_return co_await handler(request);
        } catch (const boost::system::system_error& failure) {
            // Cancellation goes through: the connection is being ended from outside.
            if (failure.code() == asio::error::operation_aborted) throw;
            log_error("http_handler_failed", {{"path", request.path()}, {"error", failure.what()}});
        } catch (const std::exception& failure) {
            log_error("http_handler_failed", {{"path", request.path()}, {"error", failure.what()}});
        }
        co_return HttpResponse(500, "internal error\n");
    }
    const auto methods =
        request.path() == "*" ? std::string("GET, HEAD, OPTIONS") : state.methods(request.path());
    if (methods.empty()) co_return HttpResponse(404, "not found\n");
    if (method == "OPTIONS") {
        HttpResponse response(204);
        response.set("Allow", methods);
        co_return response;
    }
    HttpResponse response(405, "method not allowed\n");
    response.set("Allow", methods);
    co_return response;
}

awaitable<bool> HttpServer::write_file(State& state, TlsStream& stream, int fd, std::uint64_t offset,
                                       std::uint64_t size) {
    while (size > 0) {
        const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, file_chunk));
        Result<std::string> chunk = std::string();
        if (state.files) {
            chunk = co_await asio::co_spawn(state.files, read_chunk(fd, offset, part), asio::use_awaitable);
        } else {
            chunk = co_await read_chunk(fd, offset, part);
        }
        if (!chunk) {
            log_error("http_file_failed", {{"error", chunk.error().message()}});
            co_return false;  // the length is promised already: only a broken connection tells
        }
        stream.send(*chunk);
        offset += part;
        size -= part;
        stream.abort_after(state.limits.body_timeout);
        const auto ec = co_await stream.drained(file_chunk);
        stream.abort_after(milliseconds(0));
        if (ec) co_return false;
    }
    co_return true;
}

awaitable<bool> HttpServer::write(State& state, HttpRequest& request, HttpResponse& response,
                                  bool keep_alive) {
    auto& fields = response.fields_;
    std::uint64_t offset = 0;
    std::uint64_t size = response.file_ ? response.file_size_ : response.body_.size();
    const bool readable = request.method() == "GET" || request.method() == "HEAD";
    const auto etag = fields.get("ETag");
    if (readable && response.status_ == 200 && !etag.empty() && request.header("If-None-Match") == etag) {
        response.status_ = 304;
        response.file_ = {};
        response.body_.clear();
        size = 0;
    } else if (request.method() == "GET" && response.status_ == 200 && response.file_) {
        const auto condition = request.header("If-Range");
        ByteRange range{};
        const auto kind = condition.empty() || condition == etag
                              ? parse_range(request.header("Range"), size, range)
                              : RangeKind::none;
        if (kind == RangeKind::valid) {
            response.status_ = 206;
            fields.set("Content-Range", "bytes " + std::to_string(range.first) + '-' +
                                            std::to_string(range.last) + '/' + std::to_string(size));
            offset = range.first;
            size = range.last - range.first + 1;
        } else if (kind == RangeKind::unsatisfiable) {
            response.status_ = 416;
            fields.set("Content-Range", "bytes */" + std::to_string(size));
            response.file_ = {};
            size = 0;
        }
    }
    if (const auto* headers = state.allowed_headers(request.path())) {
        fields.set("Access-Control-Allow-Origin", "*");
        fields.set("Access-Control-Allow-Methods", state.methods(request.path()));
        fields.set("Access-Control-Allow-Headers", *headers);
        fields.set("Access-Control-Max-Age", "7200");
    }
    const bool bodyless = response.status_ == 204 || response.status_ == 304 || response.status_ == 101;
    if (!bodyless) fields.set("Content-Length", std::to_string(size));
    if (response.status_ == 101) {
        fields.set("Connection", "Upgrade");
    } else {
        fields.set("Connection", keep_alive ? "keep-alive" : "close");
    }
    fields.set("Date", http_date());

    std::string head = "HTTP/1.1 " + std::to_string(response.status_) + ' ';
    head += http_reason(response.status_);
    head += "\r\n";
    for (const auto& [name, value] : fields.all()) {
        head += name;
        head += ": ";
        for (const char c : value)
            head += c == '\r' || c == '\n' ? ' ' : c;  // a value must not begin another field
        head += "\r\n";
    }
    head += "\r\n";
    auto& stream = request.stream_;
    stream.send(head);
    if (request.method() == "HEAD" || bodyless) co_return stream.is_open();
    if (response.file_) co_return co_await write_file(state, stream, response.file_.get(), offset, size);
    stream.send(response.body_);
    stream.abort_after(state.limits.body_timeout);
    const auto ec = co_await stream.drained(file_chunk);
    stream.abort_after(milliseconds(0));
    co_return !ec;
}

awaitable<void> HttpServer::serve_connection(std::shared_ptr<State> state, TlsStream& stream) {
    const auto& limits = state->limits;
    std::string input;
    const auto refuse = [&stream](int status) {
        const std::string body = std::to_string(status) + ' ' + std::string(http_reason(status)) + '\n';
        stream.send("HTTP/1.1 " + std::to_string(status) + ' ' + std::string(http_reason(status)) +
                    "\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\n\r\n" + body);
    };
    bool keep_alive = true;
    while (keep_alive) {
        // The head: everything up to the first empty line.
        std::size_t end = std::string::npos;
        std::size_t searched = 0;
        stream.abort_after(input.empty() ? limits.idle_timeout : limits.head_timeout);
        while (true) {
            while (searched == 0 && (input.starts_with("\r\n") || input.starts_with('\n')))
                input.erase(0, input.front() == '\n' ? 1 : 2);
            end = input.find("\r\n\r\n", searched);
            if (end != std::string::npos || input.size() > limits.max_head) break;
            searched = input.size() < 4 ? 0 : input.size() - 3;
            const bool first = input.empty();
            const auto bytes = co_await stream.read();
            if (!bytes) co_return co_await stream.close(milliseconds(100));
            input.append(*bytes);
            if (first) stream.abort_after(limits.head_timeout);
        }
        stream.abort_after(milliseconds(0));
        if (end == std::string::npos || end > limits.max_head) {
            refuse(431);
            break;
        }
        auto head = parse_request_head(std::string_view(input).substr(0, end));
        auto framing = head ? request_framing(*head) : std::nullopt;
        if (!framing) {
            refuse(400);
            break;
        }
        input.erase(0, end + 4);
        HttpRequest request(stream, input, limits);
        request.head_ = std::move(*head);
        request.framing_ = *framing;
        const auto& target = request.head_.target;
        const auto question = std::min(target.find('?'), target.size());
        auto path = percent_decode(std::string_view(target).substr(0, question));
        // A path that climbs is nobody's: no handler has to think of it.
        if (!path || (path->find("/../") != std::string::npos) || path->ends_with("/..")) {
            refuse(400);
            break;
        }
        request.path_ = std::move(*path);
        request.query_ = target.substr(std::min(question + 1, target.size()));
        request.expects_continue_ = equals_ignoring_case(request.header("Expect"), "100-continue");
        keep_alive = request.head_.minor == 1 ? !request.fields().has_token("Connection", "close")
                                              : request.fields().has_token("Connection", "keep-alive");

        auto response = co_await answer(*state, request);
        if (state->stopped) break;
        bool drop_rest = false;
        if (request.has_body() && !request.body_read_) {
            // Waiting for "100 Continue" the client has sent nothing, but whether it will cannot be known.
            const bool small =
                request.framing_.kind == HttpFraming::Kind::length && request.framing_.length <= drop_limit;
            drop_rest = small && !request.expects_continue_ && keep_alive;
            keep_alive = keep_alive && drop_rest;
        }
        if (response.status_ == 101 && response.protocol_) {
            if (!co_await write(*state, request, response, true)) break;
            const auto protocol = std::move(response.protocol_);
            co_await protocol(stream, std::move(input));
            co_return;
        }
        if (!co_await write(*state, request, response, keep_alive)) co_return stream.abort();
        if (drop_rest) {
            const HttpRequest::Sink nowhere = [](std::string_view) -> awaitable<error_code> {
                co_return error_code();
            };
            if (co_await request.read_body(drop_limit, nowhere)) break;
        }
    }
    co_await stream.close(milliseconds(2000));
}

awaitable<void> HttpServer::serve(TlsStream stream) { co_await serve_connection(state_, stream); }

awaitable<void> HttpServer::accepted(std::shared_ptr<State> state, std::shared_ptr<TlsStream> stream,
                                     const TlsContext* tls) {
    try {
        bool ready = true;
        if (tls != nullptr) {
            stream->abort_after(state->limits.head_timeout);
            TlsAccept accept({"http/1.1"});
            const auto ec = co_await stream->handshake(*tls, std::move(accept));
            stream->abort_after(milliseconds(0));
            ready = !ec;
        }
        if (ready) co_await serve_connection(state, *stream);
    } catch (const std::exception& failure) {
        if (!state->stopped) log_error("http_connection_failed", {{"error", failure.what()}});
    }
    stream->abort();
    state->streams.erase(stream);
}

void HttpServer::accept(StreamSocket socket, const TlsContext* tls) {
    const auto most = state_->limits.max_connections;
    if (state_->stopped || (most != 0 && state_->streams.size() >= most)) return;
    auto stream = std::make_shared<TlsStream>(std::move(socket));
    state_->streams.insert(stream);
    asio::co_spawn(state_->executor, accepted(state_, std::move(stream), tls), asio::detached);
}

std::size_t HttpServer::connections() const { return state_->streams.size(); }

void HttpServer::stop() {
    state_->stopped = true;
    const auto streams = state_->streams;
    for (const auto& stream : streams) stream->abort();
}

}  // namespace hexad

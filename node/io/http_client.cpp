#include "io/http_client.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "io/http.hpp"
#include "io/tls_state.hpp"

namespace hexad {
namespace {

/// What went wrong, on its way to the caller of request().
struct Failure {
    std::string text;
};

[[noreturn]] void fail(std::string text) { throw Failure{std::move(text)}; }

FileDescriptor open_socket(int family, const sockaddr* address, socklen_t size, milliseconds timeout,
                           int& reason) {
    FileDescriptor fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        reason = errno;
        return {};
    }
    if (::connect(fd.get(), address, size) != 0) {
        reason = errno;
        if (reason != EINPROGRESS) return {};
        pollfd waiting{fd.get(), POLLOUT, 0};
        if (::poll(&waiting, 1, static_cast<int>(timeout.count())) != 1) {
            reason = ETIMEDOUT;
            return {};
        }
        socklen_t length = sizeof reason;
        ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &reason, &length);
        if (reason != 0) return {};
    }
    return fd;
}

/// One connection, plain or TLS, with a deadline for the whole exchange.
class Connection {
public:
    Connection(FileDescriptor fd, SteadyClock::time_point deadline)
        : fd_(std::move(fd)), deadline_(deadline) {}

    void start_tls(SSL_CTX* ctx, const std::string& host) {
        ssl_.reset(SSL_new(ctx));
        if (!ssl_ || SSL_set_fd(ssl_.get(), fd_.get()) != 1) fail("TLS: " + tls_error_text());
        unsigned char address[16];
        if (::inet_pton(AF_INET, host.c_str(), address) == 1 ||
            ::inet_pton(AF_INET6, host.c_str(), address) == 1) {
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str());
        } else {
            SSL_set1_host(ssl_.get(), host.c_str());
            SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
        }
        while (true) {
            const int result = SSL_connect(ssl_.get());
            if (result == 1) return;
            if (retry(result)) continue;
            const auto verdict = SSL_get_verify_result(ssl_.get());
            const auto text = tls_error_text();
            fail(verdict != X509_V_OK ? std::string("the server's certificate is not trusted: ") +
                                            X509_verify_cert_error_string(verdict)
                                      : "TLS: " + text);
        }
    }

    void write(std::string_view bytes) {
        while (!bytes.empty()) {
            if (ssl_) {
                const int n = SSL_write(ssl_.get(), bytes.data(),
                                        static_cast<int>(std::min<std::size_t>(bytes.size(), 16384)));
                if (n > 0) {
                    bytes.remove_prefix(static_cast<std::size_t>(n));
                } else if (!retry(n)) {
                    return;  // the server may have answered before it closed: read() will tell
                }
                continue;
            }
            const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n > 0) {
                bytes.remove_prefix(static_cast<std::size_t>(n));
            } else if (errno == EAGAIN) {
                wait(POLLOUT);
            } else if (errno != EINTR) {
                return;
            }
        }
    }

    /// Appends what comes; false at the end.
    bool read(std::string& into) {
        char buffer[16384];
        while (true) {
            if (ssl_) {
                const int n = SSL_read(ssl_.get(), buffer, sizeof buffer);
                if (n > 0) {
                    into.append(buffer, static_cast<std::size_t>(n));
                    return true;
                }
                if (!retry(n)) return false;
                continue;
            }
            const auto n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
            if (n > 0) {
                into.append(buffer, static_cast<std::size_t>(n));
                return true;
            }
            if (n == 0) return false;
            if (errno == EAGAIN) {
                wait(POLLIN);
            } else if (errno != EINTR) {
                fail(std::string("connection lost: ") + std::strerror(errno));
            }
        }
    }

private:
    struct FreeSsl {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };

    void wait(short events) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - SteadyClock::now());
        pollfd waiting{fd_.get(), events, 0};
        if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) == 0)
            fail("no answer in time");
    }
    bool retry(int result) {
        const int error = SSL_get_error(ssl_.get(), result);
        if (error == SSL_ERROR_WANT_READ) {
            wait(POLLIN);
        } else if (error == SSL_ERROR_WANT_WRITE) {
            wait(POLLOUT);
        } else {
            return false;
        }
        return true;
    }

    FileDescriptor fd_;
    SteadyClock::time_point deadline_;
    std::unique_ptr<SSL, FreeSsl> ssl_;
};

FileDescriptor connect_unix(const std::string& path, milliseconds timeout) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) fail("the socket path " + path + " is too long");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    int reason = 0;
    auto fd =
        open_socket(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address, timeout, reason);
    if (!fd) fail("cannot reach " + path + ": " + std::strerror(reason));
    return fd;
}

FileDescriptor connect_tcp(const std::string& host, const std::string& port, milliseconds timeout) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int rc = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); rc != 0)
        fail("cannot resolve " + host + ": " + ::gai_strerror(rc));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    int reason = 0;
    for (const auto* info = found; info != nullptr; info = info->ai_next) {
        auto fd = open_socket(info->ai_family, info->ai_addr, info->ai_addrlen, timeout, reason);
        if (fd) return fd;
    }
    fail("cannot reach " + host + ':' + port + ": " + std::strerror(reason));
}

HttpReply read_reply(Connection& connection, bool head_request) {
    std::string input;
    std::optional<HttpResponseHead> head;
    while (!head) {
        const auto end = input.find("\r\n\r\n");
        if (end == std::string::npos) {
            if (input.size() > 65536) fail("the answer is not HTTP");
            if (!connection.read(input)) fail("the connection closed before an answer came");
            continue;
        }
        head = parse_response_head(std::string_view(input).substr(0, end));
        if (!head) fail("the answer is not HTTP");
        input.erase(0, end + 4);
        if (head->status < 200 && head->status != 101) head.reset();  // 100 Continue
    }
    const auto framing = response_framing(*head, head_request);
    if (!framing) fail("the answer's length is contradictory");
    HttpReply reply{head->status, head->fields, {}};
    switch (framing->kind) {
        case HttpFraming::Kind::none:
            break;
        case HttpFraming::Kind::length:
            while (input.size() < framing->length)
                if (!connection.read(input)) fail("the connection closed within the answer");
            reply.body = input.substr(0, static_cast<std::size_t>(framing->length));
            break;
        case HttpFraming::Kind::until_close:
            while (connection.read(input)) {
            }
            reply.body = std::move(input);
            break;
        case HttpFraming::Kind::chunked: {
            ChunkDecoder decoder;
            while (true) {
                std::string_view rest = input;
                const auto state = decoder.feed(rest, reply.body);
                input.erase(0, input.size() - rest.size());
                if (state == ChunkDecoder::State::done) break;
                if (state == ChunkDecoder::State::failed) fail("the answer's chunks are malformed");
                if (!connection.read(input)) fail("the connection closed within the answer");
            }
            break;
        }
    }
    return reply;
}

}  // namespace

HttpClient::HttpClient(std::string_view base, const std::string& ca_file, milliseconds timeout)
    : timeout_(timeout) {
    std::signal(SIGPIPE, SIG_IGN);
    const std::string address(base);
    if (base.starts_with("unix:")) {
        unix_path_ = base.substr(5);
        host_ = "localhost";
        return;
    }
    const bool secure = base.starts_with("https://");
    if (!secure && !base.starts_with("http://"))
        throw std::invalid_argument("'" + address +
                                    "' is no address: unix:/path, http://host:port or https://host:port");
    base.remove_prefix(secure ? 8 : 7);
    while (base.ends_with('/')) base.remove_suffix(1);
    port_ = secure ? "443" : "80";
    if (base.starts_with('[')) {
        const auto end = base.find(']');
        if (end == std::string_view::npos) throw std::invalid_argument("'" + address + "' is no address");
        host_ = base.substr(1, end - 1);
        base.remove_prefix(end + 1);
        if (base.starts_with(':')) port_ = base.substr(1);
    } else {
        const auto colon = std::min(base.rfind(':'), base.size());
        host_ = base.substr(0, colon);
        if (colon < base.size()) port_ = base.substr(colon + 1);
    }
    if (host_.empty() || port_.empty()) throw std::invalid_argument("'" + address + "' is no address");
    if (secure) tls_.emplace(ca_file);
}

Result<HttpReply, std::string> HttpClient::request(std::string_view method, std::string_view path,
                                                   std::string_view body,
                                                   std::string_view content_type) const {
    try {
        const auto deadline = SteadyClock::now() + timeout_;
        Connection connection(
            unix_path_.empty() ? connect_tcp(host_, port_, timeout_) : connect_unix(unix_path_, timeout_),
            deadline);
        if (tls_) connection.start_tls(tls_->native(), host_);
        std::string text;
        text.append(method).append(" ").append(path).append(" HTTP/1.1\r\nConnection: close\r\nHost: ");
        text += host_.find(':') == std::string::npos ? host_ : '[' + host_ + ']';
        text += "\r\n";
        for (const auto& [name, value] : fields_.all()) text += name + ": " + value + "\r\n";
        if (!body.empty() || method == "POST" || method == "PUT") {
            text.append("Content-Type: ").append(content_type).append("\r\nContent-Length: ");
            text += std::to_string(body.size()) + "\r\n";
        }
        text += "\r\n";
        text.append(body);
        connection.write(text);
        return read_reply(connection, method == "HEAD");
    } catch (const Failure& failure) {
        return failure.text;
    }
}

}  // namespace hexad

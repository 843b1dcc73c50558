#include "io/tls_stream.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <cstring>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "io/tls_state.hpp"

namespace hexad {
namespace {

constexpr auto tuple_awaitable = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t scratch_size = 32 * 1024;
constexpr std::size_t record_size = 16 * 1024;

/// Read buffers of this thread. A stream holds one from the moment bytes arrive until it asks for more, so
/// idle connections have none.
class ScratchPool {
public:
    std::unique_ptr<char[]> take() {
        if (free_.empty()) return std::unique_ptr<char[]>(new char[scratch_size]);
        auto buffer = std::move(free_.back());
        free_.pop_back();
        return buffer;
    }
    void give(std::unique_ptr<char[]> buffer) {
        if (buffer && free_.size() < 16) free_.push_back(std::move(buffer));
    }

private:
    std::vector<std::unique_ptr<char[]>> free_;
};

ScratchPool& scratch_pool() {
    thread_local ScratchPool pool;
    return pool;
}

error_code last_errno() { return {errno, asio::error::get_system_category()}; }

/// OpenSSL writes without MSG_NOSIGNAL; a broken connection must be an error, not the end of the process.
void ignore_sigpipe() {
    static const bool done = [] {
        std::signal(SIGPIPE, SIG_IGN);
        return true;
    }();
    static_cast<void>(done);
}

}  // namespace

struct TlsStream::Core : std::enable_shared_from_this<Core> {
    struct FreeSsl {
        void operator()(SSL* owned) const { SSL_free(owned); }
    };
    /// What has to happen before an operation can go on.
    enum class Next { done, wait_read, wait_write, failed };

    StreamSocket socket;
    asio::ip::tcp::endpoint peer;
    std::unique_ptr<TlsHandshake> handshake_data;  // outlives the SSL object that points to it
    std::unique_ptr<SSL, FreeSsl> ssl;
    std::unique_ptr<char[]> scratch;
    std::string outbox;
    std::size_t sent = 0;  // of the outbox
    std::unique_ptr<std::function<void()>> when_drained;
    std::unique_ptr<asio::steady_timer> watchdog;
    error_code broken;
    bool secured = false;      // the handshake is over
    bool handshaking = false;  // nothing but the handshake may write
    bool flush_posted = false;
    bool waits_for_write = false;

    explicit Core(StreamSocket s) : socket(std::move(s)) {
        ignore_sigpipe();
        error_code ignored;
        socket.native_non_blocking(true, ignored);
        socket.set_option(asio::ip::tcp::no_delay(true), ignored);
        const auto remote = socket.remote_endpoint(ignored);
        const auto family = remote.protocol().family();
        if (!ignored && (family == AF_INET || family == AF_INET6)) {
            peer.resize(std::min(remote.size(), peer.capacity()));
            std::memcpy(peer.data(), remote.data(), peer.size());
        }
    }
    ~Core() { scratch_pool().give(std::move(scratch)); }

    void abort(error_code why = asio::error::operation_aborted) {
        if (!broken) broken = why;
        error_code ignored;
        // Who has not taken what we sent will not take the rest: the kernel need not keep it for him.
        int with_kernel = 0;
        if (why == asio::error::timed_out) ::ioctl(socket.native_handle(), SIOCOUTQ, &with_kernel);
        if (!outbox.empty() || with_kernel > 0)
            socket.set_option(asio::socket_base::linger(true, 0), ignored);
        socket.close(ignored);
        if (watchdog) watchdog->cancel();
        std::string().swap(outbox);
        sent = 0;
    }

    error_code error_or_aborted() const {
        return broken ? broken : error_code(asio::error::operation_aborted);
    }

    /// Judges the result of an OpenSSL call; sets `ec` if it failed.
    Next judge(int result, error_code& ec) {
        switch (SSL_get_error(ssl.get(), result)) {
            case SSL_ERROR_NONE:
                return Next::done;
            case SSL_ERROR_WANT_READ:
                return Next::wait_read;
            case SSL_ERROR_WANT_WRITE:
                return Next::wait_write;
            case SSL_ERROR_ZERO_RETURN:
                ec = asio::error::eof;
                return Next::failed;
            case SSL_ERROR_SYSCALL:
                ec = errno != 0 ? last_errno() : error_code(asio::error::eof);
                return Next::failed;
            default:
                ec = {static_cast<int>(ERR_get_error()), asio::error::get_ssl_category()};
                ERR_clear_error();
                return Next::failed;
        }
    }

    /// Reads what is there into the scratch buffer, without waiting.
    Next receive(std::size_t& size, error_code& ec) {
        if (!scratch) scratch = scratch_pool().take();
        size = 0;
        while (size < scratch_size) {
            errno = 0;
            if (secured) {
                ERR_clear_error();
                const int n =
                    SSL_read(ssl.get(), scratch.get() + size, static_cast<int>(scratch_size - size));
                if (n > 0) {
                    size += static_cast<std::size_t>(n);
                    if (SSL_has_pending(ssl.get()) == 1) continue;
                    return Next::done;
                }
                if (size > 0) return Next::done;  // an error will be met again
                return judge(n, ec);
            }
            const auto n = ::recv(socket.native_handle(), scratch.get(), scratch_size, 0);
            if (n > 0) {
                size = static_cast<std::size_t>(n);
                return Next::done;
            }
            if (n == 0) {
                ec = asio::error::eof;
                return Next::failed;
            }
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return Next::wait_read;
            ec = last_errno();
            return Next::failed;
        }
        return Next::done;
    }

    bool has_buffered() const { return secured && SSL_has_pending(ssl.get()) == 1; }

    /// Gives the outbox to the kernel as far as it takes it; breaks the stream on an error.
    Next flush() {
        while (sent < outbox.size()) {
            const auto chunk = std::min(outbox.size() - sent, record_size);
            errno = 0;
            if (secured) {
                ERR_clear_error();
                const int n = SSL_write(ssl.get(), outbox.data() + sent, static_cast<int>(chunk));
                if (n > 0) {
                    sent += static_cast<std::size_t>(n);
                    continue;
                }
                error_code ec;
                const auto next = judge(n, ec);
                if (next == Next::failed) abort(ec);
                return next;
            }
            const auto n =
                ::send(socket.native_handle(), outbox.data() + sent, outbox.size() - sent, MSG_NOSIGNAL);
            if (n >= 0) {
                sent += static_cast<std::size_t>(n);
            } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return Next::wait_write;
            } else if (errno != EINTR) {
                abort(last_errno());
                return Next::failed;
            }
        }
        if (sent > 0) {
            std::string().swap(outbox);
            sent = 0;
            if (when_drained && *when_drained) {
                const auto callback = *when_drained;  // it may set another or end the stream
                callback();
            }
        }
        return Next::done;
    }

    void post_flush() {
        if (flush_posted || waits_for_write || handshaking) return;
        flush_posted = true;
        asio::post(socket.get_executor(), [weak = weak_from_this()] {
            if (const auto self = weak.lock()) {
                self->flush_posted = false;
                self->flush_or_wait();
            }
        });
    }

    void flush_or_wait() {
        if (handshaking || broken || waits_for_write || sent == outbox.size()) return;
        const auto next = flush();
        if (next == Next::done || next == Next::failed) return;
        if (outbox.size() > 4 * record_size && sent > outbox.size() / 2) {
            outbox.erase(0, sent);
            sent = 0;
        }
        waits_for_write = true;
        const auto what = next == Next::wait_read ? StreamSocket::wait_read : StreamSocket::wait_write;
        socket.async_wait(what, [weak = weak_from_this()](error_code) {
            if (const auto self = weak.lock()) {
                self->waits_for_write = false;
                self->flush_or_wait();
            }
        });
    }

    /// Suspends until the socket is ready; false if the stream ended or the caller was cancelled meanwhile.
    awaitable<bool> wait(Next next) {
        const auto self = shared_from_this();
        const auto what = next == Next::wait_read ? StreamSocket::wait_read : StreamSocket::wait_write;
        const auto [ec] = co_await socket.async_wait(what, tuple_awaitable);
        if (ec || broken) co_return false;
        // The wait may have succeeded in the same turn in which the caller was cancelled: then nothing may be
        // read, since nobody would look at it.
        const auto cancellation = co_await asio::this_coro::cancellation_state;
        co_return cancellation.cancelled() == asio::cancellation_type::none;
    }

    awaitable<error_code> do_handshake();
    std::string server_certificate_hash() const;
};

awaitable<error_code> TlsStream::Core::do_handshake() {
    const auto self = shared_from_this();
    if (SSL_set_fd(ssl.get(), socket.native_handle()) != 1) co_return asio::error::no_memory;
    handshaking = true;
    while (!broken) {
        errno = 0;
        ERR_clear_error();
        const int result = SSL_do_handshake(ssl.get());
        error_code ec;
        const auto next = judge(result, ec);
        if (next == Next::done) {
            handshaking = false;
            secured = true;
            flush_or_wait();
            co_return error_code();
        }
        if (next == Next::failed) {
            abort(ec);
            co_return ec;
        }
        if (!co_await wait(next)) {
            // Half a handshake is good for nothing.
            abort();
            break;
        }
    }
    co_return error_or_aborted();
}

std::string TlsStream::Core::server_certificate_hash() const {
    const bool server = SSL_is_server(ssl.get()) == 1;
    auto* certificate = server ? SSL_get_certificate(ssl.get()) : SSL_get0_peer_certificate(ssl.get());
    if (certificate == nullptr) return {};
    int digest_id = NID_undef;
    if (X509_get_signature_info(certificate, &digest_id, nullptr, nullptr, nullptr) != 1) {
        ERR_clear_error();
        return {};
    }
    if (digest_id == NID_undef) return {};  // e.g. Ed25519: RFC 5929 defines no hash
    if (digest_id == NID_md5 || digest_id == NID_sha1) digest_id = NID_sha256;
    const auto* digest = EVP_get_digestbynid(digest_id);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (digest == nullptr || X509_digest(certificate, digest, bytes, &size) != 1) return {};
    return {reinterpret_cast<char*>(bytes), size};
}

TlsStream::TlsStream(StreamSocket socket) : core_(std::make_shared<Core>(std::move(socket))) {}
TlsStream::~TlsStream() {
    if (core_) core_->abort();
}
TlsStream::TlsStream(TlsStream&&) noexcept = default;
TlsStream& TlsStream::operator=(TlsStream&& other) noexcept {
    if (core_ && core_ != other.core_) core_->abort();
    core_ = std::move(other.core_);
    return *this;
}

awaitable<error_code> TlsStream::handshake(const TlsContext& context, TlsAccept accept) {
    const auto core = core_;
    auto state = context.state();
    if (const auto ec = co_await drained()) co_return ec;
    core->handshake_data.reset(new TlsHandshake{state, accept.alpn()});
    auto* ctx = accept.name().empty() ? nullptr : state->select(accept.name());
    core->ssl.reset(SSL_new(ctx != nullptr ? ctx : state->first()));
    if (!core->ssl) co_return asio::error::no_memory;
    auto* ssl = core->ssl.get();
    SSL_set_ex_data(ssl, tls_handshake_index(), core->handshake_data.get());
    SSL_set_accept_state(ssl);
    using Certificate = TlsAccept::ClientCertificate;
    if (accept.client_certificate() == Certificate::required || state->requires_client(ctx)) {
        SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    } else if (accept.client_certificate() == Certificate::optional) {
        // An untrusted certificate counts as none; peer_names() looks at the verdict.
        SSL_set_verify(ssl, SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    }
    co_return co_await core->do_handshake();
}

awaitable<error_code> TlsStream::client_handshake(const TlsClientContext& context, std::string expected_name,
                                                  std::vector<std::string> alpn, std::string server_name) {
    const auto core = core_;
    if (const auto ec = co_await drained()) co_return ec;
    core->ssl.reset(SSL_new(context.native()));
    if (!core->ssl) co_return asio::error::no_memory;
    auto* ssl = core->ssl.get();
    SSL_set_connect_state(ssl);
    if (!expected_name.empty()) {
        unsigned char address[16];
        if (::inet_pton(AF_INET, expected_name.c_str(), address) == 1 ||
            ::inet_pton(AF_INET6, expected_name.c_str(), address) == 1) {
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), expected_name.c_str());
        } else {
            SSL_set1_host(ssl, expected_name.c_str());
            SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
            if (server_name.empty()) server_name = expected_name;
        }
    }
    if (!server_name.empty()) SSL_set_tlsext_host_name(ssl, server_name.c_str());
    std::string wire;
    for (const auto& protocol : alpn) {
        wire += static_cast<char>(protocol.size());
        wire += protocol;
    }
    if (!wire.empty())
        SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(wire.data()),
                            static_cast<unsigned>(wire.size()));
    co_return co_await core->do_handshake();
}

awaitable<Result<std::string_view>> TlsStream::read() {
    const auto core = core_;
    scratch_pool().give(std::move(core->scratch));
    // The socket is asked only after it was seen readable: one system call less for each stanza that arrives
    // alone.
    auto next = core->has_buffered() ? Core::Next::done : Core::Next::wait_read;
    while (!core->broken) {
        if (next != Core::Next::done && !co_await core->wait(next)) break;
        if (core->broken) break;
        std::size_t size = 0;
        error_code ec;
        next = core->receive(size, ec);
        if (next == Core::Next::done) co_return std::string_view(core->scratch.get(), size);
        scratch_pool().give(std::move(core->scratch));
        if (next == Core::Next::failed) {
            if (ec != asio::error::eof) core->abort(ec);
            co_return ec;
        }
    }
    co_return core->error_or_aborted();
}

void TlsStream::send(std::string_view bytes) {
    if (core_->broken || bytes.empty()) return;
    core_->outbox.append(bytes);
    core_->post_flush();
}

std::size_t TlsStream::outbox() const { return core_->outbox.size() - core_->sent; }

void TlsStream::on_drained(std::function<void()> callback) {
    core_->when_drained = std::make_unique<std::function<void()>>(std::move(callback));
}

awaitable<error_code> TlsStream::drained(std::size_t bytes) {
    const auto core = core_;
    while (!core->broken && core->outbox.size() - core->sent > bytes) {
        const auto next = core->flush();
        if (next == Core::Next::failed || core->outbox.size() - core->sent <= bytes) {
            core->flush_or_wait();
            break;
        }
        if (!co_await core->wait(next)) co_return core->error_or_aborted();
    }
    co_return core->broken;
}

awaitable<void> TlsStream::close(milliseconds linger) {
    const auto core = core_;
    if (core->broken) co_return;
    abort_after(std::max(linger, milliseconds(1)));
    if (!co_await drained()) {
        if (core->secured) {
            ERR_clear_error();
            SSL_shutdown(core->ssl.get());
            ERR_clear_error();
        }
        ::shutdown(core->socket.native_handle(), SHUT_WR);
        // Closing while the peer's bytes lie unread would reset the connection and take our last words with
        // it.
        while (co_await read()) {
        }
    }
    core->abort();
}

void TlsStream::abort() { core_->abort(); }
void TlsStream::discard() {
    error_code ignored;
    core_->socket.set_option(asio::socket_base::linger(true, 0), ignored);
    core_->abort();
}
bool TlsStream::is_open() const { return !core_->broken; }
bool TlsStream::peer_closed() const {
    if (core_->broken) return true;
    pollfd asked{core_->socket.native_handle(), POLLRDHUP, 0};
    return ::poll(&asked, 1, 0) > 0;
}

void TlsStream::abort_after(milliseconds time) {
    if (core_->broken) return;
    if (!core_->watchdog)
        core_->watchdog = std::make_unique<asio::steady_timer>(core_->socket.get_executor());
    core_->watchdog->cancel();
    if (time.count() == 0) return;
    core_->watchdog->expires_after(time);
    core_->watchdog->async_wait([weak = core_->weak_from_this()](error_code ec) {
        const auto core = weak.lock();
        if (!ec && core && core->watchdog->expiry() <= SteadyClock::now())
            core->abort(asio::error::timed_out);
    });
}

bool TlsStream::encrypted() const { return core_->secured; }
std::string TlsStream::tls_version() const { return core_->secured ? SSL_get_version(core_->ssl.get()) : ""; }
std::string TlsStream::cipher() const { return core_->secured ? SSL_get_cipher_name(core_->ssl.get()) : ""; }

std::string TlsStream::alpn() const {
    if (!core_->secured) return {};
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(core_->ssl.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
}

std::string TlsStream::server_name() const {
    const char* name =
        core_->secured ? SSL_get_servername(core_->ssl.get(), TLSEXT_NAMETYPE_host_name) : nullptr;
    return name != nullptr ? name : "";
}

std::string TlsStream::tls_exporter() const {
    if (!core_->secured || SSL_version(core_->ssl.get()) < TLS1_3_VERSION) return {};
    constexpr std::string_view label = "EXPORTER-Channel-Binding";
    std::string out(32, '\0');
    if (SSL_export_keying_material(core_->ssl.get(), reinterpret_cast<unsigned char*>(out.data()), out.size(),
                                   label.data(), label.size(), nullptr, 0, 0) != 1)
        return {};
    return out;
}

std::string TlsStream::tls_server_end_point() const {
    return core_->secured ? core_->server_certificate_hash() : std::string();
}

std::vector<std::string> TlsStream::peer_names() const {
    if (!core_->secured || SSL_get_verify_result(core_->ssl.get()) != X509_V_OK) return {};
    auto* certificate = SSL_get0_peer_certificate(core_->ssl.get());
    return certificate != nullptr ? tls_dns_names(certificate) : std::vector<std::string>();
}

const asio::ip::tcp::endpoint& TlsStream::remote() const { return core_->peer; }
asio::any_io_executor TlsStream::get_executor() const { return core_->socket.get_executor(); }

}  // namespace hexad

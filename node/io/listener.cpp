#include "io/listener.hpp"

#include <fcntl.h>
#include <functional>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"
#include "base/metrics.hpp"

namespace hexad {
namespace {

constexpr auto tuple_awaitable = asio::as_tuple(asio::use_awaitable);
constexpr auto pause_time = std::chrono::milliseconds(200);

std::size_t descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    return limit.rlim_cur;
}

SteadyClock::time_point last_refused{};

void count_refused() {
    static auto& counter = Metrics::instance().counter(
        "hexad_connections_refused_total", "", "Connections accepted and closed at once for lack of room.");
    counter.add();
    last_refused = SteadyClock::now();
}

}  // namespace

struct Listener::State {
    asio::any_io_executor executor;
    OnAccept on_accept;
    Limits limits;
    std::vector<std::function<void()>> closers;
    int spare = -1;  // given up for a moment to refuse a connection when there is no other descriptor
    bool closed = false;

    State(asio::any_io_executor e, OnAccept a, Limits l)
        : executor(std::move(e)), on_accept(std::move(a)), limits(std::move(l)) {
        take_spare();
    }
    ~State() {
        if (spare >= 0) ::close(spare);
    }
    void take_spare() {
        if (spare < 0) spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    }

    bool has_room(int fd) const {
        const auto limit = descriptor_limit();
        // The kernel gives the lowest free number, so the number tells how many are in use.
        if (static_cast<std::size_t>(fd) + std::min(limits.descriptor_reserve, limit / 4) >= limit)
            return false;
        return limits.max_connections == 0 || !limits.connections ||
               limits.connections() < limits.max_connections;
    }
};

namespace {

bool out_of_descriptors(const error_code& ec) {
    return ec == boost::system::errc::too_many_files_open ||
           ec == boost::system::errc::too_many_files_open_in_system ||
           ec == boost::system::errc::not_enough_memory || ec == boost::system::errc::no_buffer_space;
}

template <class State, class Acceptor>
awaitable<void> accept_loop(std::shared_ptr<State> state, std::shared_ptr<Acceptor> acceptor) {
    asio::steady_timer timer(state->executor);
    bool complained = false;
    while (!state->closed) {
        auto [ec, socket] = co_await acceptor->async_accept(tuple_awaitable);
        if (state->closed) co_return;
        if (!ec) {
            if (state->has_room(socket.native_handle())) {
                complained = false;
                try {
                    state->on_accept(StreamSocket(std::move(socket)));
                } catch (const std::exception& failure) {
                    log_error("accept_failed", {{"error", failure.what()}});  // one connection, not the port
                }
                continue;
            }
            error_code ignored;
            socket.close(ignored);
            count_refused();
            if (!complained)
                log_warn("connection_refused", {{"reason", "limit of connections or descriptors"}});
            complained = true;
            continue;
        }
        if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) co_return;
        if (!out_of_descriptors(ec)) continue;  // the peer went away before it was accepted
        if (!complained) log_warn("accept_failed", {{"error", ec.message()}});
        complained = true;
        if (state->spare >= 0) {
            ::close(state->spare);
            state->spare = -1;
            typename Acceptor::protocol_type::socket unlucky(state->executor);
            acceptor->non_blocking(true, ec);
            acceptor->accept(unlucky, ec);
            if (!ec) count_refused();
            unlucky.close(ec);
            state->take_spare();
        }
        timer.expires_after(pause_time);
        co_await timer.async_wait(tuple_awaitable);
    }
}

template <class State, class Acceptor>
void start(const std::shared_ptr<State>& state, std::shared_ptr<Acceptor> acceptor) {
    state->closers.push_back([acceptor] {
        error_code ignored;
        acceptor->close(ignored);
    });
    asio::co_spawn(state->executor, accept_loop(state, std::move(acceptor)), asio::detached);
}

}  // namespace

Listener::Listener(asio::any_io_executor executor, OnAccept on_accept, Limits limits)
    : state_(std::make_shared<State>(std::move(executor), std::move(on_accept), std::move(limits))) {}

Listener::~Listener() { close(); }

Result<std::uint16_t> Listener::listen(const std::string& address, std::uint16_t port) {
    error_code ec;
    const auto ip = asio::ip::make_address(address, ec);
    if (ec) return ec;
    const asio::ip::tcp::endpoint endpoint(ip, port);
    auto acceptor = std::make_shared<asio::ip::tcp::acceptor>(state_->executor);
    acceptor->open(endpoint.protocol(), ec);
    if (!ec) acceptor->set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec && ip.is_v6()) acceptor->set_option(asio::ip::v6_only(true), ec);
    if (!ec) acceptor->bind(endpoint, ec);
    if (!ec) acceptor->listen(4096, ec);
    if (ec) return ec;
    const auto bound = acceptor->local_endpoint(ec).port();
    if (ec) return ec;
    start(state_, std::move(acceptor));
    return bound;
}

error_code Listener::listen_local(const std::string& path) {
    error_code ec;
    using Protocol = asio::local::stream_protocol;
    if (path.size() >= 108) return make_error_code(boost::system::errc::filename_too_long);
    const Protocol::endpoint endpoint(path);
    struct stat existing{};
    if (::lstat(path.c_str(), &existing) == 0) {
        if (!S_ISSOCK(existing.st_mode)) return asio::error::address_in_use;
        Protocol::socket probe(state_->executor);
        probe.connect(endpoint, ec);
        if (!ec) return asio::error::address_in_use;
        ::unlink(path.c_str());
    }
    auto acceptor = std::make_shared<Protocol::acceptor>(state_->executor);
    acceptor->open(endpoint.protocol(), ec);
    if (ec) return ec;
    const auto before = ::umask(0177);
    acceptor->bind(endpoint, ec);
    ::umask(before);
    if (!ec) acceptor->listen(128, ec);
    if (ec) return ec;
    start(state_, std::move(acceptor));
    state_->closers.push_back([path] { ::unlink(path.c_str()); });
    return {};
}

bool Listener::refused_since(SteadyClock::time_point time) {
    return last_refused != SteadyClock::time_point{} && last_refused >= time;
}

void Listener::close() {
    if (state_->closed) return;
    state_->closed = true;
    for (const auto& closer : state_->closers) closer();
    state_->closers.clear();
}

}  // namespace hexad
